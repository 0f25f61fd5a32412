"""What an attack may change: words one by one, or a whole sentence."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import Words
from trilemma.tasks.task import Text

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


class Transformation(Protocol):
    """Proposes other words for words."""

    def propose(self, attempt: "Attempt", words: Words, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Replacements for the word at each position; ``""`` deletes it, several words insert some."""


class Rewriting(Protocol):
    """Proposes other texts for a whole text."""

    def rewrite(self, attempt: "Attempt") -> Steps[Sequence[str] | Sequence[Text]]:
        """Rewritten forms, the most promising first: of the attacked field, or of the whole item."""
