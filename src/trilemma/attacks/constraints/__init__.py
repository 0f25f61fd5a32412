"""What every candidate must keep, so that a person still gives the item its label."""

from collections.abc import Sequence

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import SplitText


class Constraint:
    """Allows everything; a constraint overrides the method that restricts something."""

    def allows(self, words: SplitText, position: int) -> bool:
        """Whether the word at a position of a text may be changed."""
        return True

    def holds(self, item: Item, candidates: Sequence[SplitText]) -> Steps[list[bool]]:
        """Which candidates keep the constraint; by default each is judged by :meth:`keeps`."""
        yield from ()
        return [self.keeps(item.original, words) for words in candidates]

    def keeps(self, original: SplitText, words: SplitText) -> bool:
        """Whether one candidate keeps the constraint, compared with the original."""
        return True
