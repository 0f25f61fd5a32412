"""One candidate's values of one metric: by seed and over seeds, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trilemma.analysis.answers import AnswerMatrix, align
from trilemma.analysis.item_metrics import ClusterSums, ItemMetric
from trilemma.statistics.intervals import Sample
from trilemma.statistics.seeds import NOTHING_KNOWN, SeedVariance
from trilemma.statistics.sums import Array


@dataclass(frozen=True, eq=False)
class SeedScores:
    """A metric of one candidate on one task's sets.

    Attributes:
        seeds: its S training seeds, -1 for none.
        values: [S, sets, metrics], every seed's value of each set and metric.
        samples: by seed, and under None over all seeds.
        counts: by seed, the items (or, for conditional rates, the items that meet the condition).
    """

    seeds: list[int]
    values: Array
    samples: dict[int | None, Sample]
    counts: dict[int | None, int]

    def value(self, seed: int | None) -> float | None:
        """One seed's value or the mean over seeds; None where it is undefined."""
        value = self.samples[seed].value
        return None if math.isnan(value) else value

    @property
    def rows(self) -> list[int | None]:
        """The seeds that have rows of their own in the records, then None for all seeds."""
        return [*(seed for seed in self.seeds if seed >= 0), None]


def seed_scores(
    sets: Sequence[AnswerMatrix], candidate: str, metrics: Sequence[ItemMetric], noise: SeedVariance
) -> SeedScores:
    """The mean of some metrics of one candidate on one task's sets.

    Args:
        sets: of one task and benchmark, on which every metric can be measured.
        candidate: its name; it answered all sets.
        metrics: what is averaged.
        noise: what a training seed adds; a seed's own rows speak of that trained model alone.
    """
    aligned, _ = align(sets, [candidate])
    seeds = [int(seed) for seed in aligned[0].seed]
    sums = ClusterSums.of(aligned, metrics)
    totals = sums.sums.sum(axis=0)
    items = np.full(len(seeds), sum(len(matrix.gold) for matrix in aligned))
    counts = totals[..., -1].sum(axis=1).astype(int) if metrics[0].paired else items
    alone = sums.samples([[column] for column in range(len(seeds))], NOTHING_KNOWN)
    together = sums.samples([range(len(seeds))], noise)
    keys = [*seeds, None]
    return SeedScores(
        seeds=seeds,
        values=sums.values(totals),
        samples=dict(zip(keys, alone + together, strict=True)),
        counts=dict(zip(keys, [*(int(count) for count in counts), int(counts.sum())], strict=True)),
    )
