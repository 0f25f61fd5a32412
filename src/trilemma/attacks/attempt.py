"""One item under attack: what a search may ask, what it has found, and what it may still spend."""

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.goals import Goal, Targeted
from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.white_box import required
from trilemma.attacks.words import Words
from trilemma.errors import AttackError
from trilemma.tasks.task import Text

if TYPE_CHECKING:
    from trilemma.attacks.constraints import Constraint
    from trilemma.attacks.transformations import Transformation
    from trilemma.attacks.white_box import WhiteBox
    from trilemma.inference.classifier import TokenGradients


class SpentError(Exception):
    """The item's budget of queries is used up; ends its search."""


@dataclass(frozen=True)
class Scored:
    """A text that the victim has answered.

    Attributes:
        words: the attacked field.
        probabilities: the victim's, [classes].
        score: the goal's, higher is nearer.
        success: whether the goal is met by a text that is not the original.
        text: the whole item, as it was answered.
        similarity: of the sentence to the original one, where a constraint measures it; else 0.
    """

    words: Words
    probabilities: NDArray[np.float32]
    score: float
    success: bool
    text: Text
    similarity: float = 0.0

    @property
    def rank(self) -> tuple[bool, float]:
        """Successes before failures, then nearer ones."""
        return self.success, self.score


