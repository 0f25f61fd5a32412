"""Distraction: what a text is given along says nothing, and a person reads past it.

Links and handles are CheckList's test of robustness (Ribeiro et al. 2020, ACL 2020.acl-main.442, section 2);
tautologies are StressTest's distraction (Naik et al. 2018, COLING C18-1198, section 2.2). AdvGLUE has both at
sentence level.
"""

import random
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.sentences.style import before, is_question, with_capital, within

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt

_CHARACTERS = string.ascii_letters + string.digits

OVERLAP = ("true is true", "what is so is so", "a day is a day")
"""Clauses that are always true: they dilute the words that two texts share."""
NEGATION = ("false is not true", "no is not yes", "nothing is both so and not so")
"""Clauses that are always true and hold strong negations."""
REPEATED = 5
"""How often the first clause is said to make a text long: the paper's number."""


@dataclass(frozen=True)
class LinksAndHandles:
    """A random link or handle at either end.

    Args:
        each: of links at the front, links at the end, handles at the front and handles at the end.
    """

    each: int = 4

    def rewrite(self, attempt: "Attempt") -> Steps[list[str]]:
        """The four kinds in turn; none of an empty text."""
        yield from ()
        text = attempt.original.text
        if not text.strip():
            return []
        found = []
        for _ in range(self.each):
            for mark in ("https://t.co/", "@"):
                found.append(f"{mark}{_code(attempt.random)} {text}")
                found.append(f"{text} {mark}{_code(attempt.random)}")
        return found


@dataclass(frozen=True)
class Tautologies:
    """Clauses that are always true: one, one with a negation, or the first of them five times.

    Args:
        apart: whether they always stand in a sentence of their own, before the text; otherwise they do only
            before a question.
    """

    apart: bool = False

    def rewrite(self, attempt: "Attempt") -> Steps[list[str]]:
        """Every clause; none of an empty text."""
        yield from ()
        text = attempt.original.text
        if not text.strip():
            return []
        said = [*zip(OVERLAP, NEGATION, strict=True)]
        clauses = [clause for pair in said for clause in pair]
        clauses.insert(2, " and ".join([OVERLAP[0]] * REPEATED))
        if self.apart or is_question(text):
            return [before(text, f"{with_capital(clause)}.") for clause in clauses]
        return [within(text, f"and {clause}") for clause in clauses]


def _code(rng: random.Random) -> str:
    return "".join(rng.choices(_CHARACTERS, k=6))
