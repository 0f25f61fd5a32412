"""Templates: rewritings that a person wrote, each with the reason why the label holds."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.tasks.task import Text

Family = Literal["checklist", "stresstest", "user"]
"""Origin of a template: Ribeiro et al. 2020, Naik et al. 2018, or the user."""

Rewrite = Callable[[Text, random.Random], Iterable[Text]]
"""Forms of an item, with both texts of a pair; none where the template does not apply."""


@dataclass(frozen=True)
class Template:
    """One template.

    Attributes:
        name: of the template.
        family: its origin.
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
        """Forms of an item of a class, each once, none of them the item itself."""
        if self.labels is not None and label not in self.labels:
            return []
        if not all(part.strip() for part in text):
            return []  # an empty text says nothing that has a label
        return [form for form in dict.fromkeys(self.rewrite(text, rng)) if form != text]


def by_templates(item: Item, *, templates: Sequence[Template], labels: Sequence[str]) -> Steps[list[Text]]:
    """The first form of an item by every template, then the second ones, and so on.

    ``labels`` are the task's class names by index.
    """
    yield from ()
    found = [template.forms(item.text, labels[item.label], item.random) for template in templates]
    most = max(map(len, found), default=0)
    return [forms[turn] for turn in range(most) for forms in found if turn < len(forms)]
