"""How each metric of axes P and R is computed from answers: contributions of items, and a function of sums.

What a metric is (unit, direction, title) is in :mod:`trilemma.metrics`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trilemma.analysis.answers import CLEAN, LEADERBOARDS, AnswerMatrix, resampling_seed
from trilemma.errors import TrilemmaError
from trilemma.metrics import AGGREGATED, METRICS, Metric
from trilemma.records import ATTACK
from trilemma.statistics.intervals import Sample, ValueKind, sample
from trilemma.statistics.resampling import DRAWS, cluster_sums
from trilemma.statistics.seeds import SeedVariance
from trilemma.statistics.sums import (
    Array,
    Statistic,
    f1,
    macro_f1,
    matthews,
    pearson,
    ratio,
    spearman_contributions,
)


@dataclass(frozen=True)
class ItemMetric:
    """A metric as a function of answers.

    Attributes:
        metric: which one.
        contributions: matrix to [N, M, k], what each item adds to the sums of each column.
        statistic: sums [..., k] to values.
        kind: of its values, for the interval.
        official: the official metric of tasks that it is, on clean text or under attack; "" for none.
        paired: whether only items whose clean original is published count.
        linear: whether it is a mean over the same items for every model, which the exact tests need.
        regression: whether it is of scores instead of classes.
        positive: whether it is of class 1 against class 0, and needs an item of class 1.
    """

    metric: Metric
    contributions: Callable[[AnswerMatrix], Array]
    statistic: Statistic
    kind: ValueKind
    official: str = ""
    paired: bool = False
    linear: bool = False
    regression: bool = False
    positive: bool = False

    @property
    def name(self) -> str:
        """The name of the metric, as in the records."""
        return self.metric.name

    def on(self, benchmark: str) -> "ItemMetric":
        """The metric on a benchmark: an attack changes only what was right, so accuracy drops from 0 to 1."""
        if self.kind == "difference" and benchmark.startswith(ATTACK):
            return replace(self, kind="fraction")
        return self

    def missing(self, matrix: AnswerMatrix) -> str:
        """Why the metric cannot be measured on the matrix; "" where it can."""
        if np.isnan(matrix.gold).all():
            return "labels are unpublished, predictions only"
        if not self.defined_for(matrix):
            kind = f"{matrix.classes} classes" if self.positive and matrix.classes else "classes"
            return f"{self.name} is not defined for {kind if matrix.classes else 'a regression'}"
        if self.lacks_positive(matrix):
            return f"no item of the positive class among {len(matrix.gold)}"
        if self.paired and np.isnan(matrix.original).all():
            return "no original"
        return ""

    def defined_for(self, matrix: AnswerMatrix) -> bool:
        """Whether it is a metric of such a task: of classes or scores, of two classes or any number."""
        return self.regression == (matrix.classes == 0) and (not self.positive or matrix.classes == 2)

    def lacks_positive(self, matrix: AnswerMatrix) -> bool:
        """Whether it is undefined because no item is of class 1, however good the answers are."""
        return self.positive and matrix.classes == 2 and not np.any(matrix.gold == 1)

    def belongs_to(self, official: Sequence[str]) -> bool:
        """Whether a task with these official metrics is scored by it.

        Shares of items are defined for every classification, the other metrics are a task's own.
        """
        return self.kind in ("proportion", "difference") or self.official in official


def _right(matrix: AnswerMatrix) -> Array:
    known = _known(matrix)
    return np.stack([known & (matrix.answer == matrix.gold[:, None]), known], axis=-1).astype(float)


def _known(matrix: AnswerMatrix) -> Array:
    return np.asarray(~np.isnan(matrix.gold)[:, None] & ~np.isnan(matrix.answer))


def _f1(matrix: AnswerMatrix) -> Array:
    known = _known(matrix)
    gold, answer = known & (matrix.gold[:, None] == 1), known & (matrix.answer == 1)
    return np.stack([2.0 * (gold & answer), gold.astype(float) + answer], axis=-1)


def _confusion(matrix: AnswerMatrix) -> Array:
    cell = matrix.gold[:, None] * matrix.classes + matrix.answer
    return np.asarray(cell[..., None] == np.arange(matrix.classes**2), dtype=float)


def _moments(matrix: AnswerMatrix) -> Array:
    """Contributions to :func:`trilemma.statistics.pearson`, centred so that sums stay small."""
    known = _known(matrix)
    x = np.where(known, matrix.gold[:, None] - np.nanmean(matrix.gold), 0.0)
    y = np.where(known, matrix.answer - np.nanmean(matrix.answer, axis=0), 0.0)
    return np.stack([known.astype(float), x, y, x * x, y * y, x * y], axis=-1)


def _ranks(matrix: AnswerMatrix) -> Array:
    known = _known(matrix)
    result = np.zeros((*known.shape, 2))
    for column, rows in enumerate(known.T):
        result[rows, column] = spearman_contributions(matrix.gold[rows], matrix.answer[rows, column])
    return result


def _pairs(matrix: AnswerMatrix) -> tuple[Array, Array, Array]:
    """Whether an item is paired, whether its original was answered right, and whether itself was."""
    paired = _known(matrix) & ~np.isnan(matrix.original)
    gold = matrix.gold[:, None]
    return paired, paired & (matrix.original == gold), paired & (matrix.answer == gold)


def _attack_success(matrix: AnswerMatrix) -> Array:
    _, before, after = _pairs(matrix)
    return np.stack([before & ~np.asarray(after, dtype=bool), before], axis=-1).astype(float)


def _drop(matrix: AnswerMatrix) -> Array:
    paired, before, after = _pairs(matrix)
    return np.stack([before.astype(float) - after, paired.astype(float)], axis=-1)


def _flip(matrix: AnswerMatrix) -> Array:
    paired, _, _ = _pairs(matrix)
    return np.stack([paired & (matrix.answer != matrix.original), paired], axis=-1).astype(float)


def _paired_clean(matrix: AnswerMatrix) -> Array:
    paired, before, _ = _pairs(matrix)
    return np.stack([before, paired], axis=-1).astype(float)


ITEM_METRICS: dict[str, ItemMetric] = {
    one.name: one
    for one in (
        ItemMetric(METRICS["accuracy"], _right, ratio, "proportion", "accuracy", linear=True),
        ItemMetric(METRICS["f1"], _f1, f1, "fraction", "f1", positive=True),
        ItemMetric(METRICS["macro_f1"], _confusion, macro_f1, "fraction", "macro_f1"),
        ItemMetric(METRICS["matthews"], _confusion, matthews, "correlation", "matthews"),
        ItemMetric(METRICS["pearson"], _moments, pearson, "correlation", "pearson", regression=True),
        ItemMetric(METRICS["spearman"], _ranks, ratio, "correlation", "spearman", regression=True),
        ItemMetric(METRICS["robust_accuracy"], _right, ratio, "proportion", "accuracy", linear=True),
        ItemMetric(METRICS["robust_f1"], _f1, f1, "fraction", "f1", positive=True),
        ItemMetric(METRICS["attack_success_rate"], _attack_success, ratio, "proportion", paired=True),
        ItemMetric(METRICS["accuracy_drop"], _drop, ratio, "difference", paired=True, linear=True),
        ItemMetric(METRICS["flip_rate"], _flip, ratio, "proportion", paired=True, linear=True),
        ItemMetric(
            METRICS["paired_clean_accuracy"], _paired_clean, ratio, "proportion", paired=True, linear=True
        ),
    )
}

OFFICIAL = tuple(name for name, one in ITEM_METRICS.items() if one.metric.axis == "P")
"""The metrics by which a task may officially be scored."""


def item_metric(name: str) -> ItemMetric:
    """How the metric called ``name``, or the one that the score ``name`` aggregates, is computed from items.

    Raises:
        TrilemmaError: if it is not computed from items, naming those that are.
    """
    name = AGGREGATED.get(name, name)
    if name not in ITEM_METRICS:
        raise TrilemmaError(
            f"no metric {name!r} can be computed from items; known: {', '.join(ITEM_METRICS)}"
        )
    return ITEM_METRICS[name]


def scored_by(
    one: ItemMetric, benchmark: str, official: Sequence[str], sets: Sequence[AnswerMatrix]
) -> tuple[str, list[ItemMetric]]:
    """Name and parts of what aggregates a metric over tasks on a benchmark.

    By the leaderboards' rule a task's score is the mean of its official metrics and of its sets (MNLI:
    matched and mismatched), and the score is the unweighted mean over tasks. It is that of accuracy alone
    where F1 lacks a positive item; a metric that is all there is stays, and is missing.

    Args:
        one: e.g. accuracy.
        benchmark: ``clean``, ``advglue``, ...; the leaderboard's rule is AdvGLUE's own, on other
            adversarial sets the metric itself is averaged.
        official: the task's official metrics.
        sets: the task's items.
    """
    name, parts = one.name, [one]
    if benchmark == CLEAN and one.name == "accuracy":
        name, parts = one.metric.average, [ITEM_METRICS[metric] for metric in official]
    elif benchmark in LEADERBOARDS and one.name == "robust_accuracy":
        name = one.metric.average
        parts = [one, *([ITEM_METRICS["robust_f1"]] if "f1" in official else [])]
    kept = [part for part in parts if not any(part.lacks_positive(matrix) for matrix in sets)]
    return name, kept or parts


def usable(sets: Sequence[AnswerMatrix], metrics: Sequence[ItemMetric]) -> list[AnswerMatrix]:
    """The sets on whose items all metrics are defined, whoever answers them."""
    return [matrix for matrix in sets if not any(metric.missing(matrix) for metric in metrics)]


@dataclass(frozen=True, eq=False)
class ClusterSums:
    """One task's sums over clusters for one score: the mean over metrics of the mean over sets.

    Attributes:
        sums: [C, M, sets, k]; k are the metrics' columns side by side.
        parts: the metrics that are averaged.
        widths: columns of each of them.
        seed: of the random numbers that resample the task's benchmark.
    """

    sums: Array
    parts: Sequence[ItemMetric]
    widths: Sequence[int]
    seed: int

    @staticmethod
    def of(matrices: Sequence[AnswerMatrix], parts: Sequence[ItemMetric]) -> "ClusterSums":
        """Sum the metrics over the clusters of a task's sets, all with the same M columns."""
        each = [[one.contributions(matrix) for one in parts] for matrix in matrices]
        widths = [own.shape[-1] for own in each[0]]
        label = np.concatenate([matrix.cluster for matrix in matrices])
        columns = np.zeros((len(label), each[0][0].shape[1], len(matrices), sum(widths)))
        start = 0
        for index, contributions in enumerate(each):
            rows = len(contributions[0])
            columns[start : start + rows, :, index] = np.concatenate(contributions, axis=-1)
            start += rows
        return ClusterSums(cluster_sums(columns, label), parts, widths, resampling_seed(matrices[0]))

    def samples(
        self, groups: Sequence[Sequence[int]], seeds: SeedVariance, draws: int = DRAWS
    ) -> list[Sample]:
        """Value and paired draws of groups of columns, each group the seeds of one candidate."""
        kind, seed = self.kind, self.seed
        return sample(self.sums, groups, self.statistic, kind=kind, seeds=seeds, draws=draws, seed=seed)

    def values(self, sums: Array) -> Array:
        """Each set's and metric's value, [..., sets, metrics], from sums [..., sets, k]."""
        values, start = [], 0
        for one, width in zip(self.parts, self.widths, strict=True):
            values.append(one.statistic(sums[..., start : start + width]))
            start += width
        return np.stack(values, axis=-1)

    def statistic(self, sums: Array) -> Array:
        """The score [...] from sums [..., sets, k]."""
        return np.asarray(self.values(sums).mean(axis=(-2, -1)))

    @property
    def kind(self) -> ValueKind:
        """The kind of number: a proportion only where nothing is averaged."""
        kinds = {one.kind for one in self.parts}
        if len(self.parts) == 1 and (self.sums.shape[2] == 1 or kinds != {"proportion"}):
            return kinds.pop()
        return "fraction" if kinds <= {"proportion", "fraction"} else "correlation"
