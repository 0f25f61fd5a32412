"""Whether two candidates differ on a metric: difference, interval and the p of a test.

What is computed from items is tested on the items that both answered (:func:`compare`), measured efficiency
by the recorded intervals (:func:`p_of_intervals`). Which of these p a verdict or a decision shows is chosen
by :meth:`trilemma.analysis.evidence.Evidence.adjusted_p`.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from trilemma.analysis.answers import CLEAN, LEVELS, AnswerMatrix, align, answer_matrices
from trilemma.analysis.candidates import candidates, find_candidate
from trilemma.analysis.item_metrics import ClusterSums, ItemMetric, item_metric, scored_by, usable
from trilemma.analysis.lookup import Estimate
from trilemma.metrics import METRICS
from trilemma.records import AVERAGE
from trilemma.statistics.intervals import Sample
from trilemma.statistics.paired_tests import holm, mcnemar_exact, sign_flip_permutation, swap_permutation
from trilemma.statistics.sums import Array, Statistic

SIGNIFICANCE = 0.05
"""Two candidates are called distinguishable below this p, after Holm's correction."""


@dataclass(frozen=True)
class Comparison:
    """Two candidates, a and b, on the items that all seeds of both answered.

    With one seed each the test speaks of these two trained models. With several, p is the larger of the
    paired test on the items (answers averaged over seeds) and Welch's test over items and seeds, so
    that a lucky seed is not a finding.

    Attributes:
        a: a candidate's name.
        b: the other's.
        metric: e.g. ``robust_accuracy``; ``glue_score`` or ``advglue_score`` for the average over tasks.
        task: task name, or ``average``; several sets of a task (MNLI) are averaged.
        set: ``clean``, or the adversarial benchmark: ``advglue``, ``anli``, another set's name.
        level: ``clean``, ``all``, ``word``, ``sentence``, ``human`` or ``unknown``.
        a_value: a's value, the mean over its seeds; None where not measured.
        b_value: b's.
        difference: a - b.
        low: lower 95% limit of the difference (not adjusted for the family).
        high: upper limit.
        p: two-sided p of the paired test; None where nothing was tested.
        p_adjusted: Holm's, over the family: all pairs' tests of one metric on one benchmark that ask the
            same question (over all; by level; by task; by task and level), so that the one overall
            test does not pay for the many by task and level.
        n: items.
        clusters: independent sources of the items.
        seeds: seeds of a and of b (the smallest number, for an average).
        family: number of tests in the family.
        test: what was computed.
        verdict: ``a better``, ``b better``, ``not distinguishable`` or ``not measured``.
        reason: why it was not measured.
    """

    a: str
    b: str
    metric: str
    task: str
    set: str
    level: str
    a_value: float | None = None
    b_value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    n: int = 0
    clusters: int = 0
    seeds: tuple[int, int] = (0, 0)
    family: int = 0
    test: str = ""
    verdict: str = "not measured"
    reason: str = ""


def compare(
    items: pd.DataFrame,
    a: str,
    b: str,
    *,
    metric: str = "robust_accuracy",
    official: Mapping[str, tuple[str, ...]] | None = None,
) -> list[Comparison]:
    """Compare two candidates by task and level, and on average over tasks.

    Args:
        items: the items table.
        a: a candidate's name (``model``, or ``model:adaptation``).
        b: the other's.
        metric: a name in :data:`~trilemma.analysis.item_metrics.ITEM_METRICS`.
        official: official metrics by task, for the average; accuracy where a task is not named.

    Returns:
        One comparison for each task, benchmark and level, and one for each benchmark and level for the
        average over tasks, which is what candidates are ranked by; it is left out where it would repeat the
        only task.
        Empty where no task has the metric: F1 and correlations are compared on the tasks whose official
        metrics they are.

    Raises:
        TrilemmaError: for an unknown candidate or metric.
    """
    known = candidates(items)
    pair = find_candidate(known, a).name, find_candidate(known, b).name
    return _compare([pair], answer_matrices(items), item_metric(metric), official or {})


def compare_all(
    items: pd.DataFrame, *, metric: str, official: Mapping[str, tuple[str, ...]] | None = None
) -> list[Comparison]:
    """Compare all pairs of candidates as :func:`compare` does; a family of tests then holds all pairs."""
    pairs = itertools.combinations([one.name for one in candidates(items)], 2)
    return _compare(pairs, answer_matrices(items), item_metric(metric), official or {})


def _compare(
    pairs: Iterable[tuple[str, str]],
    read: Sequence[AnswerMatrix],
    metric: ItemMetric,
    official: Mapping[str, tuple[str, ...]],
) -> list[Comparison]:
    """Compare pairs, adjust by Holm within each question, and give the verdicts."""
    result = [one for a, b in pairs for one in _compared(read, a, b, metric, official)]
    questions: dict[tuple[str, bool, bool], list[int]] = {}
    for index, one in enumerate(result):
        questions.setdefault(_question(one), []).append(index)
    for members in questions.values():
        p_values = [np.nan if (p := result[index].p) is None else p for index in members]
        adjusted, size = holm(p_values), int(np.sum(~np.isnan(p_values)))
        for index, p in zip(members, adjusted, strict=True):
            result[index] = _judged(result[index], float(p), size)
    return result


