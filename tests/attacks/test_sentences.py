import json
import os
import random
import re
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stand_ins.victims import BagOfWords
from trilemma import tasks
from trilemma.attacks import AttackRun
from trilemma.attacks.constraints.edits import MostChanged
from trilemma.attacks.recipes.recipe import AttackRecipe
from trilemma.attacks.recipes.sentences import (
    advfever,
    checklist,
    checklist_templates,
    custom_templates,
    stresstest,
    stresstest_templates,
)
from trilemma.attacks.resources.lexicon import embedded_synonyms
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.greedy import WeightedSaliency
from trilemma.attacks.search.whole import TryAll
from trilemma.attacks.sentences.rules import rules
from trilemma.attacks.sentences.style import after, before, within
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.templates import TASKS, templates_of
from trilemma.attacks.templates.contractions import contracted, expanded
from trilemma.attacks.templates.swaps import swapped_names, swapped_numbers, swapped_places
from trilemma.attacks.templates.template import Rewrite, Template, by_templates
from trilemma.attacks.transformations.substitutes import Synonyms
from trilemma.attacks.words import share_changed, word_list, word_sets
from trilemma.errors import AttackError
from trilemma.tasks.task import Task, Text

SENTENCE = (checklist, stresstest, advfever)
HUMAN = (checklist_templates, stresstest_templates)
HOSTILE = (
    "", "   ", "a", "?", "...", "🎬🎬", "שלום עולם", "\u202eabc", "'s", "Paris", "12", "I", "U.S.",
    "a" * 3000,    " ".join(["John isn't in Paris, 12 of them,"] * 200), "In 1970, he died.\n\nIf x, y.",
)  # fmt: skip
texts = st.text(max_size=80) | st.lists(
    st.sampled_from(
        ["John", "Mary's", "Paris", "17", "1,000", "people", "isn't", "do not", ",", ".", "?", "the", "was",
         "written by", "In", "If", "How can I", "🎬", "שלום", "n't", "’ll"]
    ),
    max_size=14,
).map(" ".join)  # fmt: skip


class Unmoved:
    """Never changes its answer, and so is asked for all that a recipe has."""

    def __init__(self, classes: int, label: int) -> None:
        self.classes, self.label, self.asked = classes, label, list[Text]()

    def __call__(self, texts: list[Text]) -> list[list[float]]:
        self.asked += texts
        return [[float(k == self.label) for k in range(self.classes)] for _ in texts]


def forms(
    recipe: AttackRecipe, text: Text, task: Task | None = None, label: int = 1, **own: object
) -> list[Text]:
    victim = Unmoved(3 if task is None else task.outputs, label)
    recipe.configured(AttackSettings.model_validate(own), task)(victim, [text], [label], AttackRun(500))
    return victim.asked[1:]


def data() -> tasks.Source:
    if "TRILEMMA_DATA" not in os.environ:
        pytest.skip("TRILEMMA_DATA is not set: no real GLUE files")
    return tasks.open_source(f"folder:{os.environ['TRILEMMA_DATA']}")


def some(source: tasks.Source, task: Task, most: int) -> list[tuple[Text, int]]:
    examples = source.load(task, task.evaluation_splits[0])
    chosen = random.Random(0).sample(range(len(examples)), min(most, len(examples)))
    return [(examples.texts[i], int(examples.labels[i] or 0)) for i in chosen]


@pytest.mark.parametrize("recipe", SENTENCE, ids=lambda recipe: recipe.builder.__name__)
@settings(deadline=None, max_examples=40)
@given(text=texts, other=texts, field=st.sampled_from([0, 1, -1]))
def test_only_the_attacked_text_changes(recipe: AttackRecipe, text: str, other: str, field: int) -> None:
    asked = forms(recipe, (text, other), field=field)
    for form in asked:
        assert form[1 - field % 2] == (text, other)[1 - field % 2]
        assert form != (text, other)
    assert len(set(asked)) == len(asked)
    assert asked == forms(recipe, (text, other), field=field)


