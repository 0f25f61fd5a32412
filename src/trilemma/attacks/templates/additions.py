"""Texts added to a text: sentences beside it, clauses joined with it, arithmetic, denials of a denial."""

import random
import re
from collections.abc import Callable, Sequence
from functools import cache, partial

from trilemma.attacks.sentences.style import (
    after,
    before,
    is_one_sentence,
    is_question,
    within,
    without_capital,
)
from trilemma.attacks.words import word_list

Change = Callable[[str], str | None]
"""Another form of one text, or None where the change does not apply."""

TEXT = "TEXT"
"""Stands for the text in what is added to it."""


def beside(form: str, text: str) -> str:
    """The text with the sentences of a form before it and after it, in its style."""
    opening, _, ending = form.partition(TEXT)
    text = before(text, opening.rstrip()) if opening else text
    return after(text, ending.lstrip()) if ending else text


def as_clause(form: str, text: str) -> str | None:
    """A plain statement as a clause: one that begins with a subject and ends with a full stop.

    In "Nobody denies that TEXT" it loses its capital, in "TEXT, and the door is green" its final mark.
    """
    plain = _subject().match(text) and is_one_sentence(text) and text.rstrip().endswith(".")
    if not plain or is_question(text) or ":" in text:
        return None
    opening, _, ending = form.partition(TEXT)
    text = f"{opening}{without_capital(text)}" if opening else text
    return within(text, ending) if ending else text


@cache
def _subject() -> re.Pattern[str]:
    names = "|".join((*word_list("men"), *word_list("women")))
    return re.compile(rf"(?:The|A|An|He|She|We|They|I|My|His|Her|Our|Their|Bill|{names})(?:'s)? [a-z]")


def sums_beside(rng: random.Random) -> Sequence[Change]:
    """True sums, as a clause of a statement, or a sentence before a question."""
    return [partial(_with_sum, clause) for clause in _sums(rng)]


def sums_joined(rng: random.Random) -> Sequence[Change]:
    """True sums, joined with a plain statement."""
    return [partial(as_clause, f"{TEXT}, and {clause}") for clause in _sums(rng)]


def _sums(rng: random.Random) -> list[str]:
    """Three true clauses about numbers."""
    a, b = rng.sample(range(13, 60), 2)
    low, high = min(a, b), max(a, b)
    return [f"{high} is more than {low}", f"{low} and {high} make {a + b}", f"{low} is not more than {high}"]


def _with_sum(clause: str, text: str) -> str:
    return before(text, f"{clause}.") if is_question(text) else within(text, f", and {clause}")


def _denied(opening: str, text: str) -> str | None:
    return None if is_question(text) else before(text, opening)


DENIALS: Sequence[Change] = [
    partial(_denied, opening)
    for opening in (
        "It would be wrong to deny this:",
        "It is not false to say this:",
        "Nobody can truly say no to this:",
    )
]
"""A statement after an opening that denies its denial."""
