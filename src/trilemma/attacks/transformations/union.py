"""Candidates from several transformations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.words import Words

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


@dataclass(frozen=True)
class Union:
    """All that its parts propose, each word once.

    Args:
        parts: transformations by what a report calls them.
    """

    parts: Mapping[str, Transformation]

    def propose(self, attempt: "Attempt", words: Words, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Candidates of every part, part by part."""
        proposed: list[dict[str, None]] = [{} for _ in positions]
        for part in self.parts.values():
            found = yield from part.propose(attempt, words, positions)
            for some, new in zip(proposed, found, strict=True):
                some.update(dict.fromkeys(new))
        return [list(some) for some in proposed]
