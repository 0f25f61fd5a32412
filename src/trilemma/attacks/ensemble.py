"""Several attacks on the same items, of which the strongest example is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trilemma.attacks.attack import Attack, Attacked, AttackRun, Victim, ignored
from trilemma.progress import Progress
from trilemma.tasks.task import Level, Text

SHARD = 64
"""Items that all members attack before the next ones: the most that a failing victim can lose."""


@dataclass(frozen=True)
class Ensemble(Attack):
    """Runs its members one after the other, with an equal share of the budget for each.

    Of an item's successes the one is kept that leaves the least confidence in the right class.

    Attributes:
        members: attacks by name; they change words or sentences, and which one wins is a result: there is no
            level to group by.
    """

    members: Mapping[str, Attack]
    level: Level = "unknown"

    def __call__(
        self, victim: Victim, texts: Sequence[Text], labels: Sequence[int], run: AttackRun
    ) -> list[Attacked]:
        """Attack items, as :class:`trilemma.attacks.Attack` has it; all of a shard are finished together."""
        results: list[Attacked] = []
        for start in range(0, len(texts), SHARD):
            shard = slice(start, start + SHARD)
            progress = _part(run.progress, start, 1, len(texts))
            found = self._attacked(victim, texts[shard], labels[shard], replace(run, progress=progress))
            for place, result in enumerate(found):
                run.finished(start + place, result)
            results += found
        return results

    def _attacked(
        self, victim: Victim, texts: Sequence[Text], labels: Sequence[int], run: AttackRun
    ) -> list[Attacked]:
        best = [Attacked(text, 0) for text in texts]
        count = len(self.members)
        for place, (name, attack) in enumerate(self.members.items()):
            share = run.budget // count + (place < run.budget % count)
            if not share:
                continue
            progress = _part(run.progress, place * len(texts) / count, 1 / count, len(texts))
            own = replace(run, budget=share, progress=progress, finished=ignored)
            for index, result in enumerate(attack(victim, texts, labels, own)):
                kept, named = best[index], replace(result, by=name)
                stronger = named if (named.success, named.score) > (kept.success, kept.score) else kept
                best[index] = replace(stronger, queries=kept.queries + result.queries)
        return best


def _part(progress: Progress, start: float, weight: float, whole: float) -> Progress:
    """Reports the progress of a part of the work as progress of the whole."""

    def part(done: float, total: float, unit: str) -> None:
        progress(start + weight * done, whole, unit)

    return part
