"""White-box victims: what they show besides probabilities, and how searches read it.

A flip of one token for another changes the loss, by first order, by the difference of their embeddings times
the gradient (Ebrahimi et al. 2018, ACL P18-2006, section 3). Words are one token or several: here a word's
embedding is the mean of its tokens' embeddings, its gradient is the sum over its tokens, and so the estimate
is that of all its tokens moving together. For words of one token it is the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError
from trilemma.inference import TextClassifier
from trilemma.tasks.task import Text

if TYPE_CHECKING:
    from trilemma.inference.gradients import TokenGradients

Floats = NDArray[np.float32]


@runtime_checkable
class WhiteBoxVictim(TextClassifier, Protocol):
    """A victim that shows its gradients and embeddings, as a classifier of :mod:`trilemma.inference` does."""

    def gradients(self, texts: Sequence[Text], labels: Sequence[int]) -> "Sequence[TokenGradients]":
        """Gradients of the cross-entropy of one label per text, by the embedding of each of its tokens."""

    def embeddings(self) -> Floats:
        """The embedding of every token, [V, D]."""

    def vocabulary(self) -> Sequence[str]:
        """The text of every token, in the order of ids; ``""`` for special ones."""

    def tokens(self, words: Sequence[str]) -> Sequence[tuple[int, ...]]:
        """The ids that each word becomes inside a text."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens that are a word by themselves: W words, and their ids [W]."""

    words: tuple[str, ...]
    ids: NDArray[np.int64]


class WhiteBox:
    """A white-box victim as searches use it; :meth:`gradients` and :meth:`tokens` are services."""

    def __init__(self, victim: WhiteBoxVictim) -> None:
        self._victim = victim

    @classmethod
    def of(cls, victim: TextClassifier) -> "WhiteBox | None":
        """The white box of a victim; None for one that answers with probabilities alone."""
        return cls(victim) if isinstance(victim, WhiteBoxVictim) else None

    def gradients(self, inputs: Sequence[tuple[Text, int]]) -> "Sequence[TokenGradients]":
        """Gradients of the loss of each text with its label.

        Raises:
            AttackError: if one is not a number.
        """
        found = self._victim.gradients([text for text, _ in inputs], [label for _, label in inputs])
        for (text, _), one in zip(inputs, found, strict=True):
            if not np.isfinite(one.gradients).all():
                raise AttackError(
                    f"the victim's gradient at {text!r} is not a number; "
                    "finished items are kept: fix the victim and run again"
                )
        return found

    def tokens(self, words: Sequence[str]) -> Sequence[tuple[int, ...]]:
        """The ids that each word becomes inside a text."""
        return self._victim.tokens(words)

    @cached_property
    def embeddings(self) -> Floats:
        """The embedding of every token, [V, D]."""
        return np.ascontiguousarray(self._victim.embeddings(), np.float32)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Tokens that are a word by themselves, each word once."""
        texts = [text.strip() for text in self._victim.vocabulary()]
        words = {text: None for text in texts if SplitText.of(text).words == (text,)}
        ids = {
            word: tokens[0]
            for word, tokens in zip(words, self._victim.tokens(list(words)), strict=True)
            if len(tokens) == 1 and texts[tokens[0]] == word
        }
        return Vocabulary(tuple(ids), np.array(list(ids.values()), np.int64))

    def word_gradients(
        self, words: SplitText, field: int, gradients: "TokenGradients", positions: Sequence[int]
    ) -> "WordGradients":
        """Gradients at some words of a text, which is that field of the item, from those at its tokens."""
        where, begin, end = gradients.spans.T
        spans = word_spans(words)
        sums = np.zeros((len(positions), self.embeddings.shape[1]), np.float32)
        now, norms = np.zeros(len(positions), np.float32), np.zeros(len(positions), np.float32)
        seen = np.zeros(len(positions), bool)
        for place, position in enumerate(positions):
            own = (where == field) & (begin < spans[position][1]) & (end > spans[position][0])
            if own.any():
                of_tokens = gradients.gradients[own]
                sums[place], norms[place] = of_tokens.sum(axis=0), np.linalg.norm(of_tokens)
                now[place] = sums[place] @ self.embeddings[gradients.ids[own]].mean(axis=0)
                seen[place] = True
        return WordGradients(sums, now, norms, seen)

    def estimates(self, sums: Floats, now: Floats) -> Floats:
        """By how much the loss grows, by first order, if a word becomes one token, [P, V].

        ``sums`` are of the gradients at each word [P, D], ``now`` these times the word's own embedding [P].
        If it becomes several tokens, the estimate is the mean of theirs.
        """
        grown: Floats = sums @ self.embeddings.T - now[:, None]
        return grown


def required(white_box: WhiteBox | None) -> WhiteBox:
    """The white box, which must be there.

    Raises:
        AttackError: if it is None.
    """
    if white_box is None:
        raise AttackError(
            "this attack needs gradients, and the victim gives probabilities alone; attack a model in a "
            "folder (a white-box victim), or choose an attack that does not need them"
        )
    return white_box


@dataclass(frozen=True)
class WordGradients:
    """Gradients at P words of one text; zero for words that the victim, which cuts long texts, does not read.

    Attributes:
        sums: over each word's tokens, [P, D].
        now: the sum times the word's embedding, [P].
        norms: Euclidean, of the gradients of all tokens of each word, [P].
        seen: whether the victim reads the word, [P].
    """

    sums: Floats
    now: Floats
    norms: Floats
    seen: NDArray[np.bool_]

    def only(self, mask: NDArray[np.bool_]) -> "WordGradients":
        """The gradients of some of the words."""
        return WordGradients(self.sums[mask], self.now[mask], self.norms[mask], self.seen[mask])


def word_spans(words: SplitText) -> list[tuple[int, int]]:
    """Where each word begins and ends in ``words.text``; a deleted word ends where it begins."""
    text, spans = words.gaps[0], []
    for word, gap in zip(words.words, words.gaps[1:], strict=True):
        spans.append((len(text), len(text) + len(word)))
        # As in SplitText.text: with a deleted word its space is deleted.
        text += gap.lstrip() if not word and (not text or text[-1].isspace()) else word + gap
    return spans
