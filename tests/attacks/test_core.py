import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.stand_ins.attacked import answer, attack, held, require_kept, state, written_together
from tests.stand_ins.victims import BagOfWords, Failing
from trilemma.attacks import ensemble
from trilemma.attacks.attack import Attacked, AttackRun
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.constraints.edits import (
    EditDistance,
    MostChanged,
    NoStopWords,
    UnchangedWords,
    protected,
)
from trilemma.attacks.constraints.language import SentenceSimilarity
from trilemma.attacks.ensemble import Ensemble
from trilemma.attacks.goals import ConfidenceDrop, FewestWords, Targeted, Untargeted
from trilemma.attacks.lockstep import Question, Steps, ask, run_in_lockstep
from trilemma.attacks.search.attack import SHARD, SearchAttack
from trilemma.attacks.search.greedy import GreedyWordImportance, WeightedSaliency
from trilemma.attacks.transformations.characters import (
    DEEPWORDBUG,
    INVISIBLE,
    TEXTBUGGER,
    Misspelling,
    misspellings,
)
from trilemma.attacks.transformations.substitutes import Synonyms, in_case_of
from trilemma.attacks.words import (
    SplitText,
    allowed_changes,
    edit_distance,
    few_changed,
    share_changed,
    words_apart,
)
from trilemma.errors import AttackError
from trilemma.tasks.task import Text

texts = (
    written_together
    | st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["good", "bad", "not", "a", "film", "don't", "well-made", "naïve", "🎬", "שלום", "नमस्ते", "café"]
        ),
        max_size=12,
    ).map(" ".join)
)


@given(texts)
def test_words_make_the_text_again(text: str) -> None:
    words = SplitText.of(text)
    assert words.text == text
    assert not words.changed
    assert len(words.gaps) == len(words) + 1


def test_words_of_many_scripts() -> None:
    assert SplitText.of("  It's a well-made film, naïve - नमस्ते שלום! 🎬 x_y 'quoted'").words == (
        "It's", "a", "well-made", "film", "naïve", "नमस्ते", "שלום", "x", "y", "quoted",
    )  # fmt: skip


@given(written_together)
def test_a_number_is_one_word_however_it_is_written(text: str) -> None:
    for part in text.split():
        number = part.strip("(%)-,").rstrip("%).-,")
        if re.fullmatch(r"\.?\d+([-.:,'/]\d+)*", number):
            assert SplitText.of(text).words.count(number) >= SplitText.of(part).words.count(number) == 1
    assert SplitText.of("at 12:30, 1.000,5 km or 3.5. Then 0::1 a.5 x_y 2-1").words == (
        "at", "12:30", "1.000,5", "km", "or", "3.5", "Then", "0", "1", "a", "5", "x", "y", "2-1",
    )  # fmt: skip


def test_a_word_is_whole_whatever_signs_are_in_it() -> None:
    for text, words in (
        ("the U.S. and U.S.-led, 10:30 p.m.; Ph.D.'s", "the U.S. and U.S.-led 10:30 p.m. Ph.D.'s"),
        ("(www.imdb.com), http://a.b/c?d=1). imdb.com/title", "www.imdb.com http://a.b/c?d=1 imdb.com/title"),
        ("me@x.co.uk! AT&T; .5 ...5 2000–2010", "me@x.co.uk AT&T .5 5 2000–2010"),
        ("and/or film.The end.It strong,funny", "and or film The end It strong funny"),
        ("Q&amp;A told.us", "Q amp A told us"),
    ):
        assert SplitText.of(text).words == tuple(words.split())


@pytest.mark.parametrize("piece", ["a.", "a.b", "a@", "www.", "x-", "1.", "A&", "ab.c", "a.com", "http://"])
def test_long_texts_are_split_at_once(piece: str) -> None:
    assert SplitText.of(piece * 60_000).text == piece * 60_000  # hours, were it quadratic


