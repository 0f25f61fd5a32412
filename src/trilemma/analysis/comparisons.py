"""Two candidates on the same items: difference, interval and paired test."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from trilemma.analysis.measures import GLUE_METRICS, Block, Measure, defined, find_measure, scored_by
from trilemma.analysis.panels import CLEAN, LEVELS, Panel, align, candidates, find_candidate, panels, stream
from trilemma.statistics import (
    Array,
    Sample,
    Statistic,
    holm,
    mcnemar_exact,
    sample,
    sign_flip_permutation,
    swap_permutation,
)

AVERAGE = "average"
"""The task name of a value aggregated over tasks."""

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two candidates, a and b, on the items that all seeds of both answered.

    With one seed each the test speaks of these two trained models. With several, p is the larger of the
    paired test on the items (answers averaged over seeds) and Welch's test over items and seeds, so
    that a lucky seed is no finding.

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
        verdict: ``a better``, ``b better``, ``not distinguishable`` or ``not measured: `` and the reason.
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
    verdict: str = ""


def compare(
    items: pd.DataFrame,
    a: str,
    b: str,
    *,
    metric: str = "robust_accuracy",
    tasks: Sequence[str] | None = None,
    official: Mapping[str, tuple[str, ...]] = GLUE_METRICS,
) -> list[Comparison]:
    """Compare two candidates by task and level, and on average over tasks.

    Args:
        items: the items table.
        a: a candidate's name (``model``, or ``model:adaptation``).
        b: the other's.
        metric: a name in :data:`~trilemma.analysis.measures.MEASURES`.
        tasks: compare on these tasks; by default on all.
        official: official metrics by task (accuracy where a task is not named), for the average.

    Returns:
        One comparison a task, benchmark and level, and one a benchmark and level for the average over
        tasks, which is what candidates are ranked by; it is left out where it would repeat the only task.
        Empty where no task has the metric: F1 and correlations are compared on the tasks whose official
        metrics they are.

    Raises:
        TrilemmaError: for an unknown candidate or metric.
    """
    known = candidates(items)
    names = find_candidate(known, a).name, find_candidate(known, b).name
    return _families(_compared(panels(items, tasks), *names, find_measure(metric), official))


def compare_all(
    items: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("accuracy", "robust_accuracy", "attack_success_rate"),
    tasks: Sequence[str] | None = None,
    official: Mapping[str, tuple[str, ...]] = GLUE_METRICS,
) -> list[Comparison]:
    """Compare all pairs of candidates; a family of tests then holds all pairs.

    The arguments are those of :func:`compare`.
    """
    known, read = [one.name for one in candidates(items)], panels(items, tasks)
    result = []
    for metric in metrics:
        measure = find_measure(metric)
        pairs = itertools.combinations(known, 2)
        result += _families([one for a, b in pairs for one in _compared(read, a, b, measure, official)])
    return result


def _families(compared: Sequence[Comparison]) -> list[Comparison]:
    """Adjust by Holm within each question, and give the verdicts."""
    result = list(compared)
    for question in {_question(one) for one in compared}:
        members = [index for index, one in enumerate(compared) if _question(one) == question]
        p_values = [np.nan if (p := compared[index].p) is None else p for index in members]
        adjusted, size = holm(p_values), int(np.sum(~np.isnan(p_values)))
        for index, p in zip(members, adjusted, strict=True):
            result[index] = _judged(compared[index], float(p), size)
    return result


def _question(one: Comparison) -> tuple[str, bool, bool]:
    """Which candidate is better over all, at which level, on which task, or on which task at which level."""
    return one.set, one.task == AVERAGE, one.level in (CLEAN, "all")


def _judged(one: Comparison, adjusted: float, family: int) -> Comparison:
    if one.p is None or one.difference is None:
        return replace(one, family=family)
    verdict = "not distinguishable"
    if adjusted < SIGNIFICANCE:
        higher = find_measure(one.metric).better == "higher" if not one.metric.endswith("_score") else True
        verdict = "a better" if (one.difference > 0) == higher else "b better"
    return replace(one, p_adjusted=adjusted, family=family, verdict=verdict)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both candidates on one task: what is needed for its own test and for the average over tasks."""

    block: Block
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
        sums = self.block.sums.reshape(*self.block.sums.shape[:2], -1)
        return sums[:, list(self.a_columns)].mean(1), sums[:, list(self.b_columns)].mean(1)


def _compared(
    read: Sequence[Panel], a: str, b: str, measure: Measure, official: Mapping[str, tuple[str, ...]]
) -> list[Comparison]:
    result = []
    own = [panel for panel in read if (panel.benchmark == CLEAN) == (measure.axis == "P")]
    for benchmark in dict.fromkeys(panel.benchmark for panel in own):
        by_task: dict[str, list[Panel]] = {}
        for panel in own:
            if panel.benchmark == benchmark:
                by_task.setdefault(panel.task, []).append(panel)
        for level in _levels([panel for sets in by_task.values() for panel in sets]):
            result += _at_level(by_task, a, b, measure, benchmark, level, official)
    return result


