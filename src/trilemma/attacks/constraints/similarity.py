"""Sentences must still mean the same, as a sentence encoder sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trilemma.attacks.attempt import Attempt
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.words import Words


@dataclass(frozen=True)
class SentenceSimilarity(Constraint):
    """Least cosine of the embeddings of the attacked text and of the original.

    Args:
        encoder: texts to unit vectors.
        least: cosine, -1 to 1.
    """

    encoder: Service
    least: float
    name = "sentence similarity"

    def holds(self, attempt: Attempt, candidates: Sequence[Words]) -> Steps[list[bool]]:
        """Which candidates are near enough; their cosines are kept for the search."""
        texts = [attempt.original.text, *(words.text for words in candidates)]
        vectors = np.stack((yield from ask(self.encoder, texts)))
        cosines = vectors[1:] @ vectors[0]
        attempt.similarities.update(zip(texts[1:], cosines.tolist(), strict=True))
        return [bool(cosine >= self.least) for cosine in cosines]
