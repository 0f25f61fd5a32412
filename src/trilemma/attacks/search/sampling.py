"""Searches over combinations of substitutes that learn nothing from answers: at random, and all in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.beam import ask_in_turn, won
from trilemma.attacks.search.state import SearchState
from trilemma.attacks.words import SplitText

Substitutes = Mapping[int, tuple[str, ...]]
"""Substitutes for words of the clean text, by position; only for positions that have some."""

DRAWS = 16
"""Combinations per question: few, since the first that meets the goal ends the search."""

FRUITLESS = 512
"""Draws in a row that bring nothing new, after which all combinations count as seen."""


@dataclass(frozen=True)
class RandomSearch:
    """Draw combinations until the goal is met or the budget is spent: the baseline for other searches.

    The number of words that change is drawn first, ``most`` at most, then the words, then their substitutes.
    """

    most: int = 4

    def __call__(self, state: SearchState) -> Steps[None]:
        """Draw and ask; end also when the draws bring nothing new."""
        substitutes = yield from substitutes_of(state)
        if substitutes:
            drawn = self._drawn(state, substitutes)
            found = yield from ask_in_turn(state, drawn, together=DRAWS, patience=FRUITLESS, until_won=True)
            won(state, found)

    def _drawn(self, state: SearchState, substitutes: Substitutes) -> Iterator[SplitText]:
        rng, positions = state.item.random, list(substitutes)
        while True:
            some = rng.sample(positions, rng.randint(1, min(self.most, len(positions))))
            yield combined(state.item.original, {i: rng.choice(substitutes[i]) for i in some})


@dataclass(frozen=True)
class Exhaustive:
    """Try every combination of ``most`` changes at most, fewer ones first; for few words and substitutes.

    A goal that stops ends it after the smallest number of changes that meets it, so that within the budget no
    success has fewer changes, and none with as many is nearer to the goal. Combinations of one number of
    changes are given up where the constraints refuse ``PATIENCE`` of them in a row.
    """

    most: int = 2

    def __call__(self, state: SearchState) -> Steps[None]:
        """Try one change, then two, and so on."""
        substitutes = yield from substitutes_of(state)
        for changes in range(1, min(self.most, len(substitutes)) + 1):
            yield from ask_in_turn(state, self._all(state.item.original, substitutes, changes))
            if state.best.success and state.goal.stops:
                return

    def _all(self, original: SplitText, substitutes: Substitutes, changes: int) -> Iterator[SplitText]:
        for positions in combinations(substitutes, changes):
            for words in product(*(substitutes[i] for i in positions)):
                yield combined(original, dict(zip(positions, words, strict=True)))


def substitutes_of(state: SearchState) -> Steps[dict[int, tuple[str, ...]]]:
    """The transformation's proposals for the words of the clean text that may change.

    Constraints on whole texts are not checked here, but for every combination before the victim is asked.
    """
    original = state.item.original
    positions = state.positions(original)
    proposed = yield from state.proposals(original, positions)
    distinct = {
        i: tuple(dict.fromkeys(word for word in some if word != original.words[i]))
        for i, some in zip(positions, proposed, strict=True)
    }
    return {i: some for i, some in distinct.items() if some}


def combined(words: SplitText, changes: Mapping[int, str]) -> SplitText:
    """The text with other words at some positions."""
    return replace(words, words=tuple(changes.get(i, word) for i, word in enumerate(words.words)))
