"""Words taken out and words put in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import Words

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


@dataclass(frozen=True)
class Deletion:
    """Every word may go, but not the last one that is left: a text without words asks nothing."""

    def propose(self, attempt: "Attempt", words: Words, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """The empty word, while two words are there."""
        yield from ()
        left = sum(map(bool, words.words))
        return [[""] if left > 1 else [] for _ in positions]


@dataclass(frozen=True)
class Insertion:
    """A word of a list before a word of the text.

    Args:
        words: what may be put in, the most promising first.
    """

    words: tuple[str, ...]

    def propose(self, attempt: "Attempt", words: Words, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Each listed word, a space and the word itself."""
        yield from ()
        return [[f"{inserted} {words.words[i]}" for inserted in self.words] for i in positions]