def test_changes_are_counted_by_what_white_space_separates() -> None:
    assert allowed_changes("a good film of 3.5 hours", 0.4) == 2
    assert allowed_changes("good", 0.1) == allowed_changes("", 0.1) == 1
    for before, after, apart in (
        ("0:0:1", "0:0:x", 1), ("0:0:1", "a b:1", 2), ("x_y", "a_b", 1), ("a fi@lm", "a film", 1),
        ("good", "go od", 2), ("a . b", "a b", 1),
    ):  # fmt: skip
        assert words_apart(before, after) == words_apart(after, before) == apart
        assert few_changed(before, after, 0.1) == (apart == 1)


def test_a_number_can_be_protected() -> None:
    edits, kept = Misspelling(DEEPWORDBUG), protected(["3.5"])
    recipe = SearchAttack("word", GreedyWordImportance(), edits, (kept,), ConfidenceDrop())
    victim = BagOfWords({"3.5": 0.5, "good": 2.0}, bias=-1.0)
    [result] = attack(recipe, victim, ["3.5 good"])
    assert result.text[0].startswith("3.5 ") and not result.text[0].endswith("good")


def test_a_deleted_word_takes_its_space_along() -> None:
    words = SplitText.of("a good film.")
    assert words.without(1).text == "a film."
    assert words.without(0).text == "good film."
    assert words.without(0).without(1).without(2).text == "."
    assert words.with_word(1, "very good").text == "a very good film."


