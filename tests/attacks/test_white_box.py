"""White-box attacks: gradients of every architecture, HotFlip, universal triggers, masked gradients."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from tests.stand_ins.attacked import attack, require_kept, written_together
from tests.stand_ins.tiny_models import (
    WORDS,
    byte_tokenizer,
    tiny_bert,
    tiny_llama_classifier,
    word_tokenizer,
)
from tests.stand_ins.victims import BagOfWords
from trilemma.attacks.attack import AttackRun
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.constraints.edits import (
    MostChanged,
    NoStopWords,
    ProtectedWords,
    UnchangedWords,
    protected,
)
from trilemma.attacks.constraints.language import SentenceSimilarity
from trilemma.attacks.goals import Goal, Targeted, Untargeted
from trilemma.attacks.recipes.gradients import hotflip, universal_trigger
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.greedy import GreedyWordImportance
from trilemma.attacks.search.hotflip import HotFlip
from trilemma.attacks.search.state import SearchState
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations.characters import TEXTBUGGER, Misspelling
from trilemma.attacks.transformations.substitutes import Deletion, Synonyms
from trilemma.attacks.universal_trigger import GradientFit, UniversalTrigger
from trilemma.attacks.victims.local import WhiteBox, WhiteBoxVictim, word_spans
from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError, ModelError
from trilemma.inference.batching import encode, token_spans
from trilemma.inference.classifier import Classifier
from trilemma.inference.gradients import TokenGradients
from trilemma.models import sizes
from trilemma.tasks.task import Text
from trilemma.training.tokenizer import train_tokenizer


def own(arch: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = sizes.configuration(arch, "nano", 320, num_labels=3, pad_token_id=0)
    return AutoModelForSequenceClassification.from_config(config).eval(), byte_tokenizer()


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": lambda: (tiny_bert(), word_tokenizer()),
    "llama": lambda: (tiny_llama_classifier(), byte_tokenizer()),
    **{arch: lambda arch=arch: own(arch) for arch in ("transformer-pp", "gla", "matmul-free")},
}


def drawn(count: int, pairs: bool = False) -> list[Text]:
    draw = random.Random(0)

    def one() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 14)))

    return [(one(), one()) if pairs else (one(),) for _ in range(count)]


def alone(model: Any, tokenizer: Any, text: Text, label: int) -> np.ndarray:
    """The gradient by the embeddings themselves, of one text without padding."""
    rows = encode(tokenizer, [text], 64)
    ids = torch.tensor(rows["input_ids"])
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    segments = {"token_type_ids": torch.tensor(rows["token_type_ids"])} if "token_type_ids" in rows else {}
    logits = model(inputs_embeds=embedded, attention_mask=torch.ones_like(ids), **segments).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor([label])).backward()
    assert embedded.grad is not None
    return embedded.grad[0].numpy()


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_each_text_alone(name: str, pairs: bool) -> None:
    model, tokenizer = MODELS[name]()
    texts = drawn(12, pairs)
    labels = [i % 2 for i in range(len(texts))]
    together = Classifier(model, tokenizer, max_length=64, tokens_per_batch=4096).gradients(texts, labels)
    different = 0
    for text, label, found in zip(texts, labels, together, strict=True):
        expected = alone(model, tokenizer, text, label)
        assert found.gradients.shape == expected.shape and len(found.ids) == len(found.spans) == len(expected)
        assert np.abs(expected).max() > 0
        different += bool(np.abs(found.gradients - expected).max() > 1e-3 * np.abs(expected).max())
    # Activations of matmul-free are rounded to 8 bits; a rounding flip may move an item.
    assert different <= (1 if name == "matmul-free" else 0)


def test_gradients_predict_the_loss() -> None:
    model, tokenizer = MODELS["bert"]()
    classifier, text = Classifier(model, tokenizer), ("good bad film",)
    [found] = classifier.gradients([text], [0])
    ids = torch.tensor([found.ids.tolist()])
    embedded = model.get_input_embeddings()(ids).detach()
    step = 1e-3 * torch.randn(embedded.shape, generator=torch.manual_seed(0))

    def loss(inputs: torch.Tensor) -> float:
        with torch.no_grad():
            return float(-model(inputs_embeds=inputs).logits.log_softmax(-1)[0, 0])

    change = (loss(embedded + step) - loss(embedded - step)) / 2
    assert change == pytest.approx(float((step[0].numpy() * found.gradients).sum()), rel=0.02)


def test_a_model_is_left_as_it_was() -> None:
    model = tiny_bert(hidden_dropout_prob=0.5).train()
    model.classifier.bias.requires_grad_(False)
    before = [weight.requires_grad for weight in model.parameters()]
    classifier = Classifier(model, word_tokenizer())
    with torch.no_grad():
        first, second = (classifier.gradients([("good film",)], [1])[0].gradients for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training and [weight.requires_grad for weight in model.parameters()] == before
    assert all(weight.grad is None for weight in model.parameters())
    assert not model.get_input_embeddings()._forward_hooks


def test_what_has_no_gradients_is_refused() -> None:
    with pytest.raises(ModelError, match="regression"):
        Classifier(tiny_bert(outputs=1), word_tokenizer()).gradients([("good",)], [0])
    model, tokenizer = own("matmul-free")
    with pytest.raises(ModelError, match="packed"):
        Classifier(model.pack() or model, tokenizer).gradients([("good",)], [0])

    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="fast one"):
        token_spans(Slow(), [("good",)], 8)


class Twice(torch.nn.Module):
    """A model that embeds its input two times."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_bert()
        self.config, self.device = self.inner.config, self.inner.device

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        self.inner(input_ids=input_ids)
        return self.inner(input_ids=input_ids, attention_mask=attention_mask)

    def get_input_embeddings(self) -> Any:
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return None


