"""HotFlip: flips in the order in which the victim's own gradient estimates them (Ebrahimi et al. 2018)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.lockstep import Steps, ask
from trilemma.attacks.search.beam import nearest, won
from trilemma.attacks.search.state import SearchState
from trilemma.attacks.words import SplitText

if TYPE_CHECKING:
    from trilemma.inference.gradients import TokenGradients

Floats = NDArray[np.float32]

LOOKED_AT = 8
"""Flips that are checked against the constraints for one that is asked about."""


@dataclass(frozen=True)
class HotFlip:
    """Flip one word at a time, in the few best texts so far (ACL P18-2006, section 3).

    Flips are ranked by the first-order estimate of :mod:`trilemma.attacks.victims.local`, and the victim is
    asked about the best of them only. A text stays in the beam until others are nearer to the goal: meanwhile
    its next best flips are asked about.

    Args:
        width: texts in the beam.
        asked: flips of each of them that the victim is asked about at a time.
        vocabulary: whether a word may become any word of the victim's vocabulary, besides what the
            transformation proposes.
    """

    width: int = 3
    asked: int = 5
    vocabulary: bool = True

    def __call__(self, state: SearchState) -> Steps[None]:
        """Search until the goal is met or no flip is left."""
        beam, seen = [state.first], {state.item.original.text}
        while beam:
            gradients = yield from state.gradients([one.words for one in beam])
            flipped: list[SplitText] = []
            for one, its in zip(beam, gradients, strict=True):
                flipped += yield from self._best_flips(state, one.words, its, seen)
            scored = yield from state.scores(flipped)
            if not scored or won(state, scored):
                return
            beam = nearest([*beam, *scored], self.width)

    def _best_flips(
        self, state: SearchState, words: SplitText, gradients: "TokenGradients", seen: set[str]
    ) -> Steps[list[SplitText]]:
        """The best new flips that keep the constraints; texts that were checked are added to ``seen``."""
        # Among so many, enough are new.
        most = self.asked * LOOKED_AT + len(seen) + len(words)
        ranked = yield from self._ranked(state, words, gradients, most)
        new = (one for one in ranked if one.text not in seen)
        kept: list[SplitText] = []
        left = self.asked * LOOKED_AT
        while len(kept) < self.asked and (some := list(islice(new, min(self.asked - len(kept), left)))):
            left -= len(some)
            seen.update(one.text for one in some)
            kept += yield from state.keeping(some)
        return kept

    def _ranked(
        self, state: SearchState, words: SplitText, gradients: "TokenGradients", most: int
    ) -> Steps[Iterator[SplitText]]:
        """Flips of the words that the victim reads; first those that should raise the loss most."""
        white_box = state.budget.white_box
        allowed = state.positions(words)
        at = white_box.word_gradients(words, state.item.field, gradients, allowed)
        positions = [position for position, seen in zip(allowed, at.seen, strict=True) if seen]
        at = at.only(at.seen)
        estimates = white_box.estimates(at.sums, at.now)
        flips: list[tuple[float, int, str]] = []
        if state.transformation is not None:
            proposed = yield from state.proposals(words, positions)
            flat = [(place, word) for place, some in enumerate(proposed) for word in dict.fromkeys(some)]
            tokens = yield from ask(white_box.tokens, [word for _, word in flat])
            places = np.array([place for place, _ in flat], np.int64)
            for (place, word), estimate in zip(
                flat, _of_several_tokens(estimates, at.now, places, tokens), strict=True
            ):
                flips.append((estimate, positions[place], word))
        if self.vocabulary:
            vocabulary = white_box.vocabulary
            whole = estimates[:, vocabulary.ids]
            for place, column in _largest(whole, most):
                flips.append((float(whole[place, column]), positions[place], vocabulary.words[column]))
        flips.sort(key=lambda flip: (-flip[0], flip[1:]))
        return (words.with_word(i, word) for _, i, word in flips if word != words.words[i])


def _of_several_tokens(
    estimates: Floats, now: Floats, places: NDArray[np.int64], tokens: Sequence[Sequence[int]]
) -> list[float]:
    """Estimates of words that need not be one token.

    Args:
        estimates: of every token in every place, [P, V].
        now: the part of a word's own embedding, [P]; with the opposite sign the estimate of its deletion.
        places: of N proposals.
        tokens: of the proposals.
    """
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    owners = np.repeat(np.arange(len(tokens)), lengths)
    ids = np.fromiter(chain.from_iterable(tokens), np.int64, int(lengths.sum()))
    sums = np.bincount(owners, weights=estimates[places[owners], ids], minlength=len(tokens))
    found: list[float] = np.where(lengths > 0, sums / np.maximum(lengths, 1), -now[places]).tolist()
    return found


def _largest(values: Floats, most: int) -> list[tuple[int, int]]:
    """Rows and columns of the largest values, in no order."""
    flat = values.ravel()
    chosen = np.argpartition(-flat, most)[:most] if most < flat.size else np.arange(flat.size)
    return [(int(i) // values.shape[1], int(i) % values.shape[1]) for i in chosen]