@pytest.mark.parametrize("name", TASKS)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_templates_take_any_text(name: str, drawn: st.DataObject) -> None:
    task = TASKS[name]
    text = tuple(drawn.draw(texts) for _ in task.fields)
    label = drawn.draw(st.integers(0, task.outputs - 1))
    for recipe in HUMAN:
        asked = forms(recipe, text, task, label)
        assert all(len(form) == len(text) and form != text for form in asked)
        assert asked == forms(recipe, text, task, label)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_pass_through_every_recipe(text: str) -> None:
    for recipe in SENTENCE:
        forms(recipe, (text,))
    for task in TASKS.values():
        for recipe in HUMAN:
            forms(recipe, (text,) * len(task.fields), task)


def test_distraction_stands_around_the_text() -> None:
    text = "a fine film ."
    around = [form.replace(text, "").strip() for (form,) in forms(checklist, (text,))]
    assert len(around) == 16 and all(re.fullmatch(r"(@|https://t\.co/)\w{6}", one) for one in around)
    said = [form for (form,) in forms(stresstest, (text,))]
    assert "a fine film and true is true ." in said and "a fine film and false is not true ." in said
    assert max(form.count("true is true") for form in said) == 5
    assert all(form.startswith("a fine film and ") for form in said)
    asked = [form for (form,) in forms(stresstest, ("Who left?",))]
    assert all(form.endswith(". Who left?") for form in asked)
    apart = [form for (form,) in forms(stresstest, ("Go home!",), tasks.get("cola"))]
    assert all(form.endswith(". Go home!") for form in apart)


def test_words_beside_a_text_are_written_as_it_is() -> None:
    assert before("a film .", "Is it good? No.") == "is it good ? no . a film ."
    assert after("A film", "It isn't long.") == "A film. It isn't long."
    assert after("a film . ", "It isn't long.") == "a film . it is n't long ."
    assert within("It rained.", ", and so on") == "It rained, and so on."
    assert within("it rained . ", ", and so on") == "it rained , and so on . "
    assert within("He is in the U.S.", "and so on").startswith("He is in the U.S., and so on")


RULED = {
    "John Lennon died in 1980.": "1980 is the year in which John Lennon died.",
    "The first film was directed by Jane Campion.": "It was Jane Campion that directed the first film.",
    "Emma Stone won the prize.": "The prize was won by Emma Stone.",
    "Rosa is the mayor of Quito.": "The mayor of Quito is Rosa.",
    "Malta is an island state.": "There is an island state called Malta.",
    "The bank is located in Oslo.": "Oslo is where the bank is located.",
    "In 1999, the bank opened a branch.": "The bank opened a branch in 1999.",
    "Although it rained, the match went on.": "The match went on although it rained.",
    "How can I learn to swim?": "In what way can I learn to swim?",
    "Why is the sky blue?": "For what reason is the sky blue?",
    "When did the war end?": "At what time did the war end?",
    "Where was the lamp built?": "In what place was the lamp built?",
    "What is the capital of Peru?": "The capital of Peru is what?",
    "What is the best way to swim?": "Which way to swim is the best?",
}


@pytest.mark.parametrize("text", RULED)
def test_each_rule_says_the_same(text: str) -> None:
    assert RULED[text] in [rule.applied(text) for rule in rules()]


@pytest.mark.parametrize(
    "text",
    [
        "In London, he said that she lived alone.",  # where she lived, or where he said it
        "When John came, he ate.",  # who ate
        "Because he was ill, he did not go.",
        "In most towns, nobody votes.",
        "Emma Stone won the prize in Rome.",
        "Rosa left. In 1999, the bank opened.",
        "How does it feel to win?",
        "Where are you from?",
    ],
)
def test_rules_leave_alone_what_would_change_its_meaning(text: str) -> None:
    assert [rule.name for rule in rules() if rule.applied(text) and not rule.opening] == []


def written_for(task: Task) -> tuple[Template, ...]:
    return (*templates_of(task, "checklist"), *templates_of(task, "stresstest"))


def made(rewrite: Rewrite, *text: str) -> list[Text]:
    return Template("t", "user", "r", rewrite).forms(text, "", random.Random(0))