def _question(one: Comparison) -> tuple[str, bool, bool]:
    """Which candidate is better over all, at which level, on which task, or on which task at which level."""
    return one.set, one.task == AVERAGE, one.level in (CLEAN, "all")


def _judged(one: Comparison, adjusted: float, family: int) -> Comparison:
    if one.p is None or one.difference is None:
        return replace(one, family=family)
    verdict = "not distinguishable"
    if adjusted < SIGNIFICANCE:
        higher = METRICS[one.metric].better == "higher"
        verdict = "a better" if (one.difference > 0) == higher else "b better"
    return replace(one, p_adjusted=adjusted, family=family, verdict=verdict)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both candidates on one task: what is needed for its own test and for the average over tasks."""

    sums: ClusterSums
    a: Sample
    b: Sample
    a_columns: Sequence[int]
    b_columns: Sequence[int]
    n: int

    @property
    def seeds(self) -> tuple[int, int]:
        return len(self.a_columns), len(self.b_columns)

    def mean_sums(self) -> tuple[Array, Array]:
        """Cluster sums of a and of b, averaged over seeds: [C, sets * k] each."""
        sums = self.sums.sums.reshape(*self.sums.sums.shape[:2], -1)
        return sums[:, list(self.a_columns)].mean(1), sums[:, list(self.b_columns)].mean(1)


def _compared(
    read: Sequence[AnswerMatrix], a: str, b: str, metric: ItemMetric, official: Mapping[str, tuple[str, ...]]
) -> list[Comparison]:
    result = []
    own = [matrix for matrix in read if (matrix.benchmark == CLEAN) == (metric.metric.axis == "P")]
    for benchmark in dict.fromkeys(matrix.benchmark for matrix in own):
        by_task: dict[str, list[AnswerMatrix]] = {}
        for matrix in own:
            if matrix.benchmark == benchmark:
                by_task.setdefault(matrix.task, []).append(matrix)
        present = {level for sets in by_task.values() for matrix in sets for level in matrix.levels}
        for level in [level for level in (CLEAN, "all", *LEVELS) if level in present]:
            result += _at_level(by_task, a, b, metric, benchmark, level, official)
    return result


def _at_level(
    by_task: Mapping[str, Sequence[AnswerMatrix]],
    a: str,
    b: str,
    metric: ItemMetric,
    benchmark: str,
    level: str,
    official: Mapping[str, tuple[str, ...]],
) -> list[Comparison]:
    """One level: each task that has it, then the average."""
    result, parts, lacking = [], [], []
    average = metric.name
    for task, sets in by_task.items():
        here = [matrix for one in sets if len((matrix := one.at(level)).gold)]
        own = official.get(task, ("accuracy",))
        if not here or not metric.belongs_to(own):
            continue
        blank = Comparison(a, b, metric.name, task, benchmark, level)
        pair = _pair(here, a, b, [metric])
        if isinstance(pair, _Pair):
            result.append(_tested(blank, [pair]))
        elif metric.name != "accuracy" or any(metric.defined_for(matrix) for matrix in here):
            result.append(replace(blank, reason=pair))
        average, measured = scored_by(metric, benchmark, own, here)
        part = pair if measured == [metric] else _pair(here, a, b, measured)
        if isinstance(part, _Pair):
            parts.append(part)
        elif usable(here, measured):
            lacking.append(f"{part} for {task}")
    blank = Comparison(a, b, average, AVERAGE, benchmark, level)
    repeats = len(result) == 1 and parts == [pair]
    if lacking:
        result.append(replace(blank, reason=lacking[0]))
    elif parts and not repeats:
        result.append(_tested(blank, parts))
    return result


def _pair(sets: Sequence[AnswerMatrix], a: str, b: str, metrics: Sequence[ItemMetric]) -> _Pair | str:
    """Both candidates on a task's sets; or why they cannot be compared."""
    measured = usable(sets, metrics)
    if not measured:
        return next(filter(None, (metric.missing(matrix) for matrix in sets for metric in metrics)))
    aligned, groups = align(measured, [a, b])
    for name, group in zip((a, b), groups, strict=True):
        if not group:
            return f"{name} has no answers"
    if not all(len(matrix.gold) for matrix in aligned):
        return "no item that both answered"
    for reason in (metric.missing(matrix) for matrix in aligned for metric in metrics):
        if reason:
            return f"{reason} of those that both answered"
    sums = ClusterSums.of(aligned, metrics)
    first, second = sums.samples(groups)
    if np.isnan(first.value) or np.isnan(second.value):
        return f"{metrics[0].name} is undefined: no item counts"
    return _Pair(sums, first, second, groups[0], groups[1], sum(len(matrix.gold) for matrix in aligned))


