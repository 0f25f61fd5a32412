import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stand_ins import attacked
from tests.stand_ins.attacked import answer, require_kept, written_together
from tests.stand_ins.victims import BagOfWords
from trilemma.attacks.attack import Attacked
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.constraints.edits import MostChanged, NoStopWords, UnchangedWords, protected
from trilemma.attacks.goals import ConfidenceDrop, FewestWords, Goal, Targeted, Untargeted
from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.recipes.recipe import AttackRecipe
from trilemma.attacks.recipes.words import genetic, input_reduction, pso
from trilemma.attacks.search import Search
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.beam import Beam
from trilemma.attacks.search.genetic import Genetic, children_of, fitness, mutated, next_generation
from trilemma.attacks.search.greedy import GreedyWordImportance, WeightedSaliency
from trilemma.attacks.search.sampling import Exhaustive, RandomSearch, substitutes_of
from trilemma.attacks.search.state import Scored
from trilemma.attacks.search.swarm import ParticleSwarm
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.transformations.characters import DEEPWORDBUG, INVISIBLE, TEXTBUGGER, Misspelling
from trilemma.attacks.transformations.substitutes import Deletion, Synonyms
from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError

SYNONYMS = {
    "splendid": ("superb", "fine", "great"),
    "film": ("movie", "picture"),
    "tells": ("narrates",),
    "story": ("tale", "yarn"),
    "good": ("nice", "decent"),
}
WEIGHTS = {"splendid": 3.0, "superb": 2.5, "fine": -1.0, "great": -0.5, "movie": 0.3, "tale": 0.2}
SENTENCE = "This splendid film tells a story"

SEARCHES: list[Search] = [
    Beam(),
    Genetic(population=12, generations=6),
    ParticleSwarm(particles=12, iterations=10),
    RandomSearch(),
    Exhaustive(),
]
names = pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)


