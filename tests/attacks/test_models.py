from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.stand_ins.attacked import HOSTILE, held, proposals, vectors_file
from tests.stand_ins.masked_models import favouring, masked_bert, wordpiece_tokenizer
from tests.stand_ins.tiny_models import byte_tokenizer, save_bert, save_llama
from trilemma.attacks.constraints.language import ROUGH, GrammarDrop, PartOfSpeech, PerplexityRatio
from trilemma.attacks.recipes.words import textfooler
from trilemma.attacks.resources import load, sentence_encoder
from trilemma.attacks.resources.language_models import MOST_PIECES, MaskedLanguageModel, whole_words
from trilemma.attacks.resources.part_of_speech import coarse
from trilemma.attacks.resources.sentence_encoder import SentenceEncoder
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations.masked import CONTEXT_WORDS, MaskedSubstitutes
from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError
from trilemma.training.precision import choose_precision
from trilemma.training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def masked_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("masked")
    masked_bert().save_pretrained(folder)
    wordpiece_tokenizer().save_pretrained(folder)
    return str(folder)


def test_whole_words_of_vocabularies() -> None:
    assert set(whole_words(wordpiece_tokenizer()).values()) == {
        "good", "bad", "film", "the", "a", "is", "play", "work", "x", "great",
    }  # fmt: skip
    vocabulary = {"<s>": 0, "Ġgood": 1, "bad": 2, "Ġ": 3, "Ġ42": 4, "Ġfilm": 5}
    marked = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    marked.decoder = decoders.ByteLevel()
    assert whole_words(PreTrainedTokenizerFast(tokenizer_object=marked, bos_token="<s>")) == {
        1: "good",
        5: "film",
    }
    assert whole_words(byte_tokenizer()) == {}  # no byte alone has the mark of a word's beginning


def test_a_masked_model_answers_with_whole_words_the_most_probable_first() -> None:
    model = MaskedLanguageModel(favouring("bad", "##ing", "great", "42", "[SEP]"), wordpiece_tokenizer(), 5)
    text = "the film is [MASK]"
    assert model([(text, 12, 18), (text, 4, 8), ("", 0, 0)]) == [("bad", "great"), ("bad", "great"), ()]


def test_sub_word_tokens_are_combined_to_words_and_only_so_many() -> None:
    model = MaskedLanguageModel(favouring("work", "##ed", "##s"), wordpiece_tokenizer(), 6)
    [words] = model([("the playing film", 4, 11)])
    assert words == ("worked", "works")  # from work, ##ed and ##s in both places
    long = "x" * (MOST_PIECES + 1)
    assert model([(f"a {long}", 2, 2 + len(long)), (f"a {long[1:]}", 2, 1 + len(long))])[0] == ()


def test_a_masked_models_answer_does_not_depend_on_its_batch(masked_folder: str) -> None:
    model = load.masked_language_model(masked_folder, 6)
    asked = [(" ".join(["film", "the", "good"][:n] * 3), 0, 4) for n in (1, 2, 3)] + [("a playing", 2, 9)]
    assert model(asked) == [model([one])[0] for one in asked]


def test_masked_substitutes_stand_for_a_word_or_beside_it() -> None:
    seen: list[tuple[str, int, int]] = []

    def model(asked: list[tuple[str, int, int]]) -> list[tuple[str, ...]]:
        seen.extend(asked)
        return [("really", "the", "good")] * len(asked)

    text = "(A Good film.)"
    assert proposals(MaskedSubstitutes(model, "[M]"), text, [1]) == [["Really", "The"]]
    assert proposals(MaskedSubstitutes(model, None, without=frozenset({"the"})), text, [1]) == [["Really"]]
    places = ("left", "right")
    assert proposals(MaskedSubstitutes(model, "[M]", places), text, [2]) == [  # type: ignore[arg-type]
        ["really film", "the film", "good film", "film really", "film the", "film good"]
    ]
    assert [(one, one[start:end]) for one, start, end in seen] == [
        ("(A [M] film.)", "[M]"),
        ("(A Good film.)", "Good"),
        ("(A Good [M] film.)", "[M]"),
        ("(A Good film [M].)", "[M]"),
    ]


def test_a_long_text_is_cut_around_the_place() -> None:
    seen: list[tuple[str, int, int]] = []

    def model(asked: list[tuple[str, int, int]]) -> list[tuple[str, ...]]:
        seen.extend(asked)
        return [()] * len(asked)

    text = " ".join(f"w{i}" for i in range(1000))
    proposals(MaskedSubstitutes(model, None), text, [0, 500, 999])
    assert [one[start:end] for one, start, end in seen] == ["w0", "w500", "w999"]
    assert all(len(one.split()) <= 2 * CONTEXT_WORDS + 1 for one, _, _ in seen)


