"""CoLA: whether a sentence is acceptable English. What is added is acceptable and takes nothing away."""

import random
import re
from collections.abc import Callable, Iterable

from trilemma.attacks.sentences.style import is_one_sentence, is_question, within, without_capital
from trilemma.attacks.templates.additions import arithmetic
from trilemma.attacks.templates.contractions import contraction, expansion
from trilemma.attacks.templates.swaps import MEN, WOMEN, swapped_names
from trilemma.attacks.templates.template import Template, in_one_text
from trilemma.tasks.task import Text

_SUBJECT = re.compile(
    rf"(?:The|A|An|He|She|We|They|I|My|His|Her|Our|Their|Bill|{'|'.join((*MEN, *WOMEN))})(?:'s)? [a-z]"
)


def _statement(change: Callable[[str], str]) -> Callable[[str], str | None]:
    """A change of plain statements alone: what begins with a subject and ends with a full stop."""

    def changed(text: str) -> str | None:
        plain = _SUBJECT.match(text) and is_one_sentence(text) and text.rstrip().endswith(".")
        return change(text) if plain and not is_question(text) and ":" not in text else None

    return changed


def _after(opening: str) -> Callable[[str], str | None]:
    """A statement inside another one."""
    return _statement(lambda text: f"{opening} {without_capital(text)}")


def _joined(clause: str) -> Callable[[str], str | None]:
    """A statement with another one after it."""
    return _statement(lambda text: within(text, f", and {clause}"))


def _and_a_sum(text: Text, rng: random.Random) -> Iterable[Text]:
    return in_one_text(0, *map(_joined, arithmetic(rng)))(text, rng)


_EMBEDDED = (
    "a statement inside a statement is as acceptable as it is alone: what the verb or phrase before it needs "
    "is a statement, and the grammar inside does not change"
)
_JOINED = 'two statements that are joined by a comma and "and" are acceptable if each is, and ours is'

TEMPLATES: tuple[Template, ...] = (
    swapped_names(extra_men=("Bill",)),
    contraction(only_not=True),
    expansion(),
    Template(
        "reported",
        "checklist",
        _EMBEDDED,
        in_one_text(0, _after("Everyone knows that"), _after("The neighbours think that")),
    ),
    Template(
        "joined",
        "checklist",
        _JOINED,
        in_one_text(0, _joined("the door is green"), _joined("the soup was cold")),
    ),
    Template(
        "double negation",
        "stresstest",
        _EMBEDDED,
        in_one_text(
            0, _after("It is not false that"), _after("Nobody denies that"), _after("I do not doubt that")
        ),
    ),
    Template("arithmetic", "stresstest", _JOINED, _and_a_sum),
)