def test_a_model_that_embeds_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="2 times"):
        Classifier(Twice(), word_tokenizer()).gradients([("good",)], [0])


@pytest.mark.parametrize("tokenizer", [word_tokenizer(), byte_tokenizer()], ids=["template", "no template"])
def test_spans_are_the_characters_of_each_token(tokenizer: Any) -> None:
    texts: list[Text] = [("good film", "a bad plot"), ("", "good"), ("good", ""), ("שלום 🎬 naïve", "bad")]
    rows = encode(tokenizer, texts, 64)["input_ids"]
    for text, row, spans in zip(texts, rows, token_spans(tokenizer, texts, 64), strict=True):
        assert spans.shape == (len(row), 3)
        for id, (field, begin, end) in zip(row, spans.tolist(), strict=True):
            token = tokenizer.decode([id])
            if field < 0:
                assert token in ("[CLS]", "[SEP]", "<eos>")
            elif token not in ("[UNK]", "�", "\n"):
                assert text[field][begin:end].strip() == token.strip()
        for field in (0, 1):
            covered = {i for f, begin, end in spans.tolist() if f == field for i in range(begin, end)}
            assert {i for i, letter in enumerate(text[field]) if not letter.isspace()} <= covered
    assert token_spans(tokenizer, [], 64) == []
    assert token_spans(tokenizer, [("",)], 64)[0].shape[1] == 3


def test_words_of_the_vocabulary_are_those_that_a_text_gives_again() -> None:
    sentences = ["a good film and a bad plot, slow and naïve"] * 50
    tokenizer = train_tokenizer(sentences, vocabulary=320)
    torch.manual_seed(0)
    config = sizes.configuration("gla", "nano", 384, num_labels=2, pad_token_id=1)
    classifier = Classifier(AutoModelForSequenceClassification.from_config(config), tokenizer)
    white_box = WhiteBox(classifier)
    vocabulary = white_box.vocabulary
    assert {"good", "film", "plot", "slow", "naïve"} <= set(vocabulary.words)
    assert len(set(vocabulary.words)) == len(vocabulary.words) == len(vocabulary.ids)
    text = "bad " + " ".join(vocabulary.words)
    [row] = encode(tokenizer, [(text,)], 500)["input_ids"]
    [spans] = token_spans(tokenizer, [(text,)], 500)
    for (begin, end), id in zip(word_spans(SplitText.of(text))[1:], vocabulary.ids, strict=True):
        own = (spans[:, 0] == 0) & (spans[:, 1] < end) & (spans[:, 2] > begin)
        assert np.array(row)[own].tolist() == [id]
    assert white_box.tokens(["good"]) == [tuple(encode(tokenizer, [("good",)], 9)["input_ids"][0][:-1])]
    assert white_box.embeddings.shape == (384, config.hidden_size)
    assert len(classifier.vocabulary()) == 384
    assert len(white_box.tokens(["goood", "g🎬", ""])[0]) > 1


