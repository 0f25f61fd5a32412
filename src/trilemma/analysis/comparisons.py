"""Whether two candidates differ on a metric: difference, interval and the p of a test.

What is computed from items is tested on the items that both answered (:class:`Comparisons`), measured
efficiency round by round or by the recorded intervals (:func:`p_of_measurements`). Which of these p a verdict
or a decision shows is chosen by :meth:`trilemma.analysis.evidence.Evidence.adjusted_p`.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from trilemma.analysis.answers import ATTACKS, CLEAN, LEVELS, AnswerMatrix, align, answer_matrices
from trilemma.analysis.candidates import candidates, find_candidate
from trilemma.analysis.item_metrics import ClusterSums, ItemMetric, item_metric, scored_by, usable
from trilemma.analysis.seed_noise import SeedNoise
from trilemma.metrics import METRICS
from trilemma.records import AVERAGE
from trilemma.statistics.intervals import Sample
from trilemma.statistics.paired_tests import (
    holm,
    mcnemar_exact,
    sign_flip_permutation,
    swap_permutation,
)
from trilemma.statistics.seeds import SeedVariance
from trilemma.statistics.sums import Array, Statistic

SIGNIFICANCE = 0.05
"""Two candidates are called distinguishable below this p, corrected for the study's other tests."""

FAMILY = ("accuracy", "robust_accuracy", "attack_success_rate")
"""The metrics whose tests are the study's family."""

RANKED = ("accuracy", "robust_accuracy")
"""The metrics by whose averages candidates are ranked."""

HEADLINE_SHARE = 0.5
"""The share of the error that averages over tasks and levels may spend; all other tests have the rest."""

ApartVerdict = Literal["a better", "b better", "equivalent", "not distinguishable", "not measured"]


