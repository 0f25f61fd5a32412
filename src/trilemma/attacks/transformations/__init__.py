"""What an attack may change: single words, or a whole text."""

from collections.abc import Callable, Sequence
from typing import Protocol

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import SplitText
from trilemma.tasks.task import Text


class Transformation(Protocol):
    """Proposes other words for words."""

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Replacements for the word at each position: ``""`` deletes it, several words insert words."""


Rewriting = Callable[[Item], Steps[Sequence[str] | Sequence[Text]]]
"""Proposes other forms of a whole text, the most promising first: of the attacked field, or of all texts."""
