"""Everything that answers texts with class probabilities.

:class:`TextClassifier` is the interface; :class:`trilemma.inference.classifier.Classifier` is a local model.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.tasks.task import Text


class TextClassifier(Protocol):
    """Answers texts: a local model, an endpoint, a rule. Attacks see their victim through this interface."""

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Class probabilities [n, classes] of n texts or text pairs; each text is one query."""