@given(st.text(max_size=40), st.lists(st.integers(0, 9), max_size=4))
def test_spans_of_words_are_where_they_stand(text: str, deleted: list[int]) -> None:
    words = SplitText.of(text)
    for position in deleted:
        if position < len(words):
            words = words.without(position)
    assert tuple(words.text[begin:end] for begin, end in word_spans(words)) == words.words


class Squashed:
    """A white-box victim of one token a word: class 1 by the sum of tanh(e w) over its words.

    Args:
        values: e w of words; other words are worth nothing.
    """

    def __init__(self, values: dict[str, float]) -> None:
        self.words = ["", *values]
        self.matrix = np.array([[0.0, 1.0], *([value, 1.0] for value in values.values())], np.float32)
        self.asked: list[Text] = []
        self.differentiated: list[list[Text]] = []

    def ids(self, text: str) -> list[int]:
        return [self.words.index(word) if word in self.words else 0 for word in SplitText.of(text).words]

    def __call__(self, texts: Sequence[Text]) -> np.ndarray:
        self.asked += texts
        return self.answers(texts)

    def answers(self, texts: Sequence[Text]) -> np.ndarray:
        sums = [sum(np.tanh(self.matrix[self.ids(part), 0]).sum() for part in text) for text in texts]
        positive = 1 / (1 + np.exp(-np.array(sums)))
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)

    def gradients(self, texts: Sequence[Text], labels: Sequence[int]) -> list[TokenGradients]:
        self.differentiated.append(list(texts))
        found = []
        for text, label, answer in zip(texts, labels, self.answers(texts), strict=True):
            ids = np.array([id for part in text for id in self.ids(part)], np.int64)
            spans = [(f, *span) for f, part in enumerate(text) for span in word_spans(SplitText.of(part))]
            slope = (answer[1] - label) * (1 - np.tanh(self.matrix[ids, 0]) ** 2)
            gradients = np.stack([slope, np.zeros_like(slope)], axis=1).astype(np.float32)
            found.append(TokenGradients(ids, np.array(spans, np.int64).reshape(-1, 3), gradients))
        return found

    def embeddings(self) -> np.ndarray:
        return self.matrix

    def vocabulary(self) -> list[str]:
        return self.words

    def tokens(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        return [tuple(self.ids(word)) for word in words]


VALUES = {"splendid": 0.9, "good": 0.4, "film": 0.1, "plot": 0.0, "dull": -0.3, "awful": -0.9, "the": 0.0}


def test_hotflip_finds_the_flip_that_exhaustive_search_finds() -> None:
    victim = Squashed(VALUES)
    recipe = SearchAttack("word", HotFlip(), None, (UnchangedWords(),))
    text = "the good splendid film"
    [result] = attack(recipe, victim, [text])
    words = SplitText.of(text)
    flips = [words.with_word(i, word).text for i in range(len(words)) for word in VALUES]
    answers = Squashed(VALUES)([(flip,) for flip in flips])[:, 1]
    assert result.success
    assert result.text == (flips[int(answers.argmin())],)
    assert victim.differentiated == [[(text,)]]
    assert result.queries == len(victim.asked) + 1


def test_hotflip_asks_about_the_best_estimates_of_the_transformation() -> None:
    values = {f"w{n}": n / 100 for n in range(-60, 60)} | {"good": 0.2, "film": 0.1}
    others = [word for word in values if word.startswith("w")]
    random.Random(0).shuffle(others)
    synonyms = Synonyms(lambda word: others if word == "good" else ())
    victim = Squashed(values)
    recipe = SearchAttack("word", HotFlip(asked=3, vocabulary=False), synonyms)
    [result] = attack(recipe, victim, ["a good film"])
    assert result.text == ("a w-60 film",)
    assert set(victim.asked) == {("a good film",), ("a w-60 film",), ("a w-59 film",), ("a w-58 film",)}


def test_hotflip_goes_on_to_the_next_flips_where_the_first_do_not_help() -> None:
    values = {"good": 0.5, "a": 0.6, "b": 0.7, "c": 0.8, "d": 0.9, "e": -0.9}
    victim = Squashed(values)
    true_gradients = victim.gradients

    def misleading(texts: Sequence[Text], labels: Sequence[int]) -> list[TokenGradients]:
        found = true_gradients(texts, labels)
        return [TokenGradients(one.ids, one.spans, -one.gradients) for one in found]

    victim.gradients = misleading  # type: ignore[method-assign]
    [result] = attack(SearchAttack("word", HotFlip(asked=1), None, (UnchangedWords(),)), victim, ["good"])
    assert result.text == ("e",)
    assert result.queries > 3


def test_hotflip_turns_towards_a_target() -> None:
    victim = Squashed(VALUES)
    [result] = attack(
        SearchAttack("word", HotFlip(), None, (UnchangedWords(),), Targeted(1)),
        victim,
        ["an awful film"],
        label=0,
    )
    assert result.text == ("an splendid film",)


def test_a_deleted_word_is_estimated_by_what_it_takes_away() -> None:
    victim = Squashed(VALUES)
    [result] = attack(
        SearchAttack("word", HotFlip(asked=1, vocabulary=False), Deletion()), victim, ["film splendid dull"]
    )
    assert result.text == ("film dull",)
    assert result.queries == 3


def test_hotflip_ends_where_texts_come_back() -> None:
    victim = Squashed({"a": 0.9, "b": 0.8})
    [result] = attack(SearchAttack("word", HotFlip()), victim, ["a b"], budget=10_000)
    assert not result.success and result.queries <= 2 * 4


def test_gradients_of_all_items_are_asked_for_together() -> None:
    victim = Squashed(VALUES)
    texts = [f"the splendid good film number {n}" for n in range(40)]
    results = attack(SearchAttack("word", HotFlip(), None, (UnchangedWords(),)), victim, texts)
    assert all(result.success for result in results)
    assert [len(call) for call in victim.differentiated] == [40, 120]  # the items, then a beam of three each
    assert results[-1:] == attack(
        SearchAttack("word", HotFlip(), None, (UnchangedWords(),)), Squashed(VALUES), texts[-1:]
    )


def test_words_are_ranked_by_the_norm_of_their_gradient() -> None:
    # tanh is flat far from zero: "good" has the steeper slope, and "splendid" the larger share.
    victim = Squashed({"splendid": 3.0, "good": 0.5})
    recipe = SearchAttack(
        "word", GreedyWordImportance("gradient"), Misspelling(TEXTBUGGER), (UnchangedWords(),)
    )
    attack(recipe, victim, ["splendid good"])
    assert victim.asked[1][0].startswith("splendid ")
    assert victim.differentiated == [[("splendid good",)]]
    assert not attack(recipe, victim, ["🎬"], label=0)[0].success


def test_norms_are_over_all_tokens_of_a_word() -> None:
    model, tokenizer = MODELS["gla"]()
    classifier, text = Classifier(model, tokenizer), "good bad plot"
    [found] = classifier.gradients([("a", text)], [2])
    at = WhiteBox(classifier).word_gradients(SplitText.of(text), 1, found, [0, 2])
    expected = alone(model, tokenizer, ("a", text), 2)[2:]  # "a" and the separator
    for place, part in enumerate((expected[0:4], expected[9:13])):
        assert at.norms[place] == pytest.approx(float(np.linalg.norm(part)), rel=1e-3)
        np.testing.assert_allclose(at.sums[place], part.sum(axis=0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["transformer-pp", "gla", "matmul-free"])
def test_estimates_order_flips_as_the_models_answers_do(name: str) -> None:
    model, tokenizer = MODELS[name]()
    with torch.no_grad():  # tokens near to each other, so that the first order is most of it
        model.get_input_embeddings().weight.mul_(0.1).add_(torch.randn(model.config.hidden_size))
    classifier, words = Classifier(model, tokenizer), SplitText.of("a b c d e f")
    white_box = WhiteBox(classifier)
    [found] = classifier.gradients([(words.text,)], [0])
    at = white_box.word_gradients(words, 0, found, range(6))
    vocabulary = white_box.vocabulary
    estimates = white_box.estimates(at.sums, at.now)[:, vocabulary.ids].ravel()
    flips = [(words.with_word(i, word).text,) for i in range(6) for word in vocabulary.words]
    losses = -np.log(classifier.probabilities(flips)[:, 0])
    # The gradient of matmul-free passes straight through its rounding: it shows the way less well.
    assert np.corrcoef(estimates, losses)[0, 1] > (0.3 if name == "matmul-free" else 0.8)


BLACK = BagOfWords({"good": 2.0})


@pytest.mark.parametrize(
    "recipe",
    [
        SearchAttack("word", HotFlip()),
        SearchAttack("word", GreedyWordImportance("gradient"), Misspelling(TEXTBUGGER)),
        UniversalTrigger(),
    ],
    ids=["hotflip", "importance", "trigger"],
)
def test_a_victim_without_gradients_is_refused(recipe: SearchAttack | UniversalTrigger) -> None:
    assert not isinstance(BLACK, WhiteBoxVictim)
    with pytest.raises(AttackError, match="gives probabilities alone"):
        attack(recipe, BLACK, ["a good film", "good stuff"])
    assert attack(recipe, BLACK, []) == []


def test_a_gradient_that_is_no_number_is_named() -> None:
    victim = Squashed(VALUES)
    victim.gradients = lambda texts, labels: [  # type: ignore[method-assign]
        TokenGradients(np.zeros(1, np.int64), np.zeros((1, 3), np.int64), np.full((1, 2), np.nan, np.float32))
        for _ in texts
    ]
    with pytest.raises(AttackError, match="gradient at"):
        attack(SearchAttack("word", HotFlip()), victim, ["good"])


hostile = (
    written_together
    | st.text(max_size=40)
    | st.lists(
        st.sampled_from([*WORDS, "don't", "naïve", "🎬", "שלום", "नमस्ते", "the", "  ", "[SEP]"]), max_size=10
    ).map(" ".join)
)
BERT = Classifier(tiny_bert(), word_tokenizer())
BYTES = Classifier(*own("transformer-pp"), max_length=48)
CONSTRAINTS: list[Constraint] = [
    UnchangedWords(),
    NoStopWords(),
    MostChanged(0.15),
    protected(["Film", "bad", "3.5"]),
]


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(hostile, hostile), max_size=3),
    st.sampled_from([BERT, BYTES]),
    st.sampled_from(CONSTRAINTS),
    st.integers(1, 40),
    st.integers(0, 1),
)
def test_any_text_passes_through_hotflip(
    items: list[Text], victim: Classifier, constraint: Constraint, budget: int, field: int
) -> None:
    labels = [int(answer.argmax()) for answer in victim.probabilities(items)]
    recipe = SearchAttack("word", HotFlip(), Misspelling(TEXTBUGGER), (constraint,), attacked=field)
    results = recipe(victim, items, labels, AttackRun(budget))
    assert results == recipe(victim, items, labels, AttackRun(budget))
    for text, label, result in zip(items, labels, results, strict=True):
        assert result.queries <= budget
        assert result.text[1 - field] == text[1 - field]
        assert result.success == (result.text != text)
        if not result.success:
            continue
        assert int(victim.probabilities([result.text])[0].argmax()) != label
        require_kept(constraint, text[field], result.text[field])


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(hostile, hostile), max_size=5),
    st.integers(1, 60),
    st.integers(0, 1),
    st.sampled_from([Untargeted(), Targeted(0)]),
)
def test_any_text_passes_through_a_trigger(items: list[Text], budget: int, field: int, goal: Goal) -> None:
    labels = [int(answer.argmax()) for answer in BERT.probabilities(items)]
    recipe = UniversalTrigger(fit=GradientFit(tried=4), goal=goal, attacked=field)
    results = recipe(BERT, items, labels, AttackRun(budget))
    assert results == recipe(BERT, items, labels, AttackRun(budget))
    for text, label, result in zip(items, labels, results, strict=True):
        assert result.queries <= budget
        assert result.text[1 - field] == text[1 - field]
        assert result.text[field].endswith(text[field])
        if result.success:
            assert goal.judge(BERT.probabilities([result.text])[0], label, 1)[1]


