"""What every candidate must keep, so that a person still gives the item its label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import Words

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


class Constraint:
    """Allows everything; a constraint overrides what it restricts.

    Attributes:
        name: what a report calls it.
    """

    name = ""

    def allows(self, words: Words, position: int) -> bool:
        """Whether the word at a position of the text as it is now may be changed."""
        return True

    def holds(self, attempt: "Attempt", candidates: Sequence[Words]) -> Steps[list[bool]]:
        """Which candidates keep the constraint; by default judged one by one."""
        yield from ()
        return [self.keeps(attempt.original, words) for words in candidates]

    def keeps(self, original: Words, words: Words) -> bool:
        """Whether one candidate keeps it against the original."""
        return True
