"""Searches over combinations of substitutes that learn nothing on the way: at random, and all in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.beam import ask_in_turn, won

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt
    from trilemma.attacks.words import Words

Substitutes = Mapping[int, tuple[str, ...]]
"""Other words for the words of the clean text, by position; only positions that have some."""

DRAWS = 16
"""Combinations drawn for one question: few, since the first that meets the goal ends the search."""

FRUITLESS = 512
"""Draws in a row that bring nothing new, until a space of combinations counts as seen."""


@dataclass(frozen=True)
class Random:
    """Draw combinations until the goal is met or the budget is spent: what any other search has to beat.

    Args:
        most: at most so many words change at once; how many is drawn first, then which, then into what.
    """

    most: int = 4

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Draw and ask; ends also when the draws bring nothing new."""
        substitutes = yield from substitutes_of(attempt)
        if substitutes:
            drawn = self._drawn(attempt, substitutes)
            found = yield from ask_in_turn(attempt, drawn, together=DRAWS, patience=FRUITLESS, until_won=True)
            won(attempt, found)

    def _drawn(self, attempt: "Attempt", substitutes: Substitutes) -> "Iterator[Words]":
        rng, positions = attempt.random, list(substitutes)
        while True:
            some = rng.sample(positions, rng.randint(1, min(self.most, len(positions))))
            yield combined(attempt.original, {i: rng.choice(substitutes[i]) for i in some})


@dataclass(frozen=True)
class Exhaustive:
    """Try every combination, those of fewer changes first; for texts of few words and few substitutes.

    A goal that stops ends it after the number of changes that met it first, so that within the budget no
    success has fewer changes, and none of as many is nearer to the goal. Combinations of as many changes are
    given up where the constraints refuse ``PATIENCE`` of them in a row.

    Args:
        most: at most so many words change at once.
    """

    most: int = 2

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """One number of changes after the other."""
        substitutes = yield from substitutes_of(attempt)
        for changes in range(1, min(self.most, len(substitutes)) + 1):
            yield from ask_in_turn(attempt, self._all(attempt.original, substitutes, changes))
            if attempt.best.success and attempt.goal.stops:
                return

    def _all(self, original: "Words", substitutes: Substitutes, changes: int) -> "Iterator[Words]":
        for positions in combinations(substitutes, changes):
            for words in product(*(substitutes[i] for i in positions)):
                yield combined(original, dict(zip(positions, words, strict=True)))


def substitutes_of(attempt: "Attempt") -> Steps[dict[int, tuple[str, ...]]]:
    """What the transformation proposes for the words of the clean text that may change.

    Constraints on whole texts are not asked here but of every combination, before the victim is.
    """
    assert attempt.transformation is not None
    original = attempt.original
    positions = attempt.positions(original)
    proposed = yield from attempt.transformation.propose(attempt, original, positions)
    distinct = {
        i: tuple(dict.fromkeys(word for word in some if word != original.words[i]))
        for i, some in zip(positions, proposed, strict=True)
    }
    return {i: some for i, some in distinct.items() if some}


def combined(words: "Words", changes: Mapping[int, str]) -> "Words":
    """The text with other words at several positions."""
    return replace(words, words=tuple(changes.get(i, word) for i, word in enumerate(words.words)))