@given(texts, texts)
def test_edit_distance_is_a_distance(a: str, b: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_edit_distance_of_known_pairs() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance(("a", "b", "c"), ("a", "c")) == 1
    assert share_changed("a good film", "a bad long film") == pytest.approx(2 / 3)
    assert share_changed("", "x") == 1.0


@given(st.text(min_size=1, max_size=12), st.integers(0, 3))
def test_misspellings_are_one_edit_away(word: str, seed: int) -> None:
    for edits in (TEXTBUGGER, DEEPWORDBUG):
        for spelling in misspellings(word, edits, seed):
            assert spelling != word
            assert edit_distance(spelling, word) <= 2  # a swap is two replacements
        assert misspellings(word, edits, seed) == misspellings(word, edits, seed)


def test_invisible_edits_look_the_same() -> None:
    spellings = misspellings("escape", INVISIBLE, 0)
    assert len(spellings) == 2
    assert spellings[0].encode() != b"escape"
    assert all(ord(letter) > 127 for letter in spellings[1])


def test_synonyms_keep_the_case() -> None:
    assert [in_case_of(word, "fine") for word in ("good", "Good", "GOOD", "I")] == [
        "fine",
        "Fine",
        "FINE",
        "Fine",
    ]


def test_lockstep_pools_what_all_searches_ask() -> None:
    calls: list[list[int]] = []

    def square(numbers: list[int]) -> list[int]:
        calls.append(list(numbers))
        return [number * number for number in numbers]

    def search(numbers: list[int]):  # type: ignore[no-untyped-def]
        first = yield from ask(square, numbers)
        second = yield from ask(square, [])
        third = yield from ask(square, first)
        return first, second, third

    results: dict[int, object] = {}
    run_in_lockstep([search([1, 2]), search([2, 3])], results.__setitem__)
    assert calls == [[1, 2, 3], [4, 9]]  # once each: 1 was known
    assert results == {0: ([1, 4], [], [1, 16]), 1: ([4, 9], [], [16, 81])}
    assert Question(square, [1]).inputs == [1]


CONSTRAINTS: list[Constraint] = [
    UnchangedWords(),
    NoStopWords(),
    MostChanged(0.15),
    EditDistance(3),
    protected(["Film", "good", "3.5"]),
]


@settings(deadline=None, max_examples=40)
@given(st.lists(texts, max_size=4), st.sampled_from(CONSTRAINTS), st.integers(1, 40), st.booleans())
def test_constraints_and_budget_hold_in_every_result(
    items: list[str], constraint: Constraint, budget: int, weighted: bool
) -> None:
    victim = BagOfWords({"good": 2.0, "film": 0.5, "well-made": 1.0}, bias=0.1)
    search = WeightedSaliency() if weighted else GreedyWordImportance("unknown")
    recipe = SearchAttack("word", search, Misspelling(TEXTBUGGER), (constraint,))
    for text, result in zip(items, attack(recipe, victim, items, budget=budget), strict=True):
        assert result.queries <= budget
        if not result.success:
            assert result.text == (text,)
            continue
        assert result.text != (text,)
        assert victim([result.text])[0].argmax() != 1  # from its text alone
        require_kept(constraint, text, result.text[0])


def test_only_the_attacked_field_changes() -> None:
    victim = BagOfWords({"good": 2.0})
    for field in (0, 1, -1):
        recipe = SearchAttack("word", GreedyWordImportance(), Misspelling(TEXTBUGGER), attacked=field)
        [result] = recipe(victim, [("a good film", "good stuff here")], [1], AttackRun(90))
        unchanged = 1 - field % 2
        assert result.text[unchanged] == ("a good film", "good stuff here")[unchanged]


def test_results_do_not_depend_on_the_other_items() -> None:
    items = [f"a good film about number {n} and more" for n in range(SHARD + 3)]
    recipe = SearchAttack("word", GreedyWordImportance("random"), Misspelling(DEEPWORDBUG))
    together = attack(recipe, BagOfWords({"good": 2.0}), items)
    assert together[-1:] == attack(recipe, BagOfWords({"good": 2.0}), items[-1:])
    assert all(result.success for result in together)


def test_identical_texts_are_asked_once() -> None:
    victim = BagOfWords({"good": 2.0})
    recipe = SearchAttack("word", GreedyWordImportance(), Misspelling(TEXTBUGGER))
    attack(recipe, victim, ["a good film"] * 5)
    assert len(victim.asked) == len(set(victim.asked))


def test_an_item_that_is_wrong_already_is_left_alone() -> None:
    victim = BagOfWords({"good": 2.0})
    [result] = attack(
        SearchAttack("word", GreedyWordImportance(), Misspelling(TEXTBUGGER)), victim, ["good"], label=0
    )
    assert result == Attacked(("good",), 1)


def test_the_decisive_word_is_found() -> None:
    synonyms = {"splendid": ("superb", "fine"), "film": ("movie",), "tells": ("narrates",)}
    recipe = SearchAttack("word", WeightedSaliency(), Synonyms(lambda word: synonyms.get(word, ())))
    victim = BagOfWords({"splendid": 3.0, "superb": 2.5, "fine": -1.0})
    [result] = attack(recipe, victim, ["This splendid film tells a story"])
    assert result.text == ("This fine film tells a story",)


def test_goals() -> None:
    probabilities = np.array([0.2, 0.5, 0.3], np.float32)
    assert Untargeted().judge(probabilities, 1, 3) == (pytest.approx(0.5), False)
    assert ConfidenceDrop().judge(probabilities, 0, 3) == (pytest.approx(0.8), True)
    assert Targeted(1).judge(probabilities, 0, 3) == (pytest.approx(0.5), True)
    assert Targeted(2).judge(probabilities, 0, 3) == (pytest.approx(0.3), False)
    assert FewestWords().judge(probabilities, 1, 3) == (pytest.approx(-2.5), True)
    assert FewestWords().judge(probabilities, 0, 3) == (float("-inf"), False)


def test_confidence_drop_goes_on_after_the_first_success() -> None:
    victim = BagOfWords({"good": 1.0, "fine": 1.0, "funny": 1.0}, bias=-1.5)
    search, edits = GreedyWordImportance(), Misspelling(TEXTBUGGER)
    goals = (Untargeted(), ConfidenceDrop())
    stopped, dropped = (SearchAttack("word", search, edits, goal=goal) for goal in goals)
    [first], [last] = (attack(recipe, victim, ["good fine funny"]) for recipe in (stopped, dropped))
    assert first.success and last.success
    assert victim([last.text])[0][1] < victim([first.text])[0][1]


@pytest.mark.parametrize("broken", ["shape", "number", "rows"])
def test_a_victim_that_answers_nonsense_is_named(broken: str) -> None:
    def victim(texts: list[tuple[str, ...]]) -> np.ndarray:
        if broken == "shape":
            return np.zeros(len(texts))
        return np.full((len(texts) + (broken == "rows"), 2), np.nan)

    with pytest.raises(AttackError, match="victim"):
        attack(SearchAttack("word", GreedyWordImportance(), Misspelling(TEXTBUGGER)), victim, ["a good film"])


def test_what_is_finished_before_the_victim_fails_is_told() -> None:
    finished: dict[int, Attacked] = {}
    victim = Failing(BagOfWords({"good": 2.0}), calls=3, error=TimeoutError("no answer"))
    recipe = SearchAttack("word", GreedyWordImportance(), Misspelling(TEXTBUGGER))
    items = [("good",), ("a good film, a good one and a really good story",)]
    with pytest.raises(TimeoutError):
        recipe(victim, items, [1, 1], AttackRun(200, finished=finished.__setitem__))
    assert finished[0].success
    assert 1 not in finished


def test_a_search_asks_no_more_than_it_may() -> None:
    victim = BagOfWords({"good": 2.0})
    one = state("good good good", victim, budget=3)

    def steps() -> Steps[int]:
        yield from one.begin()
        some = yield from one.scores([SplitText.of(str(n)) for n in range(9)])
        return len(some)

    assert answer(steps()) == 2
    assert one.budget.spent == 3 and one.budget.left == 0


def test_answers_that_are_too_large_to_keep_are_asked_for_again() -> None:
    asked: list[str] = []

    def service(inputs: Sequence[str]) -> list[int]:
        asked.extend(inputs)
        return [len(one) for one in inputs]

    def search(remembered: bool) -> Steps[list[int]]:
        first = yield from ask(service, ["ab", "c"], remembered=remembered)
        second = yield from ask(service, ["ab"], remembered=remembered)
        return [*first, *second]

    for remembered, times in ((True, 1), (False, 2)):
        asked.clear()
        found = run_in_lockstep([search(remembered), search(remembered)])
        assert found == [[2, 1, 2], [2, 1, 2]]
        assert asked.count("ab") == times and asked.count("c") == 1


def test_an_ensemble_tells_of_items_as_all_its_members_have_attacked_them() -> None:
    members = {
        name: SearchAttack("word", GreedyWordImportance(), Misspelling(edits), (UnchangedWords(),))
        for name, edits in (("first", DEEPWORDBUG), ("second", TEXTBUGGER))
    }
    items = [(f"a good film of {i} days",) for i in range(ensemble.SHARD + 3)]
    told: dict[int, Attacked] = {}
    done: list[float] = []

    def progress(now: float, total: float, unit: str) -> None:
        done.append(now / total)

    results = Ensemble(members)(
        BagOfWords({"good": 2.0}, bias=-1.0),
        items,
        [1] * len(items),
        AttackRun(40, progress=progress, finished=told.__setitem__),
    )
    assert [told[i] for i in range(len(items))] == results
    assert all(one.success and one.by in members for one in results)
    assert done == sorted(done) and done[-1] == 1

    def failing(texts: Sequence[Text]) -> NDArray[np.float32]:
        if any(str(ensemble.SHARD + 1) in text[0] for text in texts):
            raise RuntimeError
        return BagOfWords({"good": 2.0}, bias=-1.0)(texts)

    told.clear()
    with pytest.raises(RuntimeError):
        Ensemble(members)(failing, items, [1] * len(items), AttackRun(40, finished=told.__setitem__))
    assert [told[i] for i in range(ensemble.SHARD)] == results[: ensemble.SHARD]


def test_a_rough_encoder_decides_only_what_is_not_near_the_bound() -> None:
    exact = {"far": 0.3, "near below": 0.795, "near above": 0.805, "same": 0.99}
    asked: list[str] = []

    def vectors(cosine: dict[str, float]) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        def encode(inputs: Sequence[str]) -> NDArray[np.float32]:
            asked.extend(inputs)
            at = np.array([cosine.get(one, 1.0) for one in inputs], np.float32)
            return np.stack([at, np.sqrt(1 - at**2)], axis=1)

        return encode

    off = {text: cosine + (0.012 if "below" in text else -0.012) for text, cosine in exact.items()}
    constraint = SentenceSimilarity(vectors(exact), 0.8, vectors(off))
    candidates = [SplitText.of(text) for text in exact]
    assert held(constraint, "original", candidates) == [False, False, True, True]
    assert asked == ["original", *exact, "original", "near below", "near above"]
