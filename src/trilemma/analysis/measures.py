"""What is measured on items: each metric as contributions of items, and as a function of their sums."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trilemma.analysis.panels import ADVGLUE, CLEAN, Panel
from trilemma.errors import TrilemmaError
from trilemma.statistics import (
    Array,
    Shape,
    Statistic,
    cluster_sums,
    f1,
    matthews,
    pearson,
    ratio,
    spearman_contributions,
)


@dataclass(frozen=True)
class Measure:
    """One metric.

    Attributes:
        name: as in the records.
        contributions: panel to [N, M, k], what each item adds to the sums of each column.
        statistic: sums [..., k] to values.
        shape: for the interval.
        axis: ``P`` is measured on clean splits, ``R`` on adversarial sets.
        better: which direction is better.
        paired: whether only items whose clean original is published count.
        linear: whether it is a mean over the same items for every model, which the exact tests need.
        regression: whether it is of scores instead of classes.
        positive: whether it is of class 1 against class 0, and needs an item of class 1.
    """

    name: str
    contributions: Callable[[Panel], Array]
    statistic: Statistic
    shape: Shape
    axis: Literal["P", "R"]
    better: Literal["higher", "lower"] = "higher"
    paired: bool = False
    linear: bool = False
    regression: bool = False
    positive: bool = False

    def missing(self, panel: Panel) -> str:
        """Why the metric cannot be measured on the panel; "" where it can."""
        if np.isnan(panel.gold).all():
            return "labels are unpublished, predictions only"
        if self.regression != (panel.classes == 0):
            return f"{self.name} is not defined for {'classes' if self.regression else 'a regression'}"
        if self.positive and panel.classes != 2:
            return f"{self.name} is not defined for {panel.classes} classes"
        if self.lacks_positive(panel):
            return f"no item of the positive class among {len(panel.gold)}"
        if self.paired and np.isnan(panel.original).all():
            return "no original"
        return ""

    def lacks_positive(self, panel: Panel) -> bool:
        """Whether it is undefined for want of an item of class 1, however good the answers are."""
        return self.positive and panel.classes == 2 and not np.any(panel.gold == 1)

    def belongs_to(self, official: Sequence[str]) -> bool:
        """Whether a task with these official metrics is scored by it.

        Shares of items are defined for every classification, the other metrics are a task's own.
        """
        return self.shape in ("proportion", "difference") or self.name.removeprefix("robust_") in official


def _right(panel: Panel) -> Array:
    known = _known(panel)
    return np.stack([known & (panel.answer == panel.gold[:, None]), known], axis=-1).astype(float)


def _known(panel: Panel) -> Array:
    return np.asarray(~np.isnan(panel.gold)[:, None] & ~np.isnan(panel.answer))


def _f1(panel: Panel) -> Array:
    known = _known(panel)
    gold, answer = known & (panel.gold[:, None] == 1), known & (panel.answer == 1)
    return np.stack([2.0 * (gold & answer), gold.astype(float) + answer], axis=-1)


def _confusion(panel: Panel) -> Array:
    cell = panel.gold[:, None] * panel.classes + panel.answer
    return np.asarray(cell[..., None] == np.arange(panel.classes**2), dtype=float)


def _moments(panel: Panel) -> Array:
    """Contributions to :func:`trilemma.statistics.pearson`, centred so that sums stay small."""
    known = _known(panel)
    x = np.where(known, panel.gold[:, None] - np.nanmean(panel.gold), 0.0)
    y = np.where(known, panel.answer - np.nanmean(panel.answer, axis=0), 0.0)
    return np.stack([known.astype(float), x, y, x * x, y * y, x * y], axis=-1)


def _ranks(panel: Panel) -> Array:
    known = _known(panel)
    result = np.zeros((*known.shape, 2))
    for column, rows in enumerate(known.T):
        result[rows, column] = spearman_contributions(panel.gold[rows], panel.answer[rows, column])
    return result


def _pairs(panel: Panel) -> tuple[Array, Array, Array]:
    """Whether an item is paired, whether its original was answered right, and whether itself was."""
    paired = _known(panel) & ~np.isnan(panel.original)
    gold = panel.gold[:, None]
    return paired, paired & (panel.original == gold), paired & (panel.answer == gold)


def _attack_success(panel: Panel) -> Array:
    _, before, after = _pairs(panel)
    return np.stack([before & ~np.asarray(after, dtype=bool), before], axis=-1).astype(float)


def _drop(panel: Panel) -> Array:
    paired, before, after = _pairs(panel)
    return np.stack([before.astype(float) - after, paired.astype(float)], axis=-1)


def _flip(panel: Panel) -> Array:
    paired, _, _ = _pairs(panel)
    return np.stack([paired & (panel.answer != panel.original), paired], axis=-1).astype(float)


def _paired_clean(panel: Panel) -> Array:
    paired, before, _ = _pairs(panel)
    return np.stack([before, paired], axis=-1).astype(float)


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("accuracy", _right, ratio, "proportion", "P", linear=True),
        Measure("f1", _f1, f1, "fraction", "P", positive=True),
        Measure("matthews", _confusion, matthews, "correlation", "P"),
        Measure("pearson", _moments, pearson, "correlation", "P", regression=True),
        Measure("spearman", _ranks, ratio, "correlation", "P", regression=True),
        Measure("robust_accuracy", _right, ratio, "proportion", "R", linear=True),
        Measure("robust_f1", _f1, f1, "fraction", "R", positive=True),
        Measure("attack_success_rate", _attack_success, ratio, "proportion", "R", "lower", paired=True),
        Measure("accuracy_drop", _drop, ratio, "difference", "R", "lower", paired=True, linear=True),
        Measure("flip_rate", _flip, ratio, "proportion", "R", "lower", paired=True, linear=True),
        Measure("paired_clean_accuracy", _paired_clean, ratio, "proportion", "R", paired=True, linear=True),
    )
}

GLUE_METRICS: Mapping[str, tuple[str, ...]] = {
    "cola": ("matthews",),
    "mrpc": ("accuracy", "f1"),
    "qqp": ("accuracy", "f1"),
    "stsb": ("pearson", "spearman"),
}
"""GLUE's official metrics, where they are not accuracy alone."""

