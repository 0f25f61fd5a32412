"""Several attacks on the same items, of which the strongest example is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from trilemma.attacks.attack import Attack, Attacked, Victim
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Level, Text

SHARD = 64
"""Items that all members attack before the next ones: what a failing victim loses at most."""


@dataclass(frozen=True)
class Ensemble:
    """Runs its members one after the other, on an equal share of the budget each.

    Attributes:
        members: attacks by name.
        level: members change words or sentences; which one wins is an outcome, and no level to group by.
    """

    members: Mapping[str, Attack]
    level: Level = "unknown"

    def __call__(  # noqa: D417  the others are those of Attack
        self,
        victim: Victim,
        texts: Sequence[Text],
        labels: Sequence[int],
        *,
        budget: int,
        seed: int,
        progress: Progress = silent,
        finished: Callable[[int, Attacked], None] | None = None,
    ) -> list[Attacked]:
        """Attack items; arguments and result as in :class:`trilemma.attacks.Attack`.

        Of an item's successes the one is kept that leaves the least confidence in the right class.

        Args:
            finished: told of each item that all members have attacked.
        """
        results: list[Attacked] = []
        for start in range(0, len(texts), SHARD):
            shard = slice(start, start + SHARD)

            def counted(done: float, total: float, unit: str, start: int = start) -> None:
                progress(start + done, len(texts), unit)

            made = self._attacked(victim, texts[shard], labels[shard], budget, seed, counted)
            results += made
            if finished is not None:
                for place, one in enumerate(made):
                    finished(start + place, one)
        return results

    def _attacked(
        self,
        victim: Victim,
        texts: Sequence[Text],
        labels: Sequence[int],
        budget: int,
        seed: int,
        progress: Progress,
    ) -> list[Attacked]:
        best = [Attacked(text, 0) for text in texts]
        count = len(self.members)
        shares = [budget // count + (place < budget % count) for place in range(count)]
        for place, ((name, attack), share) in enumerate(zip(self.members.items(), shares, strict=True)):
            if not share:
                continue

            def counted(done: float, total: float, unit: str, place: int = place) -> None:
                progress((place * total + done) / count, total, unit)

            results = attack(victim, texts, labels, budget=share, seed=seed, progress=counted)
            for index, (kept, one) in enumerate(zip(best, results, strict=True)):
                named = replace(one, by=name)
                stronger = named if (named.success, named.score) > (kept.success, kept.score) else kept
                best[index] = replace(stronger, queries=kept.queries + one.queries)
        return best