def _tested(blank: Comparison, pairs: Sequence[_Pair]) -> Comparison:
    """Difference, interval and p of one task, or of the mean over several."""
    difference = Sample.mean([pair.a - pair.b for pair in pairs])
    low, high = difference.interval()
    p, test = _paired_test(pairs, by="item" if blank.set == CLEAN else "origin")
    if any(max(pair.seeds) > 1 for pair in pairs):
        over_seeds = difference.p_over_seeds()
        p, test = max(p, over_seeds), f"{test}, and Welch over items and seeds"
    return replace(
        blank,
        a_value=float(np.mean([pair.a.value for pair in pairs])),
        b_value=float(np.mean([pair.b.value for pair in pairs])),
        difference=difference.value,
        low=low,
        high=high,
        p=p,
        n=sum(pair.n for pair in pairs),
        clusters=sum(len(pair.sums.sums) for pair in pairs),
        seeds=(min(pair.seeds[0] for pair in pairs), min(pair.seeds[1] for pair in pairs)),
        test=test,
    )


def _paired_test(pairs: Sequence[_Pair], by: str) -> tuple[float, str]:
    first = pairs[0].sums
    linear = len(first.parts) == 1 and first.parts[0].linear and first.sums.shape[2] == 1
    if len(pairs) == 1 and linear:
        a, b = (sums[:, 0] for sums in pairs[0].mean_sums())
        if by == "item" and pairs[0].seeds == (1, 1):
            return mcnemar_exact(a, b), "exact McNemar"
        return sign_flip_permutation(a - b), f"sign flip by {by}"
    from scipy.linalg import block_diag

    a, b = (block_diag(*sums) for sums in zip(*(pair.mean_sums() for pair in pairs), strict=True))
    return swap_permutation(a, b, _mean_statistic([pair.sums for pair in pairs])), f"swap by {by}"


def _mean_statistic(tasks: Sequence[ClusterSums]) -> Statistic:
    """The mean over tasks as a function of the sums of the tasks side by side, [sum C, sum k]."""

    def statistic(totals: Array) -> Array:
        values, start = [], 0
        for task in tasks:
            sets, width = task.sums.shape[2:]
            own = totals[..., start : start + sets * width]
            values.append(task.statistic(own.reshape(*own.shape[:-1], sets, width)))
            start += sets * width
        return np.asarray(np.mean(values, axis=0))

    return statistic


def p_of_intervals(a: Estimate, b: Estimate, *, exact: bool = False) -> float | None:
    """Two-sided p that two measured values are equal: a normal test on their (logarithmic) intervals.

    Args:
        a: a value with its interval.
        b: the other.
        exact: whether values without an interval are exact; they simply differ.

    Returns:
        None where a value, or the interval of one that is not exact, is not known.
    """
    if any(one.value is None or (one.low is None and not exact) for one in (a, b)):
        return None
    (x, x_spread, x_log), (y, y_spread, y_log) = (spread_of(one) for one in (a, b))
    if x_log != y_log:
        x, y = a.value or 0.0, b.value or 0.0
    spread = math.hypot(x_spread, y_spread)
    if spread == 0:
        return 1.0 if x == y else 0.0
    return math.erfc(abs(x - y) / spread / math.sqrt(2))


def spread_of(one: Estimate) -> tuple[float, float, bool]:
    """Centre and standard deviation of a measured value, and whether they are logarithms."""
    point, low, high = one.value or 0.0, one.low, one.high
    if low is None or high is None or low == high:
        return (math.log(point), 0.0, True) if point > 0 else (point, 0.0, False)
    if point > 0 and low > 0:
        return math.log(point), math.log(high / low) / (2 * 1.96), True
    return point, (high - low) / (2 * 1.96), False


@dataclass(frozen=True)
class Distinction:
    """Whether a candidate differs from the one that comes first.

    Attributes:
        apart: whether they differ; None where nothing was tested.
        p: after Holm's correction; None where nothing was tested or nothing is uncertain.
        reason: what there is instead of p.
        shared: whether both have one measurement, so that there is nothing to test.
    """

    apart: bool | None
    p: float | None = None
    reason: str = ""
    shared: bool = False

    def __str__(self) -> str:
        if self.apart is None:
            return self.reason
        why = self.reason if self.p is None else f"{say_p(self.p)} after Holm"
        return f"{'distinguishable' if self.apart else 'not distinguishable'} ({why})"


def format_p(p: float | None) -> str:
    """``0.031``; a small p is bounded, as resampling finds none that is smaller. A dash stands for none."""
    if p is None or math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def say_p(p: float) -> str:
    """``p = 0.031`` or ``p < 0.001``."""
    return f"p {format_p(p)}" if p < 0.001 else f"p = {format_p(p)}"