def test_names_are_swapped_in_both_texts() -> None:
    swapped = made(swapped_names, "John met Mary's son, and Mary left John.", "John and Mary met.")
    assert len(swapped) == 3
    for first, second in swapped:
        man, woman = second.removesuffix(" met.").split(" and ")
        assert (
            man in word_list("men")
            and woman in word_list("women")
            and {man, woman}.isdisjoint({"John", "Mary"})
        )
        assert first == f"{man} met {woman}'s son, and {woman} left {man}."
    for kept in ("St. John lies here.", "Elizabeth II came.", "Johnny and John-Paul left.", "O'John"):
        assert made(swapped_names, kept) == []
    assert made(swapped_names, "John left.", "He left.") == []  # one text alone would lose him
    assert all(form[0].islower() for form in made(swapped_names, "john wrote it ."))


def test_places_and_numbers_are_swapped_only_where_nothing_hangs_on_them() -> None:
    assert len(made(swapped_places, "He lives in Paris.", "Paris is his home.")) == 3
    for pair in (
        ("Paris is in France.", "Paris is large."),
        ("He is French and lives in Paris.", "He is from Paris."),
        ("He reads the London Times.", "It is made in London."),
        ("He lives in Paris.", "He lives there."),
    ):
        assert made(swapped_places, *pair) == []
    for first, second in made(swapped_numbers, "All 45 came.", "45 came."):
        assert re.findall(r"\d+", first) == re.findall(r"\d+", second) != ["45"]
    for pair in (
        ("In the 1980s.", "It was 1980."),
        ("He has 45 or 46.", "He has 45."),
        ("On March 27, 45%.", "27"),
        ("On March 27.", "On March 27."),
        ("It is 45, half of it.", "45"),
    ):
        assert made(swapped_numbers, *pair) == []


def test_contractions_and_their_long_forms() -> None:
    assert expanded("It's a film that I can't and won't see; they've said we're late, isn't it?") == (
        "It is a film that I cannot and will not see; they have said we are late, isn't it?"
    )
    assert expanded("it 's a film i ca n't see") == "it is a film i cannot see"
    assert expanded("It's been John's. Why don't dogs fly? Don't you see?") == (
        "It's been John's. Why don't dogs fly? Don't you see?"
    )
    assert (
        contracted("He does not know. It is a film. I cannot go.")
        == "He doesn't know. It's a film. I can't go."
    )
    assert contracted("He is not only tall. I know what it is. She and he are a pair.") == (
        "He is not only tall. I know what it is. She and he are a pair."
    )


@pytest.mark.parametrize(
    ("label", "hypothesis", "expected"),
    [
        (0, "The town has 300 inhabitants.", {"at least 300 inhabitants", "more than 2"}),
        (2, "300 people left the town.", {"Exactly 300 people"}),
        (0, "The town does not have 300 inhabitants.", set()),
        (0, "Up to 300 people live there.", set()),
        (0, "It was founded in 1300.", set()),
    ],
)
def test_numbers_are_reasoned_with_soundly(label: int, hypothesis: str, expected: set[str]) -> None:
    task, templates = TASKS["mnli"], written_for(TASKS["mnli"])
    assert task.labels is not None
    found = [
        form[1]
        for template in templates
        if template.name in ("smaller number", "exact number")
        for form in template.forms(
            ("The town of 300 people was founded in 1300.", hypothesis), task.labels[label], random.Random(1)
        )
    ]
    assert len(found) == len(expected)
    assert all(any(part in form for form in found) for part in expected)
    for form in found:
        if more := re.search(r"more than (\d+)", form):
            assert 0 < int(more[1]) < 300


@pytest.mark.parametrize("name", TASKS)
def test_every_template_applies_to_real_items(name: str) -> None:
    source, task, templates = data(), TASKS[name], written_for(TASKS[name])
    assert task.labels is not None
    applied: Counter[str] = Counter()
    # The rare ones, as a place that both texts name, are looked for in more items.
    items = some(source, task, 10_000)
    for number, (text, label) in enumerate(items):
        for template in templates:
            if number >= 200 and applied[template.name]:
                continue
            made = template.forms(text, task.labels[label], random.Random(number))
            applied[template.name] += bool(made)
            assert all(form != text and len(form) == len(text) and all(form) for form in made)
            assert bool(template.forms(text, task.labels[label], random.Random(0))) == bool(made)
            if template.labels is not None:
                other = next(one for one in (*task.labels, "-") if one not in template.labels)
                assert not template.forms(text, other, random.Random(0))
    # RTE's validation split counts nothing in an entailed hypothesis; MNLI's does.
    rare = {"smaller number"} if name == "rte" else set()
    assert {template.name for template in templates} - set(+applied) <= rare


