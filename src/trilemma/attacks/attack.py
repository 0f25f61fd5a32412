"""What an attack is given and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.progress import Progress
from trilemma.registry import Registry
from trilemma.tasks.task import Level, Text


class Victim(Protocol):
    """The model under attack."""

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Class probabilities [n, classes] of n texts (or pairs); every text is one query."""


@dataclass(frozen=True)
class Attacked:
    """What an attack made of one item.

    Attributes:
        text: the strongest adversarial input found; the original where none was.
        queries: distinct texts that the victim was asked for this item.
        success: whether the attack's goal was met; a plug-in may leave it to the answers.
    """

    text: Text
    queries: int
    success: bool = False


class Attack(Protocol):
    """Searches, within a query budget, for inputs that the victim gets wrong and people do not."""

    @property
    def level(self) -> Level:
        """Of what it changes."""

    def __call__(
        self,
        victim: Victim,
        texts: Sequence[Text],
        labels: Sequence[int],
        *,
        budget: int,
        seed: int,
        progress: Progress,
    ) -> list[Attacked]:
        """Attack items that the victim answers correctly.

        Args:
            victim: the model under attack.
            texts: the clean inputs.
            labels: their class indices.
            budget: queries allowed an item.
            seed: the same seed gives the same examples.
            progress: told of items done.

        Returns:
            One result an item, in order.
        """


_RECIPES = "trilemma.attacks.recipes"

ATTACKS: Registry[Attack] = Registry(
    "attack",
    {
        "deepwordbug": f"{_RECIPES}:DEEPWORDBUG_RECIPE",
        "pwws": f"{_RECIPES}:PWWS_RECIPE",
        "textbugger": f"{_RECIPES}:TEXTBUGGER_RECIPE",
    },
)
