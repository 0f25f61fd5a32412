"""Constraints on a text's language: as likely, as grammatical, the same parts of speech and meaning."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.constraints import Constraint
from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.words import SplitText

WINDOW_WORDS = 10
"""Words on either side that a tagger reads; it decides by the two words before."""

ROUGH = 0.02
"""Distance from the bound at which a rough cosine decides: seven times the largest error of bfloat16 on 797
pairs of SST-2 sentences and their adversarial versions, with all-MiniLM-L6-v2."""


@dataclass(frozen=True)
class PerplexityRatio(Constraint):
    """Largest factor, above 0, by which a model's perplexity, at least 1, may rise above the original's."""

    perplexity: Service
    most: float

    def holds(self, item: Item, candidates: Sequence[SplitText]) -> Steps[list[bool]]:
        """Which candidates are likely enough."""
        texts = [item.original.text, *(words.text for words in candidates)]
        before, *after = yield from ask(self.perplexity, texts)
        return [one <= self.most * before for one in after]


@dataclass(frozen=True)
class GrammarDrop(Constraint):
    """Largest fall, 0 to 1, of the probability that a text is acceptable (CoLA: Warstadt et al. 2019)."""

    acceptability: Service
    most: float

    def holds(self, item: Item, candidates: Sequence[SplitText]) -> Steps[list[bool]]:
        """Which candidates are acceptable enough."""
        texts = [item.original.text, *(words.text for words in candidates)]
        before, *after = yield from ask(self.acceptability, texts)
        return [before - one <= self.most for one in after]


@dataclass(frozen=True)
class PartOfSpeech(Constraint):
    """A word in the place of another is of the same part of speech; each is tagged in its own sentence.

    Where several words replace one, one of them must be. Deletions are allowed, and so are texts that are
    rewritten as a whole, in which no word has the place of another. The tagger answers tuples of words with
    as many parts of speech.
    """

    tagger: Service

    def holds(self, item: Item, candidates: Sequence[SplitText]) -> Steps[list[bool]]:
        """Which candidates keep the parts of speech."""
        questions: list[tuple[int, tuple[str, ...], range, tuple[str, ...], int]] = []
        for index, words in enumerate(candidates):
            if words.original != item.original.words:
                continue
            for position in sorted(words.changed):
                if words.words[position]:
                    before, [place] = _window(item.original.words, position)
                    after, places = _window(words.words, position)
                    questions.append((index, after, places, before, place))
        asked = [one for _, after, _, before, _ in questions for one in (before, after)]
        tags = iter((yield from ask(self.tagger, asked)))
        kept = [True] * len(candidates)
        for (index, _, places, _, place), old, new in zip(questions, tags, tags, strict=True):
            kept[index] &= old[place] in [new[i] for i in places]
        return kept


def _window(words: Sequence[str], position: int) -> tuple[tuple[str, ...], range]:
    """The words around a position, and the places of the position's own words among them."""
    before = [one for word in words[max(0, position - WINDOW_WORDS) : position] for one in word.split()]
    here = words[position].split()
    after = [one for word in words[position + 1 : position + 1 + WINDOW_WORDS] for one in word.split()]
    return (*before, *here, *after), range(len(before), len(before) + len(here))


@dataclass(frozen=True)
class SentenceSimilarity(Constraint):
    """Least cosine of the embeddings of the attacked text and of the original.

    Args:
        encoder: texts to unit vectors.
        least: the least cosine, -1 to 1.
        rough: a faster encoder, whose cosines decide unless they are near the bound; None for none.
    """

    encoder: Service
    least: float
    rough: Service | None = None

    def holds(self, item: Item, candidates: Sequence[SplitText]) -> Steps[list[bool]]:
        """Which candidates are near enough; their cosines are kept in the item, for the search."""
        original, texts = item.original.text, [words.text for words in candidates]
        if self.rough is None:
            cosines = yield from _cosines(self.encoder, original, texts)
        else:
            cosines = yield from _cosines(self.rough, original, texts)
            near = np.flatnonzero(np.abs(cosines - self.least) <= ROUGH)
            cosines[near] = yield from _cosines(self.encoder, original, [texts[i] for i in near])
        item.similarities.update(zip(texts, cosines.tolist(), strict=True))
        return [bool(cosine >= self.least) for cosine in cosines]


def _cosines(encoder: Service, original: str, texts: Sequence[str]) -> "Steps[NDArray[np.float32]]":
    """Cosine of each text and the original, [n]."""
    if not texts:
        return np.zeros(0, np.float32)
    vectors = np.stack((yield from ask(encoder, [original, *texts])))
    cosines: NDArray[np.float32] = vectors[1:] @ vectors[0]
    return cosines
