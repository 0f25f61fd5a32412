"""Sentences must still mean the same, as a sentence encoder sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.attempt import Attempt
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.words import Words

ROUGH = 0.02
"""How far from the bound a rough cosine decides: seven times the largest error that bfloat16 made on 797
pairs of SST-2 sentences and what attacks made of them, with all-MiniLM-L6-v2."""


@dataclass(frozen=True)
class SentenceSimilarity(Constraint):
    """Least cosine of the embeddings of the attacked text and of the original.

    Args:
        encoder: texts to unit vectors.
        least: cosine, -1 to 1.
        rough: a faster encoder, whose cosines decide where they are not near the bound; None for none.
    """

    encoder: Service
    least: float
    rough: Service | None = None
    name = "sentence similarity"

    def holds(self, attempt: Attempt, candidates: Sequence[Words]) -> Steps[list[bool]]:
        """Which candidates are near enough; their cosines are kept for the search."""
        original, texts = attempt.original.text, [words.text for words in candidates]
        if self.rough is None:
            cosines = yield from _cosines(self.encoder, original, texts)
        else:
            cosines = yield from _cosines(self.rough, original, texts)
            near = np.flatnonzero(np.abs(cosines - self.least) <= ROUGH)
            cosines[near] = yield from _cosines(self.encoder, original, [texts[i] for i in near])
        attempt.similarities.update(zip(texts, cosines.tolist(), strict=True))
        return [bool(cosine >= self.least) for cosine in cosines]


def _cosines(encoder: Service, original: str, texts: Sequence[str]) -> "Steps[NDArray[np.float32]]":
    """Of each text with the original, [n]."""
    if not texts:
        return np.zeros(0, np.float32)
    vectors = np.stack((yield from ask(encoder, [original, *texts])))
    cosines: NDArray[np.float32] = vectors[1:] @ vectors[0]
    return cosines
