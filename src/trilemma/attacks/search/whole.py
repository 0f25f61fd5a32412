"""Whole rewritten texts, one after the other: the search of sentence-level and human-level attacks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt
    from trilemma.attacks.transformations import Rewriting


@dataclass(frozen=True)
class TryAll:
    """Ask for every rewritten form that keeps the constraints, until the goal is met.

    Args:
        rewriting: proposes the forms.
        batch: forms asked for at once: the first success among them ends the search, so a larger batch
            costs queries and finds no more.
    """

    rewriting: "Rewriting"
    batch: int = 4

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """One pass over the forms."""
        forms = yield from self.rewriting.rewrite(attempt)
        before, after = attempt.text[: attempt.field], attempt.text[attempt.field + 1 :]
        texts = [(*before, form, *after) if isinstance(form, str) else form for form in forms]
        kept = yield from attempt.keeping_texts(texts)
        for start in range(0, len(kept), self.batch):
            yield from attempt.scores_of_texts(kept[start : start + self.batch])
            if attempt.best.success and attempt.goal.stops:
                return
