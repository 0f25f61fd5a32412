"""Goal functions: when an attack has succeeded, and how near it is to that."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Goal(Protocol):
    """What an attack wants to achieve."""

    @property
    def stops(self) -> bool:
        """Whether a search ends with its first success; otherwise it looks for a better one."""

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """How near the victim's probabilities [classes] are to the goal, for an item's class.

        ``words`` is the number of words of the attacked text. Returns a score, higher is nearer; and whether
        the goal is met.
        """


@dataclass(frozen=True)
class Untargeted:
    """Any class but the item's."""

    stops: bool = True

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """Score: 1 - p(label)."""
        return 1.0 - float(probabilities[label]), int(probabilities.argmax()) != label


@dataclass(frozen=True)
class ConfidenceDrop(Untargeted):
    """The least confidence in the item's class within the budget; any other answer is a success."""

    stops: bool = False


@dataclass(frozen=True)
class Targeted:
    """A given class."""

    target: int
    stops: bool = True

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """Score: p(target)."""
        return float(probabilities[self.target]), int(probabilities.argmax()) == self.target


@dataclass(frozen=True)
class FewestWords:
    """The fewest words for which the model still gives the same answer (Feng et al. 2018, arXiv 1804.07781).

    What is left does not make sense to a person, and the model is as sure of it as before.
    """

    stops: bool = False

    def judge(self, probabilities: NDArray[np.float32], label: int, words: int) -> tuple[float, bool]:
        """Score: fewer words first, then p(label); below all others where the answer has changed."""
        kept = int(probabilities.argmax()) == label
        return (float(probabilities[label]) - words if kept else float("-inf")), kept