@dataclass(frozen=True)
class Comparison:
    """Two candidates, a and b, on the items that all seeds of both answered.

    With one seed each the test speaks of these two trained models. With several, p is the larger of the
    paired test on the items (answers averaged over seeds) and Welch's test over items and seeds, so
    that a lucky seed is not a finding; what a seed adds is learnt from all cells of the study.

    Attributes:
        a: a candidate's name.
        b: the other's.
        metric: e.g. ``robust_accuracy``; ``glue_score`` or ``advglue_score`` for the average over tasks.
        task: task name, or ``average``; several sets of a task (MNLI) are averaged.
        set: ``clean``, or the adversarial benchmark: ``advglue``, ``anli``, another set's name.
        level: ``clean``, ``all``, ``word``, ``sentence``, ``human`` or ``unknown``. Items of one level are
            compared once, under its name.
        a_value: a's value, the mean over its seeds; None where not measured.
        b_value: b's.
        difference: a - b.
        low: lower 95% limit of the difference (not adjusted for the family).
        high: upper limit.
        p: two-sided p of the paired test; None where nothing was tested.
        p_adjusted: Holm's, over all tests of the study (:data:`FAMILY`; another metric's are a family of
            their own), so that the chance of any false finding in the study is at most 5%. The averages over
            tasks and levels, by which candidates are ranked, may spend half of it.
        detectable: the smallest difference that the test would have found with 80% power.
        margin: differences up to this are of no matter; 0 where the study names none.
        p_equivalent: adjusted p of a difference as large as the margin (two one-sided tests); None without
            one.
        no_worse: which of a and b is no worse than the other by more than the margin: ``a``, ``b`` or "".
        n: items.
        clusters: independent sources of the items.
        seeds: seeds of a and of b (the smallest number, for an average).
        family: number of tests in the family.
        test: what was computed.
        verdict: ``a better``, ``b better``, ``equivalent`` within the margin, ``not distinguishable`` or
            ``not measured``.
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
    detectable: float | None = None
    margin: float = 0.0
    p_equivalent: float | None = None
    no_worse: str = ""
    n: int = 0
    clusters: int = 0
    seeds: tuple[int, int] = (0, 0)
    family: int = 0
    test: str = ""
    verdict: ApartVerdict = "not measured"
    reason: str = ""

    def turned(self) -> "Comparison":
        """The same with a and b exchanged."""
        other: dict[str, ApartVerdict] = {"a better": "b better", "b better": "a better"}
        return replace(
            self,
            a=self.b,
            b=self.a,
            a_value=self.b_value,
            b_value=self.a_value,
            difference=_negative(self.difference),
            low=_negative(self.high),
            high=_negative(self.low),
            no_worse={"a": "b", "b": "a"}.get(self.no_worse, ""),
            seeds=self.seeds[::-1],
            verdict=other.get(self.verdict, self.verdict),
        )


def _negative(number: float | None) -> float | None:
    return None if number is None else -number


class Comparisons:
    """All paired tests of a study, computed once.

    Args:
        matrices: all sets of the study.
        official: official metrics by task, for the average; accuracy where a task is not named.
        noise: what a training seed adds to each metric.
        margins: by metric, differences that are of no matter.
    """

    def __init__(
        self,
        matrices: Sequence[AnswerMatrix],
        official: Mapping[str, tuple[str, ...]],
        noise: SeedNoise,
        margins: Mapping[str, float] | None = None,
    ) -> None:
        self._matrices, self._official, self._noise = matrices, official, noise
        self._margins = margins or {}
        self._others: dict[str, list[Comparison]] = {}

    @cached_property
    def study(self) -> list[Comparison]:
        """The study's family: every pair of candidates, by metric, benchmark, level and task."""
        return _judged([one for name in FAMILY for one in self._tested(item_metric(name))])

    def of(self, metric: str) -> list[Comparison]:
        """All pairs on one metric: of the study's family, or else a family of their own.

        Empty where no task has the metric: F1 and correlations are compared on the tasks whose official
        metrics they are.

        Raises:
            TrilemmaError: if the metric is not computed from items.
        """
        name = item_metric(metric).name
        if name in FAMILY:
            names = {name, METRICS[name].average}
            return [one for one in self.study if one.metric in names]
        if name not in self._others:
            self._others[name] = _judged(list(self._tested(item_metric(name))))
        return self._others[name]

    def between(self, a: str, b: str, metric: str) -> list[Comparison]:
        """Two candidates on one metric, with the study's correction.

        Args:
            a: a candidate's name.
            b: the other's.
            metric: a name in :data:`~trilemma.analysis.item_metrics.ITEM_METRICS`.

        Returns:
            One comparison for each task, benchmark and level, and one for each benchmark and level for the
            average over tasks, which is what candidates are ranked by; it is left out where it would repeat
            the only task.
        """
        own = [one for one in self.of(metric) if {one.a, one.b} == {a, b}]
        return [one if one.a == a else one.turned() for one in own]

    def _tested(self, metric: ItemMetric) -> Iterator["_Tested"]:
        own = [m for m in self._matrices if (m.benchmark == CLEAN) == (metric.metric.axis == "P")]
        names = list(dict.fromkeys(str(name) for matrix in self._matrices for name in matrix.candidate))
        for benchmark in dict.fromkeys(matrix.benchmark for matrix in own):
            here = [matrix for matrix in own if matrix.benchmark == benchmark]
            for level in distinct_levels(here):
                if benchmark == ATTACKS and len({one.set for one in here if level in one.levels}) < 2:
                    continue  # it is tested as that attack's
                question = _Question(metric, benchmark, level, self._official, self._noise, self._margins)
                yield from question.tested(here, names)


def distinct_levels(sets: Sequence[AnswerMatrix]) -> list[str]:
    """The levels of a benchmark, ``all`` first, which is left out where it would be the only level again."""
    present = {level for matrix in sets for level in matrix.levels}
    found = [level for level in (CLEAN, "all", *LEVELS) if level in present]
    return found[1:] if len(found) == 2 and found[0] == "all" else found


def compare(
    items: pd.DataFrame,
    a: str,
    b: str,
    *,
    metric: str = "robust_accuracy",
    official: Mapping[str, tuple[str, ...]] | None = None,
    margins: Mapping[str, float] | None = None,
) -> list[Comparison]:
    """Compare two candidates of a study, as :meth:`Comparisons.between` says.

    Args:
        items: the items table of the whole study.
        a: a candidate's name (``model``, or ``model:adaptation``).
        b: the other's.
        metric: what is compared.
        official: official metrics by task, for the average; accuracy where a task is not named.
        margins: by metric, differences that are of no matter.

    Raises:
        TrilemmaError: for an unknown candidate or metric.
    """
    known, matrices = candidates(items), answer_matrices(items)
    pair = find_candidate(known, a).name, find_candidate(known, b).name
    return Comparisons(matrices, official or {}, SeedNoise(matrices), margins).between(*pair, metric)