SCORES = {"accuracy": "glue_score", "robust_accuracy": "advglue_score"}
"""The metric that aggregates another over tasks by the leaderboards' rule: per task the mean of its
official metrics and of its sets (MNLI: matched and mismatched), then the unweighted mean over tasks."""


def find_measure(name: str) -> Measure:
    """The measure called ``name``.

    Raises:
        TrilemmaError: if there is none, naming those there are.
    """
    if name not in MEASURES:
        raise TrilemmaError(f"no metric {name!r} can be computed from items; known: {', '.join(MEASURES)}")
    return MEASURES[name]


def scored_by(measure: Measure, benchmark: str, official: Sequence[str]) -> tuple[str, list[Measure]]:
    """Name and parts of what aggregates a measure over tasks on a benchmark.

    Args:
        measure: e.g. accuracy.
        benchmark: ``clean``, ``advglue``, ...; the leaderboard's rule is AdvGLUE's own, on other
            adversarial sets the measure itself is averaged.
        official: the task's official metrics.
    """
    if benchmark == CLEAN and measure.name == "accuracy":
        return SCORES["accuracy"], [find_measure(name) for name in official]
    if benchmark.startswith(ADVGLUE) and measure.name == "robust_accuracy":
        return SCORES["robust_accuracy"], [measure, *([MEASURES["robust_f1"]] if "f1" in official else [])]
    return measure.name, [measure]


def defined(measures: Sequence[Measure], sets: Sequence[Panel]) -> list[Measure]:
    """What a task's score is the mean of on these items: accuracy alone where F1 lacks a positive item.

    A measure that is all there is stays, and is missing.
    """
    kept = [one for one in measures if not any(one.lacks_positive(panel) for panel in sets)]
    return kept or list(measures)


@dataclass(frozen=True, eq=False)
class Block:
    """One task's sums over clusters for one score: the mean over measures of the mean over sets.

    Attributes:
        sums: [C, M, sets, k]; k are the measures' columns side by side.
        measures: what is averaged.
        widths: columns of each measure.
    """

    sums: Array
    measures: Sequence[Measure]
    widths: Sequence[int]

    @staticmethod
    def of(panels: Sequence[Panel], measures: Sequence[Measure]) -> "Block":
        """Sum the measures over the clusters of a task's panels, all with the same M columns."""
        each = [[measure.contributions(panel) for measure in measures] for panel in panels]
        widths = [part.shape[-1] for part in each[0]]
        label = np.concatenate([panel.cluster for panel in panels])
        parts = np.zeros((len(label), each[0][0].shape[1], len(panels), sum(widths)))
        start = 0
        for index, contributions in enumerate(each):
            rows = len(contributions[0])
            parts[start : start + rows, :, index] = np.concatenate(contributions, axis=-1)
            start += rows
        return Block(cluster_sums(parts, label), measures, widths)

    def values(self, sums: Array) -> Array:
        """Each set's and measure's value, [..., sets, measures], from sums [..., sets, k]."""
        values, start = [], 0
        for measure, width in zip(self.measures, self.widths, strict=True):
            values.append(measure.statistic(sums[..., start : start + width]))
            start += width
        return np.stack(values, axis=-1)

    def statistic(self, sums: Array) -> Array:
        """The score [...] from sums [..., sets, k]."""
        return np.asarray(self.values(sums).mean(axis=(-2, -1)))

    @property
    def shape(self) -> Shape:
        """The kind of number: a proportion only where nothing is averaged."""
        shapes = {measure.shape for measure in self.measures}
        if len(self.measures) == 1 and (self.sums.shape[2] == 1 or shapes != {"proportion"}):
            return shapes.pop()
        return "fraction" if shapes <= {"proportion", "fraction"} else "correlation"
