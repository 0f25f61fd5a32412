"""White-box victims: what they show beside probabilities, and how searches read it.

A flip of one token for another changes the loss, by first order, by the difference of their embeddings times
the gradient (Ebrahimi et al. 2018, ACL P18-2006, section 3). Words are one token or several: here a word's
embedding is the mean of its tokens', its gradient is the sum over its tokens, and so the estimate is that of
all its tokens moving together. For words of one token it is the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.words import Words
from trilemma.errors import AttackError
from trilemma.tasks.task import Text

if TYPE_CHECKING:
    from trilemma.attacks.attack import Victim
    from trilemma.inference.classifier import TokenGradients

Floats = NDArray[np.float32]


@runtime_checkable
class WhiteBoxVictim(Protocol):
    """A victim that shows its gradients and embeddings, as a classifier of :mod:`trilemma.inference` does."""

    def __call__(self, texts: Sequence[Text]) -> Floats:
        """As :class:`trilemma.attacks.Victim` has it."""

    def gradients(self, texts: Sequence[Text], labels: Sequence[int]) -> "Sequence[TokenGradients]":
        """Gradients of the cross-entropy of one label a text, by the embedding of each of its tokens."""

    def embeddings(self) -> Floats:
        """The embedding of every token, [V, D]."""

    def vocabulary(self) -> Sequence[str]:
        """What every token reads as, in the order of ids; ``""`` for special ones."""

    def tokens(self, words: Sequence[str]) -> Sequence[tuple[int, ...]]:
        """The ids that each word becomes inside a text."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens that are a word by themselves.

    Attributes:
        words: as they read, W of them.
        ids: theirs, [W].
    """

    words: tuple[str, ...]
    ids: NDArray[np.int64]


class WhiteBox:
    """A white-box victim as searches ask it; :meth:`gradients` and :meth:`tokens` are services."""

    def __init__(self, victim: WhiteBoxVictim) -> None:
        self._victim = victim

    @classmethod
    def of(cls, victim: "Victim") -> "WhiteBox | None":
        """None for a victim that answers with probabilities alone."""
        return cls(victim) if isinstance(victim, WhiteBoxVictim) else None

    def gradients(self, inputs: Sequence[tuple[Text, int]]) -> "Sequence[TokenGradients]":
        """Gradients of each text's loss of a label.

        Raises:
            AttackError: if one is not a number.
        """
        found = self._victim.gradients([text for text, _ in inputs], [label for _, label in inputs])
        for (text, _), one in zip(inputs, found, strict=True):
            if not np.isfinite(one.gradients).all():
                raise AttackError(
                    f"the victim's gradient at {text!r} is no number; "
                    "what was finished is kept: mend the victim and run again"
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
        words = {text: None for text in texts if Words.of(text).words == (text,)}
        ids = {
            word: tokens[0]
            for word, tokens in zip(words, self._victim.tokens(list(words)), strict=True)
            if len(tokens) == 1 and texts[tokens[0]] == word
        }
        return Vocabulary(tuple(ids), np.array(list(ids.values()), np.int64))

    def word_gradients(
        self, words: Words, field: int, gradients: "TokenGradients", positions: Sequence[int]
    ) -> "WordGradients":
        """A text's gradients, word by word.

        Args:
            words: the text.
            field: which text of the item it is.
            gradients: the item's, by token.
            positions: of the words that are asked for.
        """
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
        """By how much the loss grows, by first order, if a word becomes one token.

        If it becomes several tokens, it is the mean of theirs.

        Args:
            sums: of the gradients at a word, [P, D].
            now: these times the word's own embedding, [P].

        Returns:
            [P, V].
        """
        grown: Floats = sums @ self.embeddings.T - now[:, None]
        return grown


def required(white_box: WhiteBox | None) -> WhiteBox:
    """The white box.

    Raises:
        AttackError: if there is none.
    """
    if white_box is None:
        raise AttackError(
            "this attack follows gradients, and the victim gives probabilities alone; give a white-box "
            "victim, as trilemma.inference.classifier.Classifier is, or choose an attack that needs none"
        )
    return white_box


@dataclass(frozen=True)
class WordGradients:
    """Gradients at P words of one text; all zero where the victim, which cuts long texts, does not read.

    Attributes:
        sums: over each word's tokens, [P, D].
        now: the sum times the word's embedding, [P].
        norms: Euclidean, of all that each word's tokens have, [P].
        seen: whether the victim reads the word, [P].
    """

    sums: Floats
    now: Floats
    norms: Floats
    seen: NDArray[np.bool_]

    def only(self, mask: NDArray[np.bool_]) -> "WordGradients":
        """Those of some words."""
        return WordGradients(self.sums[mask], self.now[mask], self.norms[mask], self.seen[mask])


def word_spans(words: Words) -> list[tuple[int, int]]:
    """Where each word begins and ends in ``words.text``; a deleted one begins where it ends."""
    text, spans = words.gaps[0], []
    for word, gap in zip(words.words, words.gaps[1:], strict=True):
        spans.append((len(text), len(text) + len(word)))
        # As in Words.text: a deleted word takes its space along.
        text += gap.lstrip() if not word and (not text or text[-1].isspace()) else word + gap
    return spans