@dataclass(frozen=True, eq=False)
class _Tested:
    """A comparison before the correction.

    Attributes:
        comparison: without a verdict.
        difference: a - b; None where nothing was tested.
        headline: whether candidates are ranked by it.
    """

    comparison: Comparison
    difference: Sample | None = None
    headline: bool = False


def _judged(tested: Sequence[_Tested]) -> list[Comparison]:
    """Adjust over the family, and give the verdicts.

    Holm's procedure with weights; equivalence is claimed by Bonferroni's with the same weights, so that the
    chance of any false equivalence, too, is at most 5%.
    """
    headline = np.array([one.headline for one in tested], dtype=bool)
    p = np.array([np.nan if (p := one.comparison.p) is None else p for one in tested])
    known = ~np.isnan(p)
    shares = np.zeros(len(tested))
    for group, share in ((known & headline, HEADLINE_SHARE), (known & ~headline, 1 - HEADLINE_SHARE)):
        shares[group] = share / max(group.sum(), 1)
    shares /= shares.sum() or 1.0
    adjusted = holm(p, np.where(shares > 0, shares, 1.0))
    left = shares[known & ~(adjusted < SIGNIFICANCE)].sum()
    result = []
    for one, share, own in zip(tested, shares, adjusted, strict=True):
        comparison = replace(one.comparison, family=int(known.sum()))
        if one.difference is not None:
            spent = SIGNIFICANCE * share / left if own >= SIGNIFICANCE else SIGNIFICANCE * share
            comparison = _with_verdict(comparison, one.difference, float(own), float(share), float(spent))
        result.append(comparison)
    return result


def _with_verdict(
    one: Comparison, difference: Sample, adjusted: float, share: float, alpha: float
) -> Comparison:
    """A comparison with what its test says, and what it could have said.

    Args:
        one: before.
        difference: a - b.
        adjusted: the p after the correction.
        share: of the error that the test may spend.
        alpha: the p below which the test would have found a difference.
    """
    higher = METRICS[one.metric].better == "higher"
    verdict: ApartVerdict = "not distinguishable"
    equivalent, no_worse = None, ""
    if one.margin > 0:
        equivalent = min(1.0, difference.p_beyond(one.margin) / share)
        verdict = "equivalent" if equivalent < SIGNIFICANCE else verdict
        up, down = (sample.p_below(one.margin) / share < SIGNIFICANCE for sample in (difference, -difference))
        no_worse = ("a" if up == higher else "b") if up != down else ""
    if adjusted < SIGNIFICANCE:
        verdict = "a better" if (difference.value > 0) == higher else "b better"
    return replace(
        one,
        p_adjusted=adjusted,
        detectable=min(1.0, difference.detectable(alpha)),
        p_equivalent=equivalent,
        no_worse=no_worse,
        verdict=verdict,
    )


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
        whole = self.sums.sums
        sums = whole.reshape(*whole.shape[:2], math.prod(whole.shape[2:]))
        return sums[:, list(self.a_columns)].mean(1), sums[:, list(self.b_columns)].mean(1)


