"""What a masked language model would write in a word's place, or beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.transformations.synonyms import in_case_of
from trilemma.attacks.words import Words

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt

CONTEXT_WORDS = 50
"""Words on either side that the model reads: a long text is cut around the place, never before it."""

Place = Literal["replace", "left", "right"]


@dataclass(frozen=True)
class MaskedSubstitutes:
    """A masked language model's candidates.

    Args:
        model: answers ``(text, start, end)``, a text and the characters asked about, with words, the most
            probable first.
        mask: what stands for an unknown word in the model's texts (BAE: Garg & Ramakrishnan 2020,
            section 2); None to let the model read the word itself, so that what it writes there keeps
            the meaning (BERT-Attack: Li et al. 2020, section 3.2).
        places: where its words are put: for the word, or inserted beside it, which needs a mask.
        without: words that are never put in, in lower case.
    """

    model: Service
    mask: str | None
    places: tuple[Place, ...] = ("replace",)
    without: frozenset[str] = frozenset()

    def propose(self, attempt: "Attempt", words: Words, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Words for, before and after the word at each position."""
        asked = [self._asked(words, i, place) for i in positions for place in self.places]
        answers = iter((yield from ask(self.model, asked)))
        proposed = []
        for i in positions:
            word = words.words[i]
            some: dict[str, None] = {}
            for place in self.places:
                for new in next(answers):
                    if new.lower() not in self.without and new.lower() != word.lower():
                        some[_put(place, word, new)] = None
            proposed.append(list(some))
        return proposed

    def _asked(self, words: Words, position: int, place: Place) -> tuple[str, int, int]:
        """The text around a word, and the characters that the model is asked about."""
        first, last = max(0, position - CONTEXT_WORDS), min(len(words), position + 1 + CONTEXT_WORDS)
        before = _joined(words, first, position) + words.gaps[position]
        after = _joined(words, position + 1, last) + words.gaps[last]
        word = words.words[position]
        if self.mask is None:
            return before + word + after, len(before), len(before) + len(word)
        if place == "left":
            after = f" {word}{after}"
        elif place == "right":
            before = f"{before}{word} "
        return before + self.mask + after, len(before), len(before) + len(self.mask)


def _joined(words: Words, first: int, last: int) -> str:
    """Words from ``first`` to before ``last``, each with the gap before it."""
    return "".join(words.gaps[i] + words.words[i] for i in range(first, last))


def _put(place: Place, word: str, new: str) -> str:
    if place == "replace":
        return in_case_of(word, new)
    return f"{new} {word}" if place == "left" else f"{word} {new}"
