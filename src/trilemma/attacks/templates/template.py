"""What a template is: a rewriting that a person wrote, with the reason why the label holds."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trilemma.attacks.lockstep import Steps
from trilemma.tasks.task import Text

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt

Family = Literal["checklist", "stresstest", "own"]
"""Whose kind of template it is: Ribeiro et al. 2020's, Naik et al. 2018's, or the user's."""

Rewrite = Callable[[Text, random.Random], Iterable[Text]]
"""The forms of an item, both texts of a pair; none where it does not apply."""


@dataclass(frozen=True)
class Template:
    """One template.

    Attributes:
        name: of the template.
        family: whose kind it is.
        reason: why a person still gives the item its label.
        rewrite: the forms of an item.
        labels: classes, by name, for which the reason holds; None for all.
    """

    name: str
    family: Family
    reason: str
    rewrite: Rewrite
    labels: frozenset[str] | None = None

    def forms(self, text: Text, label: str, rng: random.Random) -> list[Text]:
        """Forms of an item of a class, each once, none of them the item itself.

        Args:
            text: the item.
            label: name of its class.
            rng: of everything random.
        """
        if self.labels is not None and label not in self.labels:
            return []
        if not all(part.strip() for part in text):
            return []  # nothing is said that a label could hold of
        return [form for form in dict.fromkeys(self.rewrite(text, rng)) if form != text]

    def applies(self, text: Text, label: str) -> bool:
        """Whether the template makes anything of an item."""
        return bool(self.forms(text, label, random.Random(0)))


@dataclass(frozen=True)
class FromTemplates:
    """All templates' forms of an item.

    Args:
        templates: which.
        labels: the task's class names by index.
    """

    templates: tuple[Template, ...]
    labels: Sequence[str]

    def rewrite(self, attempt: "Attempt") -> Steps[list[Text]]:
        """The first form of every template, then the second ones, and so on."""
        yield from ()
        label = self.labels[attempt.label]
        found = [template.forms(attempt.text, label, attempt.random) for template in self.templates]
        most = max(map(len, found), default=0)
        return [forms[turn] for turn in range(most) for forms in found if turn < len(forms)]


def in_every_text(change: Callable[[str], str]) -> Rewrite:
    """The same change in all texts of an item."""

    def rewrite(text: Text, rng: random.Random) -> list[Text]:
        return [tuple(change(part) for part in text)]

    return rewrite


def in_one_text(field: int, *changes: Callable[[str], str | None]) -> Rewrite:
    """One form a change, of one text alone; None where a change does not apply."""

    def rewrite(text: Text, rng: random.Random) -> list[Text]:
        written = (change(text[field]) for change in changes)
        return [(*text[:field], new, *text[field + 1 :]) for new in written if new is not None]

    return rewrite
