"""An attack by search: transformation, constraints, goal function and search, run on many items."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trilemma.attacks.attack import Attack, Attacked, AttackRun, Victim, checked
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.goals import Goal, Untargeted
from trilemma.attacks.item import Budget, Item, SpentError
from trilemma.attacks.lockstep import Steps, run_in_lockstep
from trilemma.attacks.search import Search
from trilemma.attacks.search.state import SearchState
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.victims.local import WhiteBox
from trilemma.tasks.task import Level, Text

SHARD = 256
"""Items whose searches advance together: enough for full batches, few enough to fit into memory."""


@dataclass(frozen=True)
class SearchAttack(Attack):
    """An attack by search.

    Attributes:
        search: in which order candidates are tried.
        transformation: what may be changed; None for a search that brings its own texts.
        constraints: what every candidate must keep.
        goal: when the attack has succeeded.
        attacked: which text of a pair.
    """

    level: Level
    search: Search
    transformation: Transformation | None = None
    constraints: tuple[Constraint, ...] = ()
    goal: Goal = field(default_factory=Untargeted)
    attacked: int = -1
    white_box: bool = False

    def __call__(
        self, victim: Victim, texts: Sequence[Text], labels: Sequence[int], run: AttackRun
    ) -> list[Attacked]:
        """Attack items, as :class:`trilemma.attacks.Attack` has it; each is finished when its search ends.

        Raises:
            AttackError: if the victim does not answer with one distribution per text.
        """
        results: list[Attacked] = []
        counted = run.counting(len(texts))
        asked, white_box = checked(victim), WhiteBox.of(victim)
        items = list(zip(texts, labels, strict=True))
        for start in range(0, len(items), SHARD):
            searches = [
                self._attacked(
                    SearchState(
                        Item.of(text, label, self.attacked, run.seed),
                        Budget(run.budget, asked, white_box),
                        self.transformation,
                        self.constraints,
                        self.goal,
                    )
                )
                for text, label in items[start : start + SHARD]
            ]

            def finished(index: int, result: Attacked, start: int = start) -> None:
                counted(start + index, result)

            results += run_in_lockstep(searches, finished)
        return results

    def _attacked(self, state: SearchState) -> Steps[Attacked]:
        """One item's search, from its first question to its result."""
        try:
            if (yield from state.begin()):
                yield from self.search(state)
        except SpentError:
            pass  # the best text until then is the result
        best = state.best
        text = best.text if best.success else state.item.text
        return Attacked(text, state.budget.spent, best.success, best.score)