class Attempt:
    """An item under attack by one recipe.

    Args:
        text: the clean input.
        label: its class.
        field: which of its texts is attacked.
        victim: answers texts with class probabilities.
        transformation: what may be changed; None for a search that brings its own texts.
        constraints: what every candidate must keep.
        goal: when it is won.
        budget: queries allowed, of distinct texts.
        seed: of everything random.
        white_box: the victim's gradients and embeddings; None where it shows probabilities alone.

    Attributes:
        first: the original, answered; set by :meth:`begin`.
        best: the strongest text so far, the original to begin with.
        random: the item's own source of randomness: the same whatever other items there are.
    """

    first: Scored
    best: Scored

    def __init__(
        self,
        text: Text,
        label: int,
        *,
        field: int,
        victim: Service,
        transformation: "Transformation | None",
        constraints: Sequence["Constraint"],
        goal: Goal,
        budget: int,
        seed: int,
        white_box: "WhiteBox | None" = None,
    ) -> None:
        if budget < 1:
            raise AttackError(
                f"a budget of {budget} queries does not even show the victim its item; allow more"
            )
        self.text, self.label, self.field = text, label, field % len(text)
        self.transformation, self.constraints, self.goal = transformation, tuple(constraints), goal
        self.original = Words.of(text[self.field])
        self.random = random.Random(f"{seed} {text}")
        self.similarities: dict[str, float] = {}
        self._victim, self._white_box = victim, white_box
        self._budget = budget
        self._answered: dict[Text, NDArray[np.float32]] = {}
        self._differentiated: set[Text] = set()

    @property
    def queries(self) -> int:
        """Distinct texts whose answers, and distinct texts whose gradients, were asked for so far."""
        return len(self._answered) + len(self._differentiated)

    @property
    def left(self) -> int:
        """Queries that the budget still allows."""
        return max(0, self._budget - self.queries)

    @property
    def white_box(self) -> "WhiteBox":
        """The victim's gradients and embeddings.

        Raises:
            AttackError: if it shows none.
        """
        return required(self._white_box)

    def full(self, words: Words) -> Text:
        """The item with its attacked field replaced."""
        return (*self.text[: self.field], words.text, *self.text[self.field + 1 :])

    def begin(self) -> Steps[None]:
        """Ask for the original."""
        [probabilities] = yield from self.answers([self.text])
        if self.label >= len(probabilities):
            raise AttackError(
                f"the victim knows {len(probabilities)} classes, but an item has class {self.label}; "
                "is it adapted to this task?"
            )
        score, _ = self.goal.judge(probabilities, self.label, len(self.original))
        self.first = self.best = Scored(self.original, probabilities, score, False, self.text)

    def answers(self, texts: Sequence[Text]) -> Steps[list[NDArray[np.float32]]]:
        """The victim's probabilities for texts, in order; for as many as the budget allows.

        Raises:
            SpentError: if it allows none.
        """
        new = list(dict.fromkeys(text for text in texts if text not in self._answered))
        if new and not self.left and all(text not in self._answered for text in texts):
            raise SpentError
        new = new[: self.left]
        outputs = yield from ask(self._victim, new)
        self._answered.update(zip(new, outputs, strict=True))
        return [self._answered[text] for text in texts if text in self._answered]

    def scores(self, candidates: Sequence[Words]) -> Steps[list[Scored]]:
        """Candidates that keep the constraints, scored, in order; for as many as the budget allows.

        Raises:
            SpentError: if it allows none.
        """
        return (yield from self._scored([(words, self.full(words)) for words in candidates]))

    def scores_of_texts(self, texts: Sequence[Text]) -> Steps[list[Scored]]:
        """As :meth:`scores`, of whole items, in which either text of a pair may differ.

        Raises:
            SpentError: if the budget allows none.
        """
        return (yield from self._scored([(Words.of(text[self.field]), text) for text in texts]))

    def _scored(self, candidates: Sequence[tuple[Words, Text]]) -> Steps[list[Scored]]:
        candidates = [(words, text) for words, text in candidates if text != self.text]
        if not candidates:
            return []
        yield from self.answers([text for _, text in candidates])
        scored = []
        for words, text in candidates:
            if text not in self._answered:
                continue
            probabilities = self._answered[text]
            score, success = self.goal.judge(probabilities, self.label, sum(map(bool, words.words)))
            similarity = self.similarities.get(words.text, 0.0)
            scored.append(Scored(words, probabilities, score, success, text, similarity))
        # A search asks with candidates that the constraints let through: the best may be returned as it is.
        if scored:
            self.best = max(self.best, *scored, key=lambda one: one.rank)
        return scored

    def probe(self, probes: Sequence[Words]) -> Steps[list[float]]:
        """The goal's scores of texts that only rank words and are no candidates, as deletions do.

        Raises:
            SpentError: if the budget does not allow all of them.
        """
        texts = [self.full(words) for words in probes]
        answers = yield from self.answers(texts)
        if len(answers) < len(texts):
            raise SpentError
        return [self.goal.judge(answer, self.label, len(self.original))[0] for answer in answers]

    def gradients(self, candidates: Sequence[Words]) -> Steps[list["TokenGradients"]]:
        """Gradients of what the goal wants to grow, by the tokens' embeddings, in order; each is a query.

        That is the loss of the item's class, or less of the target's.

        Raises:
            AttackError: if the victim shows none.
            SpentError: if the budget does not allow all of them.
        """
        service = self.white_box.gradients
        texts = [self.full(words) for words in candidates]
        new = set(texts) - self._differentiated
        if len(new) > self.left:
            raise SpentError
        self._differentiated |= new
        if isinstance(self.goal, Targeted):
            found = yield from ask(service, [(text, self.goal.target) for text in texts], remembered=False)
            return [replace(one, gradients=-one.gradients) for one in found]
        return list((yield from ask(service, [(text, self.label) for text in texts], remembered=False)))

    def positions(self, words: Words) -> list[int]:
        """Words that every constraint allows to be changed now."""
        allowed = [i for i, word in enumerate(words.words) if word]
        for constraint in self.constraints:
            allowed = [i for i in allowed if constraint.allows(words, i)]
        return allowed

    def candidates(self, words: Words, positions: Sequence[int]) -> Steps[list[list[Words]]]:
        """What the transformation makes of the words at each position and the constraints let through."""
        assert self.transformation is not None
        proposed = yield from self.transformation.propose(self, words, positions)
        flat = [
            words.with_word(i, word) for i, some in zip(positions, proposed, strict=True) for word in some
        ]
        kept = set((yield from self.keeping(flat)))
        places = iter(flat)
        return [[one for one in (next(places) for _ in some) if one in kept] for some in proposed]

    def keeping(self, candidates: Sequence[Words]) -> Steps[list[Words]]:
        """Those candidates that keep every constraint, in order, each text once."""
        kept = list({words.text: words for words in candidates}.values())
        kept = [words for words in kept if words.text != self.original.text]
        for constraint in self.constraints:
            if kept:
                holds = yield from constraint.holds(self, kept)
                kept = [words for words, held in zip(kept, holds, strict=True) if held]
        return kept

    def keeping_texts(self, texts: Sequence[Text]) -> Steps[list[Text]]:
        """Whole items of which every changed text keeps every constraint, in order, each once."""
        kept = [text for text in dict.fromkeys(texts) if text != self.text]
        for field, original in enumerate(self.text):
            attempt = self if field == self.field else self._of(field)
            changed = [Words.of(text[field]) for text in kept if text[field] != original]
            held = {words.text for words in (yield from attempt.keeping(changed))}
            kept = [text for text in kept if text[field] == original or text[field] in held]
        return kept

    def _of(self, field: int) -> "Attempt":
        """The same attempt as its constraints see it where another text of the pair changes."""
        other = copy.copy(self)
        other.field, other.original = field, Words.of(self.text[field])
        return other
