"""Words by importance, one after the other: the search of most word-level attacks."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.state import Scored, SearchState

Importance = Literal["delete", "unknown", "gradient", "random"]

_WORDS_TOGETHER = 20_000
"""Words with substitutes at once, times the words of the text: those of a whole long text fill the memory."""

UNKNOWN = "[UNK]"
"""Stands for an unknown word."""


@dataclass(frozen=True)
class GreedyWordImportance:
    """Change the most important word first, and keep the change that hurts most.

    Args:
        importance: how much the victim's answer changes without the word (``delete``), with an unknown word
            in its place (``unknown``), how steep the loss is at the word (``gradient``, the norm over its
            tokens; needs a white-box victim), or nothing (``random``).
    """

    importance: Importance = "delete"

    def __call__(self, state: SearchState) -> Steps[None]:
        """One pass over the words."""
        current = state.first
        order = yield from by_importance(state, self.importance)
        for position in order:
            if position not in state.positions(current.words):
                continue
            [candidates] = yield from state.candidates(current.words, [position])
            scored = yield from state.scores(candidates)
            if scored:
                best = strongest(scored)
                if best.rank > current.rank:
                    current = best
            if current.success and state.goal.stops:
                state.best = current
                return


@dataclass(frozen=True)
class WeightedSaliency:
    """PWWS's order: how much the best substitute hurts, weighted by the word's saliency (Ren et al. 2019).

    All substitutes are tried in the clean text first, eq. 5 and 6; then the best of each is put in, in the
    order of H = softmax(saliency) * gain, eq. 8, until the answer changes.
    """

    def __call__(self, state: SearchState) -> Steps[None]:
        """Rank the words, then substitute one by one."""
        positions = affordable(state, state.positions(state.item.original))
        if not positions:
            return
        hidden = [state.item.original.with_word(i, UNKNOWN) for i in positions]
        saliency = np.array((yield from state.probe(hidden))) - state.first.score
        weight = np.exp(saliency - saliency.max())
        weight /= weight.sum()
        steps: list[tuple[float, int, str]] = []
        together = max(1, _WORDS_TOGETHER // len(state.item.original))
        for start in range(0, len(positions), together):
            block = positions[start : start + together]
            substitutes = yield from state.candidates(state.item.original, block)
            scored = yield from state.scores([words for some in substitutes for words in some])
            by_words = {one.words: one for one in scored}
            for i, some, share in zip(block, substitutes, weight[start:], strict=False):
                answered = [by_words[words] for words in some if words in by_words]
                if answered:
                    best = strongest(answered)
                    gain = best.score - state.first.score
                    steps.append((float(share) * gain, i, best.words.words[i]))
        if state.best.success and state.goal.stops:
            return
        words = state.item.original
        for _, position, word in sorted(steps, key=lambda step: -step[0]):
            words = words.with_word(position, word)
            kept = yield from state.keeping([words])
            if not kept:
                words = words.with_word(position, state.item.original.words[position])
                continue
            [one] = (yield from state.scores(kept)) or [state.first]
            if one.success and state.goal.stops:
                return


def by_importance(state: SearchState, importance: Importance) -> Steps[list[int]]:
    """Positions that may change, the most important first; ties in the order of the text."""
    positions = state.positions(state.item.original)
    if importance == "random":
        state.item.random.shuffle(positions)
        return positions
    if importance == "gradient":
        return (yield from _by_gradient(state, positions))
    positions, original = affordable(state, positions), state.item.original
    probes = [
        original.without(i) if importance == "delete" else original.with_word(i, UNKNOWN) for i in positions
    ]
    scores = yield from state.probe(probes)
    return [position for _, position in sorted(zip(scores, positions, strict=True), key=lambda one: -one[0])]


def affordable(state: SearchState, positions: list[int]) -> list[int]:
    """As many positions as half of the budget can rank; drawn at random where there are more."""
    most = state.budget.left // 2
    return positions if len(positions) <= most else sorted(state.item.random.sample(positions, most))


def _by_gradient(state: SearchState, positions: list[int]) -> Steps[list[int]]:
    if not positions:
        return []
    item = state.item
    [gradients] = yield from state.gradients([item.original])
    norms = state.budget.white_box.word_gradients(item.original, item.field, gradients, positions).norms
    return [positions[place] for place in np.argsort(-norms, kind="stable")]


def strongest(scored: list[Scored]) -> Scored:
    """The most similar success where similarity is measured, else the nearest to the goal."""
    successes = [one for one in scored if one.success]
    if successes:
        return max(successes, key=lambda one: (one.similarity, one.score))
    return max(scored, key=lambda one: one.score)