@pytest.mark.parametrize("name", ["sst2", "qqp", "qnli", "rte", "mnli"])
def test_templates_of_both_kinds_apply_to_the_embedded_suite(name: str) -> None:
    task = tasks.get(name)
    for text, label in some(tasks.open_source("embedded"), task, 20):
        assert all(forms(recipe, text, task, label) for recipe in HUMAN)
        assert all(forms(recipe, text, task, label) for recipe in SENTENCE)


def test_every_template_tells_why_its_label_holds() -> None:
    for task in TASKS.values():
        templates = written_for(task)
        assert {template.family for template in templates} == {"checklist", "stresstest"}
        assert all(len(template.reason) > 30 for template in templates)
        assert all(
            template.labels is None or template.labels & set(task.labels or ()) for template in templates
        )


def test_a_task_without_templates_is_named() -> None:
    for task in (None, tasks.get("stsb"), Task("sst2", ("text",), ("bad", "good"), ("accuracy",))):
        with pytest.raises(AttackError, match="cola, sst2, mrpc"):
            checklist_templates.configured(AttackSettings(), task=task)


def test_a_success_in_both_texts_is_returned_whole() -> None:
    task = tasks.get("rte")
    victim = BagOfWords({"john": -2.0}, bias=1.0)
    item = ("John left the town.", "John left.")
    recipe = checklist_templates.configured(AttackSettings(), task)
    [result] = recipe(victim, [item], [0], AttackRun(60))
    assert result.success and result.text != item and result.queries <= 60
    assert victim([result.text])[0].argmax() == 1
    assert result.text[0].split()[0] == result.text[1].split()[0] != "John"


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(["John", "is", "not", "17", "in", "Paris"]), min_size=1, max_size=9),
    st.integers(1, 9),
)
def test_constraints_hold_in_both_texts_of_a_rewritten_pair(words: list[str], budget: int) -> None:
    task, templates = TASKS["rte"], written_for(TASKS["rte"])
    item = (" ".join(words) + ".", "John is in Paris.")
    search = TryAll(partial(by_templates, templates=templates, labels=task.labels or ()))
    recipe = SearchAttack("human", search, None, (MostChanged(0.3),))
    victim = Unmoved(2, 0)
    recipe(victim, [item], [0], AttackRun(budget))
    assert len(victim.asked) <= budget
    for form in victim.asked:
        for then, now in zip(item, form, strict=True):
            count = len(then.split())
            assert share_changed(then, now) * count <= max(1, int(0.3 * count)) + 1e-9


def test_protected_words_stay_in_rewritten_texts() -> None:
    item = ("How can I swim?",)
    assert ("In what way can I swim?",) in forms(advfever, item)
    kept = forms(advfever, item, protect=["how"])
    assert kept and all("How" in form[0] for form in kept)


