"""Goal functions: when an attack has won, and how near it is."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Goal(Protocol):
    """What an attack is after."""

    @property
    def stops(self) -> bool:
        """Whether a search ends with its first success; otherwise it goes on for a better one."""

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """How near, and whether won.

        Args:
            probabilities: the victim's, [classes].
            label: the item's class.
            words: words that the attacked text has.

        Returns:
            A score, higher is nearer; and whether the goal is met.
        """


@dataclass(frozen=True)
class Untargeted:
    """Any other class than the item's."""

    stops: bool = True

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """Score: 1 - p(label)."""
        return 1.0 - float(probabilities[label]), int(probabilities.argmax()) != label


@dataclass(frozen=True)
class ConfidenceDrop:
    """The least confidence in the item's class that the budget buys; any other answer is a success."""

    stops: bool = False

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """Score: 1 - p(label)."""
        return 1.0 - float(probabilities[label]), int(probabilities.argmax()) != label


@dataclass(frozen=True)
class Targeted:
    """One given class."""

    target: int
    stops: bool = True

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """Score: p(target)."""
        return float(probabilities[self.target]), int(probabilities.argmax()) == self.target


@dataclass(frozen=True)
class InputReduction:
    """The fewest words for which the model still gives the same answer (Feng et al. 2018, arXiv 1804.07781).

    What is left makes no sense to a person, and the model is as sure of it as before.
    """

    stops: bool = False

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """Score: fewer words first, then p(label); below all others where the answer has changed."""
        kept = int(probabilities.argmax()) == label
        return (float(probabilities[label]) - words if kept else float("-inf")), kept