@dataclass(frozen=True)
class Insertion:
    """Words of a list, the most promising first, inserted before a word of the text."""

    words: tuple[str, ...]

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Each listed word, followed by a space and the word itself."""
        yield from ()
        return [[f"{inserted} {words.words[i]}" for inserted in self.words] for i in positions]


def synonyms(word: str) -> tuple[str, ...]:
    return SYNONYMS.get(word, ())


def recipe(
    search: Search,
    *constraints: Constraint,
    goal: Goal = Untargeted(),  # noqa: B008  it is immutable
    transformation: Transformation | None = None,
) -> SearchAttack:
    return SearchAttack("word", search, transformation or Synonyms(synonyms), constraints, goal)


attack = partial(attacked.attack, budget=300)


@names
def test_every_search_finds_the_decisive_word(search: Search) -> None:
    victim = BagOfWords(WEIGHTS)
    [result] = attack(recipe(search), victim, [SENTENCE])
    assert result.success
    assert {"fine", "great"} & set(result.text[0].split())
    assert victim([result.text])[0].argmax() == 0  # from its text alone


@names
def test_no_search_beats_the_exhaustive_one_with_one_change(search: Search) -> None:
    victim = BagOfWords(WEIGHTS)
    one_change = MostChanged(1 / len(SENTENCE.split()))
    [best] = attack(recipe(Exhaustive(most=1), goal=ConfidenceDrop()), victim, [SENTENCE])
    assert best.text == ("This fine film tells a story",)
    by_hand = [SENTENCE.replace(word, other) for word in SYNONYMS for other in SYNONYMS[word]]
    assert victim([best.text])[0][1] == min(victim([(text,)])[0][1] for text in by_hand)
    [other] = attack(recipe(search, one_change, goal=ConfidenceDrop()), victim, [SENTENCE])
    assert victim([best.text])[0][1] <= victim([other.text])[0][1]
    pairs = zip(SENTENCE.split(), other.text[0].split(), strict=True)
    assert sum(a != b for a, b in pairs) == 1


def test_the_exhaustive_search_wants_the_fewest_changes_and_of_those_the_nearest() -> None:
    victim = BagOfWords({"good": 1.0, "film": 1.0, "story": 0.6, "nice": -0.2, "decent": -0.1, "movie": -0.5})
    [two] = attack(recipe(Exhaustive(most=3)), victim, ["good film story"])
    # No single change will do. Of the pairs that will, this one goes furthest.
    assert two.text == ("nice movie story",)
    [none] = attack(recipe(Exhaustive(most=1)), victim, ["good film story"])
    assert none == Attacked(("good film story",), 7)


def test_a_combination_that_no_single_change_hints_at_is_found() -> None:
    """Both words are needed: alone each makes the victim surer."""

    def victim(texts: list[tuple[str, ...]]) -> np.ndarray:
        found = np.array([("movie" in text) + ("tale" in text) for (text,) in texts])
        positive = np.choose(found, [0.8, 0.9, 0.1])
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)

    for search in (Exhaustive(), Beam(width=8), RandomSearch(), ParticleSwarm(), Genetic()):
        [result] = attack(recipe(search), victim, ["film story"])
        assert result.text == ("movie tale",), search


def test_a_beam_tries_every_word_before_any_word_twice() -> None:
    victim = BagOfWords(WEIGHTS)
    attack(recipe(Beam()), victim, [SENTENCE], budget=5)
    assert [text for (text,) in victim.asked] == [
        SENTENCE,
        "This superb film tells a story",
        "This splendid movie tells a story",
        "This splendid film narrates a story",
        "This splendid film tells a tale",
    ]


CONSTRAINTS: list[Constraint] = [
    UnchangedWords(),
    NoStopWords(),
    MostChanged(0.2),
    protected(["good", "3.5"]),
]
TRANSFORMATIONS: list[Transformation] = [
    Synonyms(synonyms),
    Misspelling(TEXTBUGGER),
    Misspelling(DEEPWORDBUG),
    Misspelling(INVISIBLE),
    Deletion(),
    Insertion(("really", "🎬")),
]
texts = (
    written_together
    | st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            ["good", "film", "splendid", "not", "a", "don't", "naïve", "🎬", "שלום", "नमस्ते", "\u200b"]
        ),
        max_size=9,
    ).map(" ".join)
)
QUICK: list[Search] = [
    GreedyWordImportance("unknown"),
    WeightedSaliency(),
    Beam(width=2),
    Genetic(population=5, generations=3),
    ParticleSwarm(particles=5, iterations=3),
    RandomSearch(),
    Exhaustive(),
    Beam(2, successes_only=True),
]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(texts, max_size=3),
    st.sampled_from(CONSTRAINTS),
    st.sampled_from(TRANSFORMATIONS),
    st.sampled_from([Untargeted(), ConfidenceDrop(), Targeted(0), FewestWords()]),
    st.integers(1, 40),
    st.integers(0, 3),
)
@pytest.mark.parametrize("search", QUICK, ids=lambda search: type(search).__name__)
def test_what_holds_for_any_text(
    search: Search,
    items: list[str],
    constraint: Constraint,
    transformation: Transformation,
    goal: Goal,
    budget: int,
    seed: int,
) -> None:
    victim = BagOfWords({"good": 2.0, "film": 0.5, "splendid": 1.0}, bias=0.1)
    made = recipe(search, constraint, goal=goal, transformation=transformation)
    results = attack(made, victim, items, budget=budget, seed=seed)
    assert results == attack(made, victim, items, budget=budget, seed=seed)
    for text, result in zip(items, results, strict=True):
        assert [result] == attack(made, victim, [text], budget=budget, seed=seed)  # whatever others there are
        assert 1 <= result.queries <= budget
        if not result.success:
            assert result.text == (text,)
            continue
        assert result.text != (text,)
        assert goal.judge(victim([result.text])[0], 1, len(SplitText.of(result.text[0])))[1]
        require_kept(constraint, text, result.text[0])


@pytest.mark.parametrize("words", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("search", QUICK, ids=lambda search: type(search).__name__)
def test_a_long_text_ends(search: Search, words: int) -> None:
    made = recipe(search, transformation=Deletion(), goal=FewestWords())
    [result] = attack(made, BagOfWords({"good": 2.0}), ["good film " * (words // 2)], budget=30)
    assert 1 < result.queries <= 30


@names
def test_a_search_ends_where_nothing_can_be_asked(search: Search) -> None:
    class Nothing(Constraint):
        def keeps(self, original: SplitText, words: SplitText) -> bool:
            return False

    victim = BagOfWords(WEIGHTS)
    assert attack(recipe(search, Nothing()), victim, [SENTENCE, ""]) == [
        Attacked((SENTENCE,), 1),
        Attacked(("",), 1),
    ]
    # One word with one substitute: the space is spent, not the budget.
    assert attack(recipe(search), victim, ["tells splendid"], budget=10_000)[0].queries <= 8


def test_a_generation_is_one_question() -> None:
    calls: list[int] = []
    bag = BagOfWords({"good": 30.0})

    def victim(texts: list[tuple[str, ...]]) -> np.ndarray:
        calls.append(len(texts))
        return bag(texts)

    text = " ".join(["good film story tells"] * 3)
    attack(recipe(Genetic(population=20, generations=4)), victim, [text] * 3, budget=10_000)
    assert len(calls) <= 1 + 5
    calls.clear()
    attack(recipe(ParticleSwarm(particles=20, iterations=4)), victim, [text], budget=10_000)
    assert len(calls) <= 1 + 5


def test_a_success_ends_a_population() -> None:
    for search in (Genetic(), ParticleSwarm()):
        victim = BagOfWords({"good": 1.0, "nice": -1.0, "decent": -1.0})
        [result] = attack(recipe(search), victim, ["good film"])
        assert result.success
        assert result.queries <= 1 + 2 + 2  # the clean text and its neighbours


def test_the_best_of_a_generation_stays_in_the_next_one() -> None:
    def rugged(texts: list[tuple[str, ...]]) -> np.ndarray:
        positive = np.array([0.5 + zlib.crc32(text.encode()) % 1000 / 2001 for (text,) in texts])
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)

    state = attacked.state(
        "good film story tells splendid", rugged, budget=10_000, transformation=Synonyms(synonyms)
    )

    def bred() -> Steps[list[float]]:
        yield from state.begin()
        substitutes = yield from substitutes_of(state)
        members = yield from mutated(state, [(state.item.original, state.first)] * 4, substitutes)
        best = [max(one.score for one in members)]
        for _ in range(30):
            members = yield from next_generation(state, members, substitutes)
            assert len(members) == 4
            best.append(max(one.score for one in members))
        return best

    best = answer(bred())
    assert best == sorted(best) and best[-1] > best[0]


def test_children_mix_the_words_of_two_parents() -> None:
    state = attacked.state("x x x x x x x x", BagOfWords({}), budget=3)

    def parents() -> Steps[list[Scored]]:
        yield from state.begin()
        texts = [replace(state.item.original, words=tuple(letters)) for letters in ("abcdefgh", "ABCDEFGH")]
        return (yield from state.scores(texts))

    children = [child for child, _ in children_of(state, answer(parents()) * 30)]
    assert len(children) == 59
    assert all(child.text.lower() == "a b c d e f g h" for child in children)
    assert any(not child.text.islower() and not child.text.isupper() for child in children)


@pytest.mark.parametrize(
    ("search", "goal"), [(Beam(), Untargeted()), (Beam(5, successes_only=True), FewestWords())]
)
def test_a_beam_does_not_go_in_circles(search: Search, goal: Goal) -> None:
    circle = {"good": ("nice",), "nice": ("decent",), "decent": ("nice",)}
    made = recipe(search, goal=goal, transformation=Synonyms(lambda word: circle.get(word, ())))
    [result] = attack(made, BagOfWords({"good": 2.0, "nice": 1.0, "decent": 1.0}), ["good"])
    assert result.queries == 3


def test_seeds_differ() -> None:
    text = " ".join(["good film story tells"] * 5)
    for search in (Genetic(6, 4), ParticleSwarm(6, 4), RandomSearch()):
        asked = []
        for seed in (0, 1):
            victim = BagOfWords({"good": 30.0})
            attack(recipe(search), victim, [text], seed=seed, budget=60)
            asked.append(victim.asked)
        assert asked[0] != asked[1]


def test_a_population_climbs_where_one_pass_would_have_to_be_lucky() -> None:
    """Every word counts a little, so that many have to change, within what a random search may ask."""
    text = " ".join(f"word{i}" for i in range(30))
    weights = {f"word{i}": 1.0 for i in range(30)} | {f"other{i}": -1.0 for i in range(30)}
    victim = BagOfWords(weights, bias=-10.0)
    swap = Synonyms(lambda word: (word.replace("word", "other"), word.replace("word", "third")))
    for search in (Genetic(), ParticleSwarm()):
        [result] = attack(recipe(search, transformation=swap), victim, [text], budget=3_000)
        assert result.success, search
    [result] = attack(recipe(RandomSearch(), transformation=swap), victim, [text], budget=3_000)
    assert not result.success


def test_parents_are_drawn_by_fitness() -> None:
    assert fitness([0.1, 0.3]) == [0.1, 0.3]
    assert fitness([0.0, 0.0]) == [1.0, 1.0]
    assert fitness([-3.0, -1.0, float("-inf")]) == [0.0, 2.0, 0.0]
    assert fitness([float("-inf")] * 2) == [1.0, 1.0]


def test_reduction_leaves_the_decisive_word() -> None:
    victim = BagOfWords({"splendid": 3.0, "dull": -1.0})
    [result] = attack(
        input_reduction.configured(AttackSettings()), victim, ["A splendid film, not a dull story!"]
    )
    assert result.success
    assert SplitText.of(result.text[0]).words == ("splendid",)
    assert victim([result.text])[0].argmax() == 1


def test_reduction_by_a_beam_goes_where_one_path_ends() -> None:
    """The surest first step, without a, leads nowhere; the second surest, without b, leads to one word."""
    sure = {"a b c": 0.9, "b c": 0.8, "a c": 0.7, "a": 0.6}

    def victim(texts: list[tuple[str, ...]]) -> np.ndarray:
        positive = np.array([sure.get(text.strip(), 0.2) for (text,) in texts])
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)

    for width, left in ((1, "b c"), (2, "a")):
        made = recipe(Beam(width, successes_only=True), goal=FewestWords(), transformation=Deletion())
        [result] = attack(made, victim, ["a b c"])
        assert result.text[0].strip() == left


def test_reduction_keeps_its_goal() -> None:
    with pytest.raises(AttackError, match="its own goal"):
        input_reduction.configured(AttackSettings(goal="untargeted"))


def test_edits_of_words() -> None:
    victim = BagOfWords({"good": 2.0, "hardly": -3.0})
    inserting = recipe(Exhaustive(most=1), transformation=Insertion(("really", "hardly")))
    [inserted] = attack(inserting, victim, ["a good film"])
    assert inserted.text == ("hardly a good film",)
    deleting = recipe(Exhaustive(most=1), transformation=Deletion())
    [deleted] = attack(deleting, BagOfWords({"good": 2.0, "film": -1.0}), ["a good film"])
    assert deleted.text == ("a film",)
    [alone] = attack(deleting, BagOfWords({"good!": 2.0}, bias=-1.0), ["good!"])
    assert not alone.success  # the last word stays


def test_the_recipe_pso_reads_its_lexicon(tmp_path: Path) -> None:
    with pytest.raises(AttackError, match="sememes"):
        pso.configured(AttackSettings())
    lexicon = tmp_path / "sememes.json"
    lexicon.write_text(json.dumps({"splendid": ["GoodQuality"], "fine": ["GoodQuality"], "film": ["Shows"]}))
    made = pso.configured(AttackSettings(sememes=str(lexicon), part_of_speech=False))
    [result] = attack(made, BagOfWords(WEIGHTS), [SENTENCE])
    assert result.text == ("This fine film tells a story",)


def test_the_recipe_genetic_takes_vectors_or_wordnet(tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("splendid 1 0 0\nfine 0.95 0.1 0\nfilm 0 1 0\nmovie 0 0.6 0.8\n")
    made = genetic.configured(AttackSettings(vectors=str(vectors)))
    victim = BagOfWords(WEIGHTS | {"movie": -9.0})
    [result] = attack(made, victim, [SENTENCE])
    assert result.text == ("This fine film tells a story",)
    assert not any("movie" in text for (text,) in victim.asked)  # too far away
    with pytest.raises(AttackError, match="WordNet"):
        genetic.configured(AttackSettings(wordnet=str(tmp_path)))


@pytest.mark.parametrize("named", [genetic, pso, input_reduction])
def test_a_recipe_names_its_paper(named: AttackRecipe) -> None:
    assert "20" in (named.source or "")
    assert named.level == "word"