@dataclass(frozen=True, eq=False)
class _Question:
    """What is asked of each pair of candidates: one metric at one level of a benchmark.

    Attributes:
        metric: what is compared.
        benchmark: ``clean``, or an adversarial benchmark.
        level: ``clean``, ``all`` or a level of attack.
        official: official metrics by task.
        noise: what a training seed adds.
        margins: by metric, differences that are of no matter.
    """

    metric: ItemMetric
    benchmark: str
    level: str
    official: Mapping[str, tuple[str, ...]]
    noise: SeedNoise
    margins: Mapping[str, float]

    def tested(self, sets: Sequence[AnswerMatrix], names: Sequence[str]) -> Iterator[_Tested]:
        """Every pair of candidates on each task that has the level, then on average over tasks."""
        metric, rules = self.metric, self._rules(sets)
        own = self.noise.everywhere(metric, self.benchmark, self.level)
        whole = self.noise.of(rules, self.benchmark, self.level)
        tasks = []
        for task, here in self._by_task(sets).items():
            alone = _Resampled.of(here, names, [metric], own)
            scored = alone if rules[task] == [metric] else _Resampled.of(here, names, rules[task], whole)
            tasks.append((task, here, alone, scored))
        for a, b in itertools.combinations(names, 2):
            yield from self._pair(sets, tasks, a, b)

    def _pair(
        self,
        sets: Sequence[AnswerMatrix],
        tasks: Sequence[tuple[str, list[AnswerMatrix], "_Resampled", "_Resampled"]],
        a: str,
        b: str,
    ) -> list[_Tested]:
        result, parts, lacking = [], [], []
        metric, average = self.metric, self.metric.name
        for task, here, alone, scored in tasks:
            pair, blank = alone.pair(a, b), self._blank(a, b, metric.name, task)
            # Items of one level are compared once: as all of the task's.
            again = self.level not in (CLEAN, "all") and self._only_level(sets, task)
            if isinstance(pair, _Pair) and not again:
                result.append(_tested(blank, [pair]))
            elif isinstance(pair, str) and (
                metric.name != "accuracy" or any(metric.defined_for(matrix) for matrix in here)
            ):
                result.append(_Tested(replace(blank, reason=pair)))
            average = scored_by(metric, self.benchmark, self._official(task), here)[0]
            part = pair if scored is alone else scored.pair(a, b)
            if isinstance(part, _Pair):
                parts.append(part)
            elif usable(here, scored.metrics):
                lacking.append(f"{part} for {task}")
        blank = self._blank(a, b, average, AVERAGE)
        repeats = len(result) == 1 and len(parts) == 1 and tasks[-1][2] is tasks[-1][3]
        if lacking:
            result.append(_Tested(replace(blank, reason=lacking[0])))
        elif parts and not repeats:
            result.append(_tested(blank, parts))
        ranked = metric.name in RANKED and self.level == distinct_levels(sets)[0]
        return [*result[:-1], *(replace(last, headline=ranked and not lacking) for last in result[-1:])]

    def _blank(self, a: str, b: str, metric: str, task: str) -> Comparison:
        margin = self.margins.get(self.metric.name, 0.0)
        return Comparison(a, b, metric, task, self.benchmark, self.level, margin=margin)

    def _official(self, task: str) -> tuple[str, ...]:
        return self.official.get(task, ("accuracy",))

    def _by_task(self, sets: Sequence[AnswerMatrix]) -> dict[str, list[AnswerMatrix]]:
        """The items at the level of each task that is scored by the metric."""
        found: dict[str, list[AnswerMatrix]] = {}
        for one in sets:
            here = one.at(self.level)
            if len(here.gold) and self.metric.belongs_to(self._official(one.task)):
                found.setdefault(one.task, []).append(here)
        return found

    def _rules(self, sets: Sequence[AnswerMatrix]) -> dict[str, list[ItemMetric]]:
        """By task the metrics whose mean is its score."""
        by_task = self._by_task(sets).items()
        return {
            task: scored_by(self.metric, self.benchmark, self._official(task), here)[1]
            for task, here in by_task
        }

    def _only_level(self, sets: Sequence[AnswerMatrix], task: str) -> bool:
        """Whether all items of a task are of this level, while other tasks have others."""
        return len(distinct_levels(sets)) > 1 and all(
            (one.level == self.level).all() for one in sets if one.task == task
        )


