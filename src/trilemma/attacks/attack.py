"""What an attack is given and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
        score: the goal's score of ``text``, higher is stronger.
        by: which of an ensemble's attacks made it.
    """

    text: Text
    queries: int
    success: bool = False
    score: float = field(default=0.0, compare=False)
    by: str = ""


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


def _recipes(module: str, *names: str) -> dict[str, str]:
    """Names to where they are built: ``recipes_MODULE:NAME_RECIPE``."""
    module = f"trilemma.attacks.recipes{module and '_'}{module}"
    return {name: f"{module}:{name.upper().replace('-', '_')}_RECIPE" for name in names}


ATTACKS: Registry[Attack] = Registry(
    "attack",
    {
        **_recipes("", "deepwordbug", "textbugger", "pwws", "bad-characters", "advglue"),
        **_recipes(
            "models", "textfooler", "bert-attack", "bae", "bae-insert", "morpheus", "compattack", "scpn"
        ),
        **_recipes("searches", "genetic", "pso", "input-reduction"),
        **_recipes(
            "sentences",
            "checklist",
            "stresstest",
            "advfever",
            "checklist-templates",
            "stresstest-templates",
            "own-templates",
        ),
        **_recipes("white_box", "hotflip", "universal-trigger"),
    },
)
