"""Whole rewritten texts, one after the other: the search of sentence-level and human-level attacks."""

from dataclasses import dataclass

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.state import SearchState
from trilemma.attacks.transformations import Rewriting
from trilemma.attacks.words import SplitText


@dataclass(frozen=True)
class TryAll:
    """Ask about every rewritten form that keeps the constraints, until the goal is met.

    Args:
        rewriting: proposes the forms.
        batch: forms asked about at once: the first success among them ends the search, so a larger batch
            costs queries and finds no more.
    """

    rewriting: Rewriting
    batch: int = 4

    def __call__(self, state: SearchState) -> Steps[None]:
        """One pass over the forms."""
        forms = yield from self.rewriting(state.item)
        texts = [state.item.full(SplitText.of(one)) if isinstance(one, str) else one for one in forms]
        kept = yield from state.keeping_texts(texts)
        for start in range(0, len(kept), self.batch):
            yield from state.scores_of_texts(kept[start : start + self.batch])
            if state.best.success and state.goal.stops:
                return
