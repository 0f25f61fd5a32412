"""What another training seed adds to the metrics of a study: one model of noise for values and tests."""

from collections.abc import Iterator, Mapping, Sequence

from trilemma.analysis.answers import AnswerMatrix, align
from trilemma.analysis.item_metrics import ClusterSums, ItemMetric, usable
from trilemma.statistics.intervals import seed_scatters
from trilemma.statistics.seeds import SeedScatter, SeedVariance

Parts = Mapping[str, Sequence[ItemMetric]]
"""By task the metrics whose mean is its score."""


class SeedNoise:
    """The seed variance of each metric, from all candidates and tasks (:mod:`trilemma.statistics.seeds`).

    Args:
        matrices: all sets of the study.
    """

    def __init__(self, matrices: Sequence[AnswerMatrix]) -> None:
        self._matrices = matrices
        self._known: dict[tuple[object, ...], SeedVariance] = {}

    def everywhere(self, metric: ItemMetric, benchmark: str, level: str, method: str = "") -> SeedVariance:
        """The seed variance of one metric on all tasks of a benchmark that have it."""
        tasks = dict.fromkeys(matrix.task for matrix in self._matrices if matrix.benchmark == benchmark)
        return self.of({task: [metric] for task in tasks}, benchmark, level, method)

    def of(self, parts: Parts, benchmark: str, level: str, method: str = "") -> SeedVariance:
        """The seed variance of a score: of the mean of its metrics on each of its tasks.

        Args:
            parts: by task the metrics.
            benchmark: ``clean``, or an adversarial benchmark.
            level: ``clean``, ``all`` or a level of attack.
            method: of the attack; "" for all.
        """
        names = tuple((task, *(one.name for one in metrics)) for task, metrics in parts.items())
        key = names, benchmark, level, method
        if key not in self._known:
            here = [matrix for matrix in self._matrices if matrix.benchmark == benchmark]
            self._known[key] = SeedVariance.of(
                cell
                for task, metrics in parts.items()
                for cell in _cells([one.at(level, method) for one in here if one.task == task], metrics)
            )
        return self._known[key]


def _cells(sets: Sequence[AnswerMatrix], metrics: Sequence[ItemMetric]) -> Iterator[SeedScatter]:
    """The scatter of each candidate's seeds on one task."""
    for name in dict.fromkeys(str(one) for matrix in sets for one in matrix.candidate):
        answered = [matrix for matrix in sets if len(matrix.gold) and matrix.of(name)]
        measured = usable(answered, metrics)
        if not measured:
            continue
        aligned, (columns,) = align(measured, [name])
        if len(columns) > 1 and all(len(matrix.gold) for matrix in aligned):
            sums = ClusterSums.of(aligned, metrics)
            yield from seed_scatters(sums.sums, [columns], sums.statistic, kind=sums.kind)