@pytest.mark.parametrize(
    "text", ["", "good", "the a is was not very", "🎬🎬", "שלום good", "good bad " * 500]
)
def test_hostile_texts_one_by_one(text: str) -> None:
    label = int(BERT.probabilities([(text,)])[0].argmax())
    for recipe in (
        SearchAttack("word", HotFlip(), Misspelling(TEXTBUGGER)),
        UniversalTrigger(fit=GradientFit(tried=3)),
    ):
        for result in attack(recipe, BERT, [text, f"{text} film"], label=label, budget=25):
            assert result.queries <= 25


def test_a_trigger_turns_texts_that_it_has_not_seen() -> None:
    values = VALUES | {f"n{n}": 0.01 for n in range(30)}
    texts = [f"good film n{n}" for n in range(30)]
    victim = Squashed(values)
    told: list[int] = []
    recipe = UniversalTrigger(fit=GradientFit(tried=2))
    results = recipe(
        victim,
        [(text,) for text in texts],
        [1] * 30,
        AttackRun(40, finished=lambda index, result: told.append(index)),
    )
    assert {result.text[0].split(" good")[0] for result in results} == {"awful awful awful"}
    assert all(result.success for result in results)
    assert sorted(told) == list(range(30))
    distinct = set(victim.asked) | {("", *text) for call in victim.differentiated for text in call}
    assert len(distinct) == sum(result.queries for result in results)
    avoiding = UniversalTrigger(fit=GradientFit(tried=2, excluded=frozenset({"awful"})))
    assert {
        result.text[0].split(" good")[0] for result in attack(avoiding, victim, texts) if result.success
    } == {"dull dull dull"}