def _levels(sets: Sequence[Panel]) -> list[str]:
    present = {level for panel in sets for level in panel.levels}
    return [level for level in (CLEAN, "all", *LEVELS) if level in present]


def _at_level(
    by_task: Mapping[str, Sequence[Panel]],
    a: str,
    b: str,
    measure: Measure,
    benchmark: str,
    level: str,
    official: Mapping[str, tuple[str, ...]],
) -> list[Comparison]:
    """One level: each task that has it, then the average."""
    result, parts, lacking = [], [], []
    average = measure.name
    for task, sets in by_task.items():
        here = [panel for one in sets if len((panel := one.at(level)).gold)]
        own = official.get(task, ("accuracy",))
        if not here or not measure.belongs_to(own):
            continue
        blank = Comparison(a, b, measure.name, task, benchmark, level)
        pair = _pair(here, a, b, [measure])
        if isinstance(pair, _Pair):
            result.append(_tested(blank, [pair]))
        elif measure.name != "accuracy" or "not defined" not in pair:
            result.append(replace(blank, verdict=f"not measured: {pair}"))
        average, measures = scored_by(measure, benchmark, own)
        measures = defined(measures, here)
        part = pair if measures == [measure] else _pair(here, a, b, measures)
        if isinstance(part, _Pair):
            parts.append(part)
        elif _usable(here, measures):
            lacking.append(f"{part} for {task}")
    blank = Comparison(a, b, average, AVERAGE, benchmark, level)
    repeats = len(result) == 1 and parts == [pair]
    if lacking:
        result.append(replace(blank, verdict=f"not measured: {lacking[0]}"))
    elif parts and not repeats:
        result.append(_tested(blank, parts))
    return result


def _usable(sets: Sequence[Panel], measures: Sequence[Measure]) -> list[Panel]:
    """The sets on whose items all measures are defined, whoever answers them."""
    return [panel for panel in sets if not any(measure.missing(panel) for measure in measures)]


def _pair(sets: Sequence[Panel], a: str, b: str, measures: Sequence[Measure]) -> _Pair | str:
    """Both candidates on a task's sets; or why they cannot be compared."""
    usable = _usable(sets, measures)
    if not usable:
        return next(filter(None, (measure.missing(panel) for panel in sets for measure in measures)))
    aligned, groups = align(usable, [a, b])
    for name, group in zip((a, b), groups, strict=True):
        if not group:
            return f"{name} has no answers"
    if not all(len(panel.gold) for panel in aligned):
        return "no item that both answered"
    for reason in (measure.missing(panel) for panel in aligned for measure in measures):
        if reason:
            return f"{reason} of those that both answered"
    block = Block.of(aligned, measures)
    first, second = sample(block.sums, groups, block.statistic, shape=block.shape, seed=stream(usable[0]))
    if np.isnan(first.value) or np.isnan(second.value):
        return f"{measures[0].name} is undefined: no item counts"
    return _Pair(block, first, second, groups[0], groups[1], sum(len(panel.gold) for panel in aligned))


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
        clusters=sum(len(pair.block.sums) for pair in pairs),
        seeds=(min(pair.seeds[0] for pair in pairs), min(pair.seeds[1] for pair in pairs)),
        test=test,
    )


def _paired_test(pairs: Sequence[_Pair], by: str) -> tuple[float, str]:
    block = pairs[0].block
    linear = len(block.measures) == 1 and block.measures[0].linear and block.sums.shape[2] == 1
    if len(pairs) == 1 and linear:
        a, b = (sums[:, 0] for sums in pairs[0].mean_sums())
        if by == "item" and pairs[0].seeds == (1, 1):
            return mcnemar_exact(a, b), "exact McNemar"
        return sign_flip_permutation(a - b), f"sign flip by {by}"
    a, b = (_side_by_side(sums) for sums in zip(*(pair.mean_sums() for pair in pairs), strict=True))
    return swap_permutation(a, b, _mean_statistic([pair.block for pair in pairs])), f"swap by {by}"


def _side_by_side(sums: Sequence[Array]) -> Array:
    """Block-diagonal matrix of the tasks' sums, [sum C, sum k]."""
    result = np.zeros((sum(len(one) for one in sums), sum(one.shape[1] for one in sums)))
    row = column = 0
    for one in sums:
        result[row : row + len(one), column : column + one.shape[1]] = one
        row, column = row + len(one), column + one.shape[1]
    return result


def _mean_statistic(blocks: Sequence[Block]) -> Statistic:
    """The mean over tasks as a function of the sums that :func:`_side_by_side` lays out."""

    def statistic(totals: Array) -> Array:
        values, start = [], 0
        for block in blocks:
            sets, width = block.sums.shape[2:]
            own = totals[..., start : start + sets * width]
            values.append(block.statistic(own.reshape(*own.shape[:-1], sets, width)))
            start += sets * width
        return np.asarray(np.mean(values, axis=0))

    return statistic
