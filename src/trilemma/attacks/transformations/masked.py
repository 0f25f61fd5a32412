"""What a masked language model would write in the place of a word, or beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.transformations.substitutes import in_case_of
from trilemma.attacks.words import SplitText

CONTEXT_WORDS = 50
"""Words on either side that the model reads: a long text is cut around the place, which is never cut off."""

Side = Literal["replace", "left", "right"]
"""Where a word of the model is put: in the place of a word, or beside it."""


@dataclass(frozen=True)
class MaskedSubstitutes:
    """A masked language model's candidates.

    Args:
        model: answers ``(text, start, end)``, a text and the characters asked about, with words, the most
            probable first.
        mask: stands for an unknown word in the model's texts (BAE: Garg & Ramakrishnan 2020, section 2);
            None to let the model read the word itself, so that its answer keeps the meaning (BERT-Attack:
            Li et al. 2020, section 3.2).
        sides: where its words are put; beside the word only with a mask.
        without: words that are never used, in lower case.
    """

    model: Service
    mask: str | None
    sides: tuple[Side, ...] = ("replace",)
    without: frozenset[str] = frozenset()

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Words in the place of the word at each position, or beside it."""
        asked = [self._asked(words, i, side) for i in positions for side in self.sides]
        answers = iter((yield from ask(self.model, asked)))
        proposed = []
        for i in positions:
            word = words.words[i]
            some: dict[str, None] = {}
            for side in self.sides:
                for new in next(answers):
                    if new.lower() not in self.without and new.lower() != word.lower():
                        some[_put(side, word, new)] = None
            proposed.append(list(some))
        return proposed

    def _asked(self, words: SplitText, position: int, side: Side) -> tuple[str, int, int]:
        """The text around a word, and the characters that the model is asked about."""
        first, last = max(0, position - CONTEXT_WORDS), min(len(words), position + 1 + CONTEXT_WORDS)
        before = _joined(words, first, position) + words.gaps[position]
        after = _joined(words, position + 1, last) + words.gaps[last]
        word = words.words[position]
        if self.mask is None:
            return before + word + after, len(before), len(before) + len(word)
        if side == "left":
            after = f" {word}{after}"
        elif side == "right":
            before = f"{before}{word} "
        return before + self.mask + after, len(before), len(before) + len(self.mask)


def _joined(words: SplitText, first: int, last: int) -> str:
    """Words from ``first`` to before ``last``, each with the gap before it."""
    return "".join(words.gaps[i] + words.words[i] for i in range(first, last))


def _put(side: Side, word: str, new: str) -> str:
    if side == "replace":
        return in_case_of(word, new)
    return f"{new} {word}" if side == "left" else f"{word} {new}"