def test_no_item_meets_a_trigger_that_was_fitted_on_it() -> None:
    fitted: dict[str, set[tuple[Text, int]]] = {}

    def fit(states: Sequence[SearchState], budget: int) -> tuple[str, ...]:
        name = f"trigger{len(fitted)}"
        fitted[name] = {(state.item.text, state.item.label) for state in states}
        return (name,)

    # 20 texts, three of them several times; those of class 0 are negative.
    texts: list[Text] = [(f"{'good' if n % 2 else 'dull'} {n}",) for n in [*range(20), 0, 0, 3, 5]]
    labels = [int(answer.argmax()) for answer in Squashed(VALUES)(texts)]
    victim = Squashed(VALUES | {f"trigger{n}": 3.0 * (-1) ** (n // 2 + 1) for n in range(4)})
    results = UniversalTrigger(fit=fit)(victim, texts, labels, AttackRun(10))
    assert len(fitted) == 4
    shown = [text[0].split(" ", 1) for text in victim.asked if text[0].startswith("trigger")]
    assert len(shown) == 20  # every distinct text once, by one trigger
    for trigger, text in shown:
        label = labels[texts.index((text,))]
        assert ((text,), label) not in fitted[trigger]
        assert {one for _, one in fitted[trigger]} == {label}
    assert len(results) == len(texts)


def test_a_class_of_one_text_has_no_trigger() -> None:
    victim = Squashed(VALUES)
    results = attack(UniversalTrigger(), victim, ["good film", "good film"])
    assert [result.queries for result in results] == [1, 1]
    assert not victim.differentiated


def test_a_vocabulary_without_words_has_no_trigger() -> None:
    victim = Squashed(VALUES)
    recipe = UniversalTrigger(fit=GradientFit(excluded=frozenset(VALUES)))
    with pytest.raises(AttackError, match="a trigger may contain"):
        attack(recipe, victim, ["good film", "good plot"])


def test_the_recipes_by_name() -> None:
    texts = drawn(3)
    labels = [int(answer.argmax()) for answer in BERT.probabilities(texts)]
    for named in (hotflip, universal_trigger):
        assert "et al. 201" in named.source
        results = named(BERT, texts, labels, AttackRun(15))
        assert all(result.queries <= 15 for result in results)
    recipe = hotflip.configured(AttackSettings(similarity=0.5, words_changed=0.3, protect=("film",)))
    assert isinstance(recipe, SearchAttack) and recipe.white_box
    assert set(map(type, recipe.constraints)) == {
        UnchangedWords, NoStopWords, ProtectedWords, MostChanged, SentenceSimilarity,
    }  # fmt: skip
