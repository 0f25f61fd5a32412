"""What a part of an attack makes of a text, and the resources that such parts read, made on the spot."""

from pathlib import Path

from tests.stand_ins.victims import BagOfWords
from trilemma.attacks.attack import Attacked
from trilemma.attacks.attempt import Attempt
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.goals import Untargeted
from trilemma.attacks.lockstep import run_in_lockstep
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.wordnet import WordNet
from trilemma.attacks.words import Words

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


def attack(recipe: object, victim: object, items: list[str], budget: int = 200) -> list[Attacked]:
    return recipe(victim, [(text,) for text in items], [1] * len(items), budget=budget, seed=0)  # type: ignore[operator]


def proposals(
    transformation: Transformation, text: str, positions: list[int] | None = None
) -> list[list[str]]:
    """What a transformation proposes for a text."""
    words = Words.of(text)
    one = attempt(text)
    found: dict[int, list[list[str]]] = {}
    places = list(range(len(words))) if positions is None else positions
    run_in_lockstep([transformation.propose(one, words, places)], found.__setitem__)
    return found[0]


def attempt(text: str) -> Attempt:
    return Attempt(
        (text,),
        1,
        field=0,
        victim=BagOfWords({}),
        transformation=None,
        constraints=(),
        goal=Untargeted(),
        budget=9,
        seed=0,
    )


def held(constraint: Constraint, original: str, candidates: list[Words]) -> list[bool]:
    found: dict[int, list[bool]] = {}
    run_in_lockstep([constraint.holds(attempt(original), candidates)], found.__setitem__)
    return found[0]


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
