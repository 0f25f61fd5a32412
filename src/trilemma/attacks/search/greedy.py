"""Words by importance, one after the other: the search of most word-level attacks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from trilemma.attacks.lockstep import Steps

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt, Scored
    from trilemma.attacks.words import Words

Importance = Literal["delete", "unknown", "gradient", "random"]

_WORDS_TOGETHER = 20_000
"""Words with substitutes at once, times the words of the text: all of a long text's would fill the memory."""

UNKNOWN = "[UNK]"
"""What stands for an unknown word."""


@dataclass(frozen=True)
class GreedyWordImportance:
    """Change the most important word first, and keep the change that hurts most.

    Args:
        importance: how much the victim's answer changes without the word (``delete``), with an unknown word
            in its place (``unknown``), how steep the loss is at the word (``gradient``, the norm over its
            tokens; needs a white-box victim), or nothing (``random``).
    """

    importance: Importance = "delete"

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """One pass over the words."""
        current = attempt.first
        order = yield from by_importance(attempt, self.importance)
        for position in order:
            if position not in attempt.positions(current.words):
                continue
            [candidates] = yield from attempt.candidates(current.words, [position])
            scored = yield from attempt.scores(candidates)
            if scored:
                best = strongest(scored)
                if best.rank > current.rank:
                    current = best
            if current.success and attempt.goal.stops:
                attempt.best = current
                return


@dataclass(frozen=True)
class WeightedSaliency:
    """PWWS's order: how much the best substitute hurts, weighted by the word's saliency (Ren et al. 2019).

    All substitutes are tried in the clean text first, eq. 5 and 6; then the best of each is put in, in the
    order of H = softmax(saliency) * gain, eq. 8, until the answer changes.
    """

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Rank, then substitute one by one."""
        positions = affordable(attempt, attempt.positions(attempt.original))
        if not positions:
            return
        hidden = [attempt.original.with_word(i, UNKNOWN) for i in positions]
        saliency = np.array((yield from attempt.probe(hidden))) - attempt.first.score
        weight = np.exp(saliency - saliency.max())
        weight /= weight.sum()
        steps: list[tuple[float, int, str]] = []
        together = max(1, _WORDS_TOGETHER // len(attempt.original))
        for start in range(0, len(positions), together):
            block = positions[start : start + together]
            substitutes = yield from attempt.candidates(attempt.original, block)
            scored = yield from attempt.scores([words for some in substitutes for words in some])
            by_words = {one.words: one for one in scored}
            for i, some, share in zip(block, substitutes, weight[start:], strict=False):
                answered = [by_words[words] for words in some if words in by_words]
                if answered:
                    best = strongest(answered)
                    gain = best.score - attempt.first.score
                    steps.append((float(share) * gain, i, best.words.words[i]))
        if attempt.best.success and attempt.goal.stops:
            return
        words = attempt.original
        for _, position, word in sorted(steps, key=lambda step: -step[0]):
            words = words.with_word(position, word)
            kept = yield from attempt.keeping([words])
            if not kept:
                words = words.with_word(position, attempt.original.words[position])
                continue
            [one] = (yield from attempt.scores(kept)) or [attempt.first]
            if one.success and attempt.goal.stops:
                return


def by_importance(attempt: "Attempt", importance: Importance) -> Steps[list[int]]:
    """Positions that may change, the most important first; equal ones in the order of the text."""
    positions = attempt.positions(attempt.original)
    if importance == "random":
        attempt.random.shuffle(positions)
        return positions
    if importance == "gradient":
        return (yield from _by_gradient(attempt, positions))
    positions = affordable(attempt, positions)
    probes: list[Words] = [
        attempt.original.without(i) if importance == "delete" else attempt.original.with_word(i, UNKNOWN)
        for i in positions
    ]
    scores = yield from attempt.probe(probes)
    return [position for _, position in sorted(zip(scores, positions, strict=True), key=lambda one: -one[0])]


def affordable(attempt: "Attempt", positions: list[int]) -> list[int]:
    """As many positions as half of the budget can rank, drawn at random where there are more."""
    most = attempt.left // 2
    return positions if len(positions) <= most else sorted(attempt.random.sample(positions, most))


def _by_gradient(attempt: "Attempt", positions: list[int]) -> Steps[list[int]]:
    if not positions:
        return []
    [gradients] = yield from attempt.gradients([attempt.original])
    norms = attempt.white_box.word_gradients(attempt.original, attempt.field, gradients, positions).norms
    return [positions[place] for place in np.argsort(-norms, kind="stable")]


def strongest(scored: "list[Scored]") -> "Scored":
    """The most similar success where similarity is measured, else the nearest to the goal."""
    successes = [one for one in scored if one.success]
    if successes:
        return max(successes, key=lambda one: (one.similarity, one.score))
    return max(scored, key=lambda one: one.score)
