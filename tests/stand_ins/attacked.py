"""What a part of an attack makes of a text, and the resources that such parts read, made on the spot."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

from trilemma.attacks import Attack, Attacked, AttackRun, Victim
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.constraints.edits import EditDistance, MostChanged, UnchangedWords
from trilemma.attacks.item import Budget, Item
from trilemma.attacks.lockstep import Steps, T, run_in_lockstep
from trilemma.attacks.resources.wordnet import WordNet
from trilemma.attacks.search.state import SearchState
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.words import SplitText, allowed_changes, edit_distance, words_apart

HOSTILE = [
    "",
    "word",
    "🎬🎬",
    "שלום עולם",
    "a the of",
    "naïve \u200bzero\u2060width ² ŉ",
    "x" * 3000,
    "good " * 1_000,
    "[MASK] [UNK] [SEP] good",
]


def attack(
    recipe: Attack, victim: Victim, texts: Sequence[str], label: int = 1, budget: int = 200, seed: int = 0
) -> list[Attacked]:
    """The results of an attack on single texts of one class."""
    run = AttackRun(budget, seed)
    return recipe(victim, [(text,) for text in texts], [label] * len(texts), run)


def answer(steps: Steps[T]) -> T:
    """What one search finds alone."""
    return run_in_lockstep([steps])[0]


def proposals(
    transformation: Transformation, text: str, positions: list[int] | None = None
) -> list[list[str]]:
    """What a transformation proposes for a text."""
    words = SplitText.of(text)
    places = list(range(len(words))) if positions is None else positions
    return answer(transformation.propose(item(text), words, places))


def item(text: str) -> Item:
    return Item.of((text,), 1, 0, seed=0)


def state(
    text: str, victim: Victim, budget: int = 9, transformation: Transformation | None = None
) -> SearchState:
    """A search on one text of class 1."""
    return SearchState(item(text), Budget(budget, victim), transformation)


def held(constraint: Constraint, original: str, candidates: list[SplitText]) -> list[bool]:
    return answer(constraint.holds(item(original), candidates))


def require_kept(constraint: Constraint, before: str, after: str) -> None:
    """Assert from the texts alone that a word-level attack has kept a constraint."""
    if isinstance(constraint, MostChanged):
        assert words_apart(before, after) <= allowed_changes(before, constraint.share)
    elif isinstance(constraint, EditDistance):
        assert edit_distance(before, after) <= constraint.most
    elif not isinstance(constraint, UnchangedWords):
        words, left = SplitText.of(before), list(SplitText.of(after).words)
        for position, word in enumerate(words.words):
            if not constraint.allows(words, position):  # as often as before
                left.remove(word)


WRITTEN_TOGETHER = [
    *("3.5", "0:0:1", "1,000", "12/31", "2-1", "10'5", "1.000,5", "12:30.", "(3.5)", "-7.5%"),
    *("it's", "don't", "well-made", "x_y", "a.5", "5.b", "U.S.", "and/or", "e.g.", "1:a", "0::1", ".5"),
]
"""What white space leaves together, with signs between digits and between letters."""

written_together = st.lists(
    st.sampled_from([*WRITTEN_TOGETHER, "good", "film", "the"])
    | st.from_regex(r"[0-9a-c]{1,3}([-.:,'/_][0-9a-c]{1,2}){0,3}", fullmatch=True),
    max_size=9,
).map(" ".join)
"""Texts of such words."""


VECTORS = """good 1 0 0
great 0.9 0.1 0
Fine 0.8 0.3 0.1
bad -1 0 0.1
film 0 1 0
movie 0 2 0.2
nothing 0 0 0
"""


def vectors_file(folder: Path, text: str = VECTORS) -> str:
    path = folder / "vectors.txt"
    path.write_text(text, "utf-8")
    return str(path)


def dictionary(folder: Path) -> WordNet:
    """A dictionary of a few words, with the index files and the exceptions of WordNet."""
    index = {
        "noun": "child film city box run",
        "verb": "film go stop try run make see lie",
        "adj": "big good happy beautiful",
        "adv": "well",
    }
    for part, words in index.items():
        lines = ["  1 licence", *(f"{word} n 1 0 1 1 00000000" for word in sorted(words.split()))]
        (folder / f"index.{part}").write_text("\n".join(lines) + "\n")
        (folder / f"data.{part}").write_text("  1 licence\n")
    (folder / "noun.exc").write_text("children child\nbroken\n")
    (folder / "verb.exc").write_text("went go\ngone go\nran run\nsaw see\nseen see\nmade make\n")
    (folder / "adj.exc").write_text("better good\nbest good\nbigger big\nbiggest big\n")
    return WordNet(folder)
