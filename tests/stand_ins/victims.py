"""Victims whose weakness is known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trilemma.tasks.task import Text


class BagOfWords:
    """Answers class 1 by the sum of the weights of the words it knows; everything else is worth nothing.

    Args:
        weights: of words in lower case.
        bias: of class 1.
    """

    def __init__(self, weights: dict[str, float], bias: float = 0.0) -> None:
        self.weights, self.bias = weights, bias
        self.asked: list[Text] = []

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        self.asked += texts
        sums = [
            self.bias + sum(self.weights.get(word, 0.0) for part in text for word in part.lower().split())
            for text in texts
        ]
        positive = 1 / (1 + np.exp(-np.array(sums)))
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)


class Failing:
    """A victim that answers so many calls and then raises."""

    def __init__(self, victim: BagOfWords, calls: int, error: Exception) -> None:
        self.victim, self.left, self.error = victim, calls, error

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.victim(texts)
