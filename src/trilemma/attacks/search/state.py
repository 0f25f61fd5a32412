"""The state of a search on one item: what it may ask about, and the best that it has found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.constraints import Constraint
from trilemma.attacks.goals import Goal, Targeted, Untargeted
from trilemma.attacks.item import Budget, Item, SpentError
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError
from trilemma.tasks.task import Text

if TYPE_CHECKING:
    from trilemma.inference.gradients import TokenGradients


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

    words: SplitText
    probabilities: NDArray[np.float32]
    score: float
    success: bool
    text: Text
    similarity: float = 0.0

    @property
    def rank(self) -> tuple[bool, float]:
        """Successes before failures, then nearer ones."""
        return self.success, self.score


class SearchState:
    """An item, and what a search may ask about it.

    Args:
        item: the clean item.
        budget: its queries.
        transformation: what may be changed; None for a search that brings its own texts.
        constraints: what every candidate must keep.
        goal: when the attack has succeeded.

    Attributes:
        first: the original, answered; set by :meth:`begin`.
        best: the strongest text so far, at first the original.
    """

    first: Scored
    best: Scored

    def __init__(
        self,
        item: Item,
        budget: Budget,
        transformation: Transformation | None = None,
        constraints: Sequence[Constraint] = (),
        goal: Goal = Untargeted(),  # noqa: B008  it is immutable
    ) -> None:
        self.item, self.budget, self.transformation = item, budget, transformation
        self.constraints, self.goal = tuple(constraints), goal

    def begin(self) -> Steps[bool]:
        """Ask about the original; whether the victim answers it correctly: only then it can be attacked.

        Raises:
            AttackError: if the victim does not have the item's class.
        """
        item = self.item
        answers = yield from self.budget.answers([item.text])
        probabilities = answers[item.text]
        if item.label >= len(probabilities):
            raise AttackError(
                f"the victim knows {len(probabilities)} classes, but an item has class {item.label}; "
                "attack it on the task that it was adapted to"
            )
        score, _ = self.goal.judge(probabilities, item.label, len(item.original))
        self.first = self.best = Scored(item.original, probabilities, score, False, item.text)
        return int(probabilities.argmax()) == item.label

    def scores(self, candidates: Sequence[SplitText]) -> Steps[list[Scored]]:
        """Candidates that keep the constraints, scored, in order; only as many as the budget allows.

        Raises:
            SpentError: if it allows none.
        """
        return (yield from self._scored([(words, self.item.full(words)) for words in candidates]))

    def scores_of_texts(self, texts: Sequence[Text]) -> Steps[list[Scored]]:
        """The same for whole items, in which either text of a pair may differ.

        Raises:
            SpentError: if the budget allows none.
        """
        return (yield from self._scored([(SplitText.of(text[self.item.field]), text) for text in texts]))

    def _scored(self, candidates: Sequence[tuple[SplitText, Text]]) -> Steps[list[Scored]]:
        candidates = [(words, text) for words, text in candidates if text != self.item.text]
        if not candidates:
            return []
        answers = yield from self.budget.answers([text for _, text in candidates])
        scored = []
        for words, text in candidates:
            if text not in answers:
                continue
            probabilities = answers[text]
            score, success = self.goal.judge(probabilities, self.item.label, sum(map(bool, words.words)))
            similarity = self.item.similarities.get(words.text, 0.0)
            scored.append(Scored(words, probabilities, score, success, text, similarity))
        # A search asks about candidates that keep the constraints: the best may be returned as it is.
        if scored:
            self.best = max(self.best, *scored, key=lambda one: one.rank)
        return scored

    def probe(self, probes: Sequence[SplitText]) -> Steps[list[float]]:
        """The goal's scores of texts that only rank words and are not candidates, as deletions do.

        Raises:
            SpentError: if the budget does not allow all of them.
        """
        texts = [self.item.full(words) for words in probes]
        answers = yield from self.budget.answers(texts)
        if any(text not in answers for text in texts):
            raise SpentError
        size = len(self.item.original)
        return [self.goal.judge(answers[text], self.item.label, size)[0] for text in texts]

    def gradients(self, candidates: Sequence[SplitText]) -> Steps[list["TokenGradients"]]:
        """Gradients of what the goal wants to grow, by the tokens' embeddings, in order; each is a query.

        That is the loss of the item's class, or less of the target's.

        Raises:
            AttackError: if the victim shows none.
            SpentError: if the budget does not allow all of them.
        """
        texts = [self.item.full(words) for words in candidates]
        if isinstance(self.goal, Targeted):
            found = yield from self.budget.gradients(texts, self.goal.target)
            return [replace(one, gradients=-one.gradients) for one in found]
        return (yield from self.budget.gradients(texts, self.item.label))

    def positions(self, words: SplitText) -> list[int]:
        """Words that every constraint allows to be changed now."""
        allowed = [i for i, word in enumerate(words.words) if word]
        for constraint in self.constraints:
            allowed = [i for i in allowed if constraint.allows(words, i)]
        return allowed

    def proposals(self, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """What the transformation proposes for the word at each position."""
        assert self.transformation is not None
        return (yield from self.transformation.propose(self.item, words, positions))

    def candidates(self, words: SplitText, positions: Sequence[int]) -> Steps[list[list[SplitText]]]:
        """The texts that these proposals make and the constraints allow, by position."""
        proposed = yield from self.proposals(words, positions)
        flat = [
            words.with_word(i, word) for i, some in zip(positions, proposed, strict=True) for word in some
        ]
        kept = set((yield from self.keeping(flat)))
        places = iter(flat)
        return [[one for one in (next(places) for _ in some) if one in kept] for some in proposed]

    def keeping_texts(self, texts: Sequence[Text]) -> Steps[list[Text]]:
        """Whole items of which every changed text keeps every constraint, in order, each once."""
        kept = [text for text in dict.fromkeys(texts) if text != self.item.text]
        for field, original in enumerate(self.item.text):
            changed = [SplitText.of(text[field]) for text in kept if text[field] != original]
            held = {words.text for words in (yield from self.keeping(changed, self.item.at(field)))}
            kept = [text for text in kept if text[field] == original or text[field] in held]
        return kept

    def keeping(self, candidates: Sequence[SplitText], item: Item | None = None) -> Steps[list[SplitText]]:
        """Those candidates that keep every constraint, in order, each text once; by default of this item."""
        item = item or self.item
        kept = list({words.text: words for words in candidates}.values())
        kept = [words for words in kept if words.text != item.original.text]
        for constraint in self.constraints:
            if kept:
                holds = yield from constraint.holds(item, kept)
                kept = [words for words, held in zip(kept, holds, strict=True) if held]
        return kept