def write(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


def test_custom_templates_are_read_from_yaml_and_json(tmp_path: Path) -> None:
    task, item = tasks.get("rte"), ("A red car.", "A red house.")
    colour = {
        "name": "c",
        "reason": "r",
        "field": "sentence2",
        "pattern": r"\bred (\w+)",
        "replacement": r"blue \1",
    }
    both = {"name": "b", "reason": "r", "append": "So it is.", "labels": ["entailment"]}
    path = write(tmp_path / "own.json", [colour, both])
    assert forms(custom_templates, item, task, 1, templates=path) == [("A red car.", "A blue house.")]
    assert ("A red car. So it is.", "A red house. So it is.") in forms(
        custom_templates, item, task, 0, templates=path
    )
    path = write(tmp_path / "own.yaml", "- name: p\n  reason: r\n  field: sentence1\n  prepend: 'Well:'\n")
    assert forms(custom_templates, item, task, templates=path) == [("Well: A red car.", "A red house.")]


def test_custom_templates_may_be_what_the_packages_are(tmp_path: Path) -> None:
    path = write(
        tmp_path / "own.json",
        [
            {"name": "f", "reason": "r", "field": 0, "forms": ["Well: TEXT", "So: TEXT It is so."]},
            {"name": "c", "reason": "r", "field": 1, "clauses": ["He says that TEXT", "TEXT, and so on"]},
            {"name": "e", "reason": "r", "rewrite": "expansion"},
        ],
    )
    assert forms(custom_templates, ("it isn't so .", "We aren't."), tasks.get("rte"), templates=path) == [
        ("well : it isn't so .", "We aren't."),
        ("it isn't so .", "He says that we aren't."),
        ("it is not so .", "We are not."),
        ("so : it isn't so . it is so .", "We aren't."),
        ("it isn't so .", "We aren't, and so on."),
    ]


GOOD = {"name": "n", "reason": "r", "append": "x"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected a list"),
        ("[]", "no templates"),
        ("{a: 1}", "expected a list"),
        ("- &a [1]\n- *a\n", "aliases"),
        ([GOOD, {**GOOD, "reason": ""}], "template 2: `reason`"),
        ([{**GOOD, "prepend": "y"}], "expected one of"),
        ([{**GOOD, "pattern": "y"}], "belong together"),
        ([{**GOOD, "colour": 1}], "`colour`"),
        ([{**GOOD, "field": "premise"}], "only sentence1, sentence2"),
        ([{**GOOD, "labels": ["neutral"]}], "only entailment, not_entailment"),
        ([{"name": "n", "reason": "r", "pattern": "(", "replacement": ""}], "wrong"),
        ([{"name": "n", "reason": "r", "forms": ["Well."]}], "expected TEXT once"),
        ([{"name": "n", "reason": "r", "forms": []}], "`forms`"),
        ([{"name": "n", "reason": "r", "rewrite": "colours"}], "contraction, contraction of not"),
        ([{"name": "n", "reason": "r", "rewrite": "names", "field": 0}], "leave out `field`"),
        ([{**GOOD, "field": 2}], "only sentence1, sentence2"),
    ],
)
def test_damaged_files_of_templates_are_refused(tmp_path: Path, content: object, said: str) -> None:
    path = write(tmp_path / "own.yaml", content)
    with pytest.raises(AttackError, match=re.escape(said)):
        custom_templates.configured(AttackSettings(templates=path), tasks.get("rte"))


def test_custom_templates_need_a_file_and_an_end(tmp_path: Path) -> None:
    with pytest.raises(AttackError, match="templates"):
        custom_templates.configured(AttackSettings(), task=tasks.get("rte"))
    with pytest.raises(AttackError, match="cannot be read"):
        custom_templates.configured(AttackSettings(templates=str(tmp_path / "no")), tasks.get("rte"))
    endless = [{"name": "n", "reason": "r", "pattern": "^(a|aa)+$", "replacement": "b"}]
    wrong = [{"name": "n", "reason": "r", "pattern": "(a)", "replacement": r"\7"}]
    for number, (content, text) in enumerate([(endless, "a" * 60 + "b"), (wrong, "a")]):
        with pytest.raises(AttackError, match="template 1"):
            path = write(tmp_path / f"{number}.json", content)
            forms(custom_templates, (text,), tasks.get("sst2"), templates=path)


def test_the_lexicon_is_mutual_and_holds_the_suites_words() -> None:
    found = embedded_synonyms()
    groups = word_sets("synonyms")
    words = [word for group in groups for word in group]
    assert len(words) == len(set(words)) > 500 and all(len(group) > 1 for group in groups)
    assert all(word in found[other] for word, others in found.items() for other in others)
    assert found["film"] == ("flick", "movie", "picture") and "xyzzy" not in found
    assert all(word not in ("not", "no", "never") for word in found)


def test_the_lexicon_serves_a_word_level_attack() -> None:
    recipe = SearchAttack(
        "word", WeightedSaliency(), Synonyms(lambda word: embedded_synonyms().get(word, ()))
    )
    [result] = recipe(BagOfWords({"wonderful": 2.0}), [("A wonderful film.",)], [1], AttackRun(50))
    assert result.success and "wonderful" not in result.text[0]