@dataclass(frozen=True, eq=False)
class _Resampled:
    """A task's sets at a level, resampled once for all candidates where all answered the same items.

    Attributes:
        sets: the sets on whose items the metrics are defined.
        metrics: what is averaged.
        noise: what a training seed adds.
        missing: why nothing can be measured; "" where it can.
        sums: of all candidates; None where they answered different items.
        samples: by candidate its sample and its columns.
        n: items.
    """

    sets: Sequence[AnswerMatrix]
    metrics: Sequence[ItemMetric]
    noise: SeedVariance
    missing: str = ""
    sums: ClusterSums | None = None
    samples: Mapping[str, tuple[Sample, Sequence[int]]] = field(default_factory=dict)
    n: int = 0

    @staticmethod
    def of(
        sets: Sequence[AnswerMatrix], names: Sequence[str], metrics: Sequence[ItemMetric], noise: SeedVariance
    ) -> "_Resampled":
        """Resample the candidates that answered all sets, if they answered the same items."""
        measured = usable(sets, metrics)
        if not measured:
            reasons = (metric.missing(matrix) for matrix in sets for metric in metrics)
            return _Resampled(sets, metrics, noise, next(filter(None, reasons)))
        answered = [name for name in names if all(matrix.of(name) for matrix in measured)]
        aligned, groups = align(measured, answered)
        lost = any(len(one.gold) < len(matrix.gold) for one, matrix in zip(aligned, measured, strict=True))
        undefined = any(metric.missing(matrix) for matrix in aligned for metric in metrics)
        if len(answered) < 3 or lost or undefined or not all(groups):
            return _Resampled(measured, metrics, noise)
        sums = ClusterSums.of(aligned, metrics)
        samples = zip(sums.samples(groups, noise), groups, strict=True)
        items = sum(len(matrix.gold) for matrix in aligned)
        return _Resampled(
            measured, metrics, noise, "", sums, dict(zip(answered, samples, strict=True)), items
        )

    def pair(self, a: str, b: str) -> _Pair | str:
        """Both candidates; or why they cannot be compared."""
        if self.missing:
            return self.missing
        if self.sums is not None and a in self.samples and b in self.samples:
            return self._checked(self.sums, self.samples[a], self.samples[b], self.n)
        aligned, groups = align(self.sets, [a, b])
        for name, group in zip((a, b), groups, strict=True):
            if not group:
                return f"{name} has no answers"
        if not all(len(matrix.gold) for matrix in aligned):
            return "no item that both answered"
        for reason in (metric.missing(matrix) for matrix in aligned for metric in self.metrics):
            if reason:
                return f"{reason} of those that both answered"
        sums = ClusterSums.of(aligned, self.metrics)
        first, second = zip(sums.samples(groups, self.noise), groups, strict=True)
        return self._checked(sums, first, second, sum(len(matrix.gold) for matrix in aligned))

    def _checked(
        self, sums: ClusterSums, a: tuple[Sample, Sequence[int]], b: tuple[Sample, Sequence[int]], n: int
    ) -> _Pair | str:
        if np.isnan(a[0].value) or np.isnan(b[0].value):
            return f"{self.metrics[0].name} is undefined: no item counts"
        return _Pair(sums, a[0], b[0], a[1], b[1], n)


def _tested(blank: Comparison, pairs: Sequence[_Pair]) -> _Tested:
    """Difference, interval and p of one task, or of the mean over several."""
    difference = Sample.mean([pair.a - pair.b for pair in pairs])
    low, high = difference.interval()
    p, test = _paired_test(pairs, by="item" if blank.set == CLEAN else "origin")
    if difference.seeds.degrees:
        p, test = max(p, difference.p()), f"{test}, and Welch over items and seeds"
    tested = replace(
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
    return _Tested(tested, difference)


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


@dataclass(frozen=True)
class Distinction:
    """Whether a candidate differs from the one that comes first.

    Attributes:
        apart: whether they differ; None where nothing was tested.
        p: after Holm's correction; None where nothing was tested or nothing is uncertain.
        reason: what there is instead of p.
        shared: whether both have one measurement, so that there is nothing to test.
        as_good: whether they are equal, or equivalent within the study's margin.
        detectable: the smallest difference that the test would have found with 80% power.
    """

    apart: bool | None
    p: float | None = None
    reason: str = ""
    shared: bool = False
    as_good: bool = False
    detectable: float | None = None

    def __str__(self) -> str:
        if self.apart is None:
            return self.reason
        why = self.reason if self.p is None else f"{say_p(self.p)} after Holm"
        if self.apart:
            return f"distinguishable ({why})"
        could = would_find([self])
        return f"{'equivalent' if self.as_good else 'not distinguishable'} ({why}{could and f'; {could}'})"


def would_find(undecided: Sequence[Distinction]) -> str:
    """``a difference of 8.2 points would have been found``, of tests that found none; "" if not known."""
    known = [one.detectable for one in undecided if one.detectable is not None]
    return f"a difference of {100 * max(known):.1f} points would have been found" if known else ""


def format_p(p: float | None) -> str:
    """``0.031``; a small p is bounded, as resampling finds none that is smaller. A dash stands for none."""
    if p is None or math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def say_p(p: float) -> str:
    """``p = 0.031`` or ``p < 0.001``."""
    return f"p {format_p(p)}" if p < 0.001 else f"p = {format_p(p)}"
