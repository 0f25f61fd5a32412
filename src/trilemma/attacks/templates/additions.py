"""Sentences of ours that say nothing new, for the tasks' templates: arithmetic, and denials of a denial."""

import random
from collections.abc import Callable

from trilemma.attacks.sentences.style import after, before, is_question, within
from trilemma.attacks.templates.template import Rewrite, Template
from trilemma.tasks.task import Text

DENIED = (
    "It would be wrong to deny this:",
    "It is not false to say this:",
    "Nobody can truly say no to this:",
)
"""Openings that deny a denial."""


def arithmetic(rng: random.Random) -> list[str]:
    """Three true clauses about numbers."""
    a, b = rng.sample(range(13, 60), 2)
    low, high = min(a, b), max(a, b)
    return [f"{high} is more than {low}", f"{low} and {high} make {a + b}", f"{low} is not more than {high}"]


def true_sums(name: str, reason: str, *fields: int) -> Template:
    """Arithmetic behind texts.

    Args:
        name: of the template.
        reason: why the label holds.
        fields: which texts get it, all the same.
    """

    def rewrite(text: Text, rng: random.Random) -> list[Text]:
        return [
            tuple(with_clause(part, clause) if field in fields else part for field, part in enumerate(text))
            for clause in arithmetic(rng)
        ]

    return Template(name, "stresstest", reason, rewrite)


def with_clause(text: str, clause: str) -> str:
    """A statement with a clause within it; a question with one in a sentence before it."""
    return before(text, f"{clause}.") if is_question(text) else within(text, f", and {clause}")


def denied(field: int, reason: str) -> Template:
    """A statement after an opening that denies its denial."""

    def rewrite(text: Text, rng: random.Random) -> list[Text]:
        if is_question(text[field]):
            return []
        return [(*text[:field], before(text[field], opening), *text[field + 1 :]) for opening in DENIED]

    return Template("double negation", "stresstest", reason, rewrite)


def in_front(*openings: str) -> tuple[Callable[[str], str], ...]:
    """Changes that put an opening before a text."""
    return tuple(_opened(opening) for opening in openings)


def _opened(opening: str) -> Callable[[str], str]:
    return lambda text: before(text, opening)


def behind(*sentences: str) -> tuple[Callable[[str], str], ...]:
    """Changes that put a sentence behind a text."""
    return tuple(_followed(sentence) for sentence in sentences)


def _followed(sentence: str) -> Callable[[str], str]:
    return lambda text: after(text, sentence)


def same_opening(*openings: str) -> Rewrite:
    """The same opening before all texts of an item; one form an opening."""

    def rewrite(text: Text, rng: random.Random) -> list[Text]:
        return [tuple(before(part, opening) for part in text) for opening in openings]

    return rewrite


def other_order(text: Text, rng: random.Random) -> list[Text]:
    """The two texts of a pair, each in the other's place."""
    return [tuple(reversed(text))]