def test_a_model_without_its_masked_head_is_refused(tmp_path: Path) -> None:
    save_bert(tmp_path)
    with pytest.raises(AttackError, match="masked_model"):
        load.masked_language_model(str(tmp_path), 5)
    with pytest.raises(AttackError, match="mask token"):
        MaskedLanguageModel(masked_bert(), byte_tokenizer(), 5)


def test_perplexity_may_rise_by_a_factor() -> None:
    perplexity = {"a good film": 10.0, "a fine film": 19.0, "a flim film": 21.0}
    constraint = PerplexityRatio(lambda texts: [perplexity[text] for text in texts], 2.0)
    words = SplitText.of("a good film")
    candidates = [words.with_word(1, "fine"), words.with_word(1, "flim")]
    assert held(constraint, words.text, candidates) == [True, False]


def test_perplexity_is_that_of_the_model(tmp_path: Path) -> None:
    save_llama(tmp_path)
    perplexity = load.perplexity(str(tmp_path))
    texts = ["a good film", "", "x", "a good film", "שלום 🎬", "good " * 500]
    together = perplexity(texts)
    assert together == pytest.approx([perplexity([text])[0] for text in texts], rel=1e-5)
    assert together[1] == 1.0
    tokenizer = byte_tokenizer()
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer("a good film")["input_ids"]]])
    with torch.inference_mode():
        loss = perplexity.model.cpu()(input_ids=ids, labels=ids).loss
    assert together[0] == pytest.approx(float(loss.exp()), rel=1e-4)


def test_acceptability_may_fall_by_so_much(tmp_path: Path) -> None:
    score = {"a good film": 0.9, "a fine film": 0.85, "a flim film": 0.5}
    constraint = GrammarDrop(lambda texts: [score[text] for text in texts], 0.1)
    words = SplitText.of("a good film")
    candidates = [words.with_word(1, "fine"), words.with_word(1, "flim")]
    assert held(constraint, words.text, candidates) == [True, False]
    acceptable = load.acceptability(str(save_bert(tmp_path / "two")))
    assert all(0 <= one <= 1 for one in acceptable(["a good film", ""]))
    with pytest.raises(AttackError, match="3 classes"):
        load.acceptability(str(save_bert(tmp_path / "three", outputs=3)))
    with pytest.raises(AttackError, match="acceptability"):
        load.acceptability(str(tmp_path))


def tags(sentences: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    known = {"good": "adjective", "fine": "adjective", "walk": "verb", "film": "noun", "movie": "noun"}
    return [tuple(known.get(word.lower(), "other") for word in words) for words in sentences]


def test_parts_of_speech_are_kept() -> None:
    words = SplitText.of("a good film")
    candidates = [
        words.with_word(1, "fine"),
        words.with_word(1, "walk"),
        words.with_word(2, "fine film"),
        words.with_word(2, "fine walk"),
        words.with_word(1, "fine").with_word(2, "walk"),
        words.without(1),
        words.with_word(1, " "),
        SplitText.of("walk walk walk"),
    ]
    assert held(PartOfSpeech(tags), words.text, candidates) == [
        True,
        False,
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    assert [coarse(tag) for tag in ("NN1", "NP0", "VVZ", "AJ0", "AV0", "PRP")] == [
        "noun", "noun", "verb", "adjective", "adverb", "PRP",
    ]  # fmt: skip


def test_the_tagger_tags_anything() -> None:
    pytest.importorskip("HanTa", reason="the part-of-speech tagger is not installed")
    tagger = load.tagger()
    assert tagger([("this", "good", "film", "tells", "a", "story"), ()]) == [
        ("DT0", "adjective", "noun", "verb", "AT0", "noun"),
        (),
    ]
    for text in HOSTILE:
        words = tuple(text.split())[:50]
        assert [len(one) for one in tagger([words])] == [len(words)]


def test_a_missing_tagger_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    load.tagger.cache_clear()
    chosen = AttackSettings(vectors=vectors_file(tmp_path), similarity=-1)
    with pytest.raises(AttackError, match="pip install HanTa"):
        textfooler.configured(chosen)
    load.tagger.cache_clear()


def test_an_encoder_remembers_and_its_rough_form_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a good film", "a bad film of many words"] * 20, 300)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=2)
    encoder = SentenceEncoder(BertModel(config), tokenizer)
    texts = ["a good film", "a bad film", "a good film"]
    first = encoder(texts)
    assert np.array_equal(first[0], first[2]) and np.allclose((first**2).sum(1), 1, atol=1e-5)
    forward = monkeypatch.setattr(encoder.model, "forward", None)
    assert forward is None and np.array_equal(encoder(texts), first)
    monkeypatch.undo()
    monkeypatch.setattr(sentence_encoder, "REMEMBERED", 3)
    assert np.allclose(encoder(["one", "two", "a good film"])[2], first[0], atol=1e-5)
    rough = encoder.rough
    if choose_precision("auto").name == "bfloat16":
        assert rough is not None and np.abs((rough(texts) * first).sum(1) - 1).max() < ROUGH
    else:
        assert rough is None
