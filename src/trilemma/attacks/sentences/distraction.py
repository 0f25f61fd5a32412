"""Distraction: additions that say nothing and that a person ignores.

Links and handles are CheckList's test of robustness (Ribeiro et al. 2020, ACL 2020.acl-main.442, section 2);
tautologies are StressTest's distraction (Naik et al. 2018, COLING C18-1198, section 2.2). AdvGLUE has both at
sentence level.
"""

import random
import string

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.sentences.style import before, is_question, with_capital, within

_CHARACTERS = string.ascii_letters + string.digits

OVERLAP = ("true is true", "what is so is so", "a day is a day")
"""Clauses that are always true: they make the overlap of two texts smaller."""
NEGATION = ("false is not true", "no is not yes", "nothing is both so and not so")
"""Clauses that are always true and contain strong negations."""
REPEATED = 5
"""How often the first clause is repeated to make a text long: the paper's number."""


def links_and_handles(item: Item) -> Steps[list[str]]:
    """A random link or handle at either end of a text: four of each of the four kinds, which take turns.

    None of an empty text.
    """
    yield from ()
    text = item.original.text
    if not text.strip():
        return []
    found = []
    for _ in range(4):
        for mark in ("https://t.co/", "@"):
            found.append(f"{mark}{_code(item.random)} {text}")
            found.append(f"{text} {mark}{_code(item.random)}")
    return found


def tautologies(item: Item, *, apart: bool) -> Steps[list[str]]:
    """Clauses that are always true: one, one with a negation, or the first of them five times.

    They are joined with the text, but a sentence before questions, or before any text where they stand
    ``apart``. None of an empty text.
    """
    yield from ()
    text = item.original.text
    if not text.strip():
        return []
    clauses = [clause for pair in zip(OVERLAP, NEGATION, strict=True) for clause in pair]
    clauses.insert(2, " and ".join([OVERLAP[0]] * REPEATED))
    if apart or is_question(text):
        return [before(text, f"{with_capital(clause)}.") for clause in clauses]
    return [within(text, f"and {clause}") for clause in clauses]


def _code(rng: random.Random) -> str:
    return "".join(rng.choices(_CHARACTERS, k=6))
