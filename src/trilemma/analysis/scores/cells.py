"""One candidate's values of one metric: by seed and over seeds, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trilemma.analysis.measures import Block, Measure
from trilemma.analysis.panels import Panel, align, stream
from trilemma.statistics import Array, Interval, Sample, sample


@dataclass(frozen=True, eq=False)
class Cell:
    """A metric of one candidate on one task's sets.

    Attributes:
        seeds: its S training seeds, -1 for none.
        values: [S, sets, measures], every seed's value of each set and measure.
        samples: by seed, and under None over all seeds.
        counts: by seed, the items (or, for conditional rates, the items that meet the condition).
    """

    seeds: list[int]
    values: Array
    samples: dict[int | None, Sample]
    counts: dict[int | None, int]

    def interval(self, seed: int | None) -> Interval:
        """The 95% interval of one seed's value, or over seeds."""
        return self.samples[seed].interval()

    def value(self, seed: int | None) -> float | None:
        """One seed's value or the mean over seeds; None where it is undefined."""
        value = self.samples[seed].value
        return None if math.isnan(value) else value

    @property
    def rows(self) -> list[int | None]:
        """The seeds that have rows of their own in the records, then None for all seeds."""
        return [*(seed for seed in self.seeds if seed >= 0), None]


def cells(sets: Sequence[Panel], candidate: str, measures: Sequence[Sequence[Measure]]) -> list[Cell]:
    """Several metrics of one candidate on one task's sets, from the same resamples.

    Args:
        sets: panels of one task and benchmark on which every measure can be measured.
        candidate: its name; it answered all sets.
        measures: for each metric what it is the mean of.
    """
    aligned, _ = align(sets, [candidate])
    seeds = [int(seed) for seed in aligned[0].seed]
    groups = [[column] for column in range(len(seeds))] + [list(range(len(seeds)))]
    return [_cell(aligned, seeds, groups, parts) for parts in measures]


def _cell(
    aligned: Sequence[Panel], seeds: list[int], groups: list[list[int]], parts: Sequence[Measure]
) -> Cell:
    block = Block.of(aligned, parts)
    samples = sample(block.sums, groups, block.statistic, shape=block.shape, seed=stream(aligned[0]))
    totals = block.sums.sum(axis=0)
    items = np.full(len(seeds), sum(len(panel.gold) for panel in aligned))
    counts = totals[..., -1].sum(axis=1).astype(int) if parts[0].paired else items
    keys = [*seeds, None]
    return Cell(
        seeds=seeds,
        values=block.values(totals),
        samples=dict(zip(keys, samples, strict=True)),
        counts=dict(zip(keys, [*(int(count) for count in counts), int(counts.sum())], strict=True)),
    )
