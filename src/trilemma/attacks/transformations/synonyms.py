"""Synonyms from a dictionary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import Words

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


@dataclass(frozen=True)
class Synonyms:
    """What a dictionary gives for a word, in the word's own case.

    Args:
        of: synonyms of a word in lower case, the most frequent first.
        most: at most so many a word.
    """

    of: Callable[[str], Sequence[str]]
    most: int | None = None

    def propose(self, attempt: "Attempt", words: Words, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Synonyms of each word."""
        yield from ()
        return [
            [in_case_of(words.words[i], synonym) for synonym in self.of(words.words[i].lower())[: self.most]]
            for i in positions
        ]


def in_case_of(word: str, other: str) -> str:
    """``other`` written as ``word`` is: capitals, a capital first, or as it comes."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
