"""A study's two tables as evidence: values, bootstrap draws and tests of any metric between candidates.

Performance and robustness are resampled and tested on the items that all candidates answered, measured
efficiency by the intervals in the records. How a p is computed is in :mod:`trilemma.analysis.comparisons`.
"""

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd

from trilemma.analysis.answers import (
    CLEAN,
    LEADERBOARDS,
    AnswerMatrix,
    align,
    answer_matrices,
    benchmark_of,
)
from trilemma.analysis.candidates import Candidate, candidate_names, candidates
from trilemma.analysis.comparisons import (
    SIGNIFICANCE,
    Comparison,
    Distinction,
    compare_all,
    p_of_intervals,
    spread_of,
)
from trilemma.analysis.item_metrics import (
    ITEM_METRICS,
    OFFICIAL,
    ClusterSums,
    item_metric,
    scored_by,
    usable,
)
from trilemma.analysis.lookup import Estimate, benchmark, estimate, here, meaningless_tasks, training_points
from trilemma.metrics import AGGREGATED, METRICS, Metric, score_title
from trilemma.operating_point import OperatingPoint
from trilemma.records import AVERAGE
from trilemma.statistics.intervals import Sample
from trilemma.statistics.paired_tests import holm
from trilemma.statistics.resampling import FRONT_DRAWS
from trilemma.statistics.sums import Array

NO_SKILL: Final = "no skill"
"""What a candidate has that is not distinguishably above the majority class: its robustness means nothing."""


@dataclass(frozen=True)
class Draws:
    """A metric's point estimate and bootstrap draws [draws]; draws of two candidates are paired."""

    point: float
    draws: Array


class Evidence:
    """The two tables, and what is computed from them once.

    Args:
        records: the records table.
        items: the items table; without it nothing that is computed from items is resampled or tested.
        at: the operating point at which efficiency is read.
    """

    def __init__(
        self, records: pd.DataFrame, items: pd.DataFrame | None = None, at: OperatingPoint | None = None
    ) -> None:
        self.records, self.at = records, at or OperatingPoint()
        self.items = pd.DataFrame() if items is None else items
        self._estimates: dict[tuple[Metric, Candidate, str | None], Estimate] = {}
        self._samples: dict[tuple[Metric, str], dict[str, Sample]] = {}
        self._comparisons: dict[str, list[Comparison]] = {}
        self._interval_tests: dict[Metric, dict[frozenset[str], float]] = {}

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The study's candidates in its order."""
        return candidates(self.records)

    @cached_property
    def benchmark(self) -> str:
        """The adversarial benchmark that stands for robustness."""
        return benchmark(self.records)

    @cached_property
    def official(self) -> dict[str, tuple[str, ...]]:
        """Each task's official metrics."""
        return official_metrics(self.records)

    @cached_property
    def _measured(self) -> dict[str, pd.DataFrame]:
        """By model, what was measured over all seeds."""
        records = here(self.records)
        whole = records[records["seed"].isna() | (records["axis"] == "E")]
        return {str(model): rows for model, rows in whole.groupby("model", sort=False)}

    @cached_property
    def _training_points(self) -> dict[str, OperatingPoint]:
        return training_points(here(self.records), self.at)

    @cached_property
    def _matrices(self) -> list[AnswerMatrix]:
        return answer_matrices(self.items) if len(self.items) else []

    @cached_property
    def _answered_as(self) -> dict[tuple[str, str], str]:
        """Model and adaptation to the name under which the items hold their answers."""
        return candidate_names(self.items) if len(self.items) else {}

    def estimate(self, metric: Metric, candidate: Candidate, level: str | None = None) -> Estimate:
        """The recorded value; where the records hold no interval, the bootstrap's."""
        key = metric, candidate, level
        if key not in self._estimates:
            self._estimates[key] = self._estimate(metric, candidate, level)
        return self._estimates[key]

    def _estimate(self, metric: Metric, candidate: Candidate, level: str | None) -> Estimate:
        own = self._measured.get(candidate.model)
        if own is None:
            return Estimate(None)
        elsewhere = self._training_points.get(metric.name) if metric.phase_at(self.at) == "train" else None
        found = estimate(own, candidate, metric, self.at, level, self.benchmark, elsewhere)
        if not _from_items(metric) or (found.value is not None and found.low is not None):
            return found
        drawn = self._sample(metric, candidate, level or "all")
        if drawn is None:
            return found
        low, high = drawn.interval()
        if found.value is None:
            return Estimate(drawn.value, low, high, confidence=0.95)
        return replace(found, low=low, high=high, confidence=0.95)

    def tasks(self, metric: Metric) -> tuple[str, ...]:
        """The tasks that a candidate's value of ``metric`` is the mean over; none on axis E."""
        if not _from_items(metric):
            return ()
        name = AGGREGATED.get(metric.name, metric.name)
        names = OFFICIAL if name == "accuracy" else (name,)
        rows = self.records[self.records["metric"].isin(names) & self.records["value"].notna()]
        rows = rows[~rows["task"].isin(["", AVERAGE]) & (rows["axis"] == metric.axis)]
        if metric.axis == "R":
            rows = rows[rows["set"].map(benchmark_of) == self.benchmark]
        return tuple(dict.fromkeys(rows["task"]))

    def title(self, metric: Metric) -> str:
        """What a reader calls the values of ``metric``: a score where they are not accuracy alone."""
        official = [self.official.get(task, ("accuracy",)) for task in self.tasks(metric)]
        by_the_rule = metric.axis != "R" or self.benchmark in LEADERBOARDS
        return score_title(metric, official) if by_the_rule else metric.title

    @cached_property
    def _meaningless(self) -> dict[tuple[str, str, str], tuple[str, ...]]:
        return meaningless_tasks(self.records)

    def meaningless_on(self, candidate: Candidate) -> tuple[str, ...]:
        """The attacked tasks on which the candidate's robustness means nothing: it has not learnt them."""
        return self._meaningless.get((candidate.model, candidate.adaptation, self.benchmark), ())

    def without_skill(self, *, attacked: bool = False) -> frozenset[str]:
        """The candidates that are not distinguishably above the majority class on any task.

        Args:
            attacked: on any task that is attacked; a task that is not may show skill.
        """
        tasks = set(self.tasks(METRICS["robust_accuracy"]))
        if tasks and not attacked:
            tasks |= set(self.tasks(METRICS["accuracy"]))
        return frozenset(
            candidate.name
            for candidate in self.candidates
            if tasks and tasks <= set(self.meaningless_on(candidate))
        )

    def with_skill(self, among: Sequence[Candidate], *, attacked: bool = False) -> list[Candidate]:
        """Those that may be called best, in their order."""
        lacking = self.without_skill(attacked=attacked)
        return [candidate for candidate in among if candidate.name not in lacking]

    def draws(self, metric: Metric, candidate: Candidate, level: str = "all") -> Draws | None:
        """The candidate's draws of ``metric``; None where its uncertainty is not known.

        That is: performance or robustness that was not measured on every task and set, and efficiency that
        was measured and has no interval. Exact counts do not vary.

        Items are drawn by cluster, the same for every candidate; to each draw comes the candidate's own
        variation between training seeds, where it has several.

        Args:
            metric: which metric; over tasks it is aggregated as in the records.
            candidate: whose.
            level: ``all`` or one level of attack, on axis R.
        """
        if not _from_items(metric):
            return self._draws_of_interval(metric, candidate)
        found = self._sample(metric, candidate, level)
        if found is None:
            return None
        between_seeds = math.sqrt(sum(variance for variance, _ in found.terms))
        noise = _generator("seeds", metric.name, candidate.name).standard_normal(len(found.draws))
        return Draws(found.value, found.draws + between_seeds * noise)

    def _draws_of_interval(self, metric: Metric, candidate: Candidate) -> Draws | None:
        """Draws from a log-normal (normal, where a limit is not positive) with the recorded interval."""
        found = self.estimate(metric, candidate)
        if found.value is None or (found.low is None and not metric.exact):
            return None
        centre, spread, logarithmic = spread_of(found)
        # Candidates of one shape share their measurement, and with it what is uncertain about it.
        noise = _generator("efficiency", metric.name, repr(found.value)).standard_normal(FRONT_DRAWS)
        draws = centre + spread * noise
        return Draws(found.value, np.exp(draws) if logarithmic else draws)

    def _sample(self, metric: Metric, candidate: Candidate, level: str) -> Sample | None:
        """The candidate's paired sample; None where it did not answer all sets or has no value on them."""
        key = metric, level
        if key not in self._samples:
            self._samples[key] = self._resample(metric, level)
        name = self._answered_as.get((candidate.model, candidate.adaptation), "")
        found = self._samples[key].get(name)
        return None if found is None or math.isnan(found.value) else found

    def _resample(self, metric: Metric, level: str) -> dict[str, Sample]:
        """Paired samples of every candidate that answered all sets, aggregated over tasks."""
        computed = item_metric(metric.name)
        wanted = CLEAN if metric.axis == "P" else self.benchmark
        own = [matrix for matrix in self._matrices if matrix.benchmark == wanted]
        keys = ((one.model, one.adaptation) for one in self.candidates)
        answered = dict.fromkeys(self._answered_as[key] for key in keys if key in self._answered_as)
        names = [name for name in answered if own and all(matrix.of(name) for matrix in own)]
        by_task: dict[str, list[AnswerMatrix]] = {}
        for matrix in own:
            by_task.setdefault(matrix.task, []).append(matrix.at(level if wanted != CLEAN else CLEAN))
        parts = []
        for task, sets in by_task.items():
            official = self.official.get(task, ("accuracy",))
            present = [matrix for matrix in sets if len(matrix.gold)]
            _, averaged = scored_by(computed, wanted, official, present)
            if (measured := usable(present, averaged)) and computed.belongs_to(official):
                aligned, groups = align(measured, names)
                parts.append(ClusterSums.of(aligned, averaged).samples(groups, FRONT_DRAWS))
        if not parts:
            return {}
        return {name: Sample.mean([part[i] for part in parts]) for i, name in enumerate(names)}

    def comparisons(self, metric: str) -> list[Comparison]:
        """Paired comparisons of all candidates on one metric that is computed from items."""
        if metric not in self._comparisons:
            known = len(self.items)
            self._comparisons[metric] = (
                compare_all(self.items, metric=metric, official=self.official) if known else []
            )
        return self._comparisons[metric]

    def adjusted_p(
        self, metric: Metric, a: Candidate, b: Candidate, level: str | None = None
    ) -> float | None:
        """Two-sided p that two candidates do not differ, after Holm; None where it cannot be tested.

        The family holds all pairs of candidates, as in the table of comparisons: which of them comes first
        is itself found in the data. Performance and robustness: the paired test of what is ranked, the
        average over tasks, also where there is one task. Efficiency: a normal test on the (logarithmic)
        recorded intervals; exact values simply differ.
        """
        if not _from_items(metric):
            if metric not in self._interval_tests:
                self._interval_tests[metric] = self._test_intervals(metric)
            return self._interval_tests[metric].get(frozenset((a.name, b.name)))
        pair = {self._answered_as.get((one.model, one.adaptation), "") for one in (a, b)}
        compared = self.comparisons(AGGREGATED.get(metric.name, metric.name))
        where = (CLEAN, CLEAN) if metric.axis == "P" else (self.benchmark, level or "all")
        here = [c for c in compared if {c.a, c.b} == pair and (c.set, c.level) == where]
        average = [c for c in here if c.task == AVERAGE]
        chosen = average or (here if len(here) == 1 else [])
        return chosen[0].p_adjusted if chosen else None

    def _test_intervals(self, metric: Metric) -> dict[frozenset[str], float]:
        """Holm-adjusted p of all pairs of candidates that can be tested, each measurement once."""
        distinct: list[list[Candidate]] = []
        for one in self.candidates:
            if not (same := [group for group in distinct if self.shared(metric, group[0], one)]):
                distinct += (same := [[]])
            same[0].append(one)
        pairs = list(itertools.combinations(distinct, 2))
        estimates = [[self.estimate(metric, one[0]) for one in pair] for pair in pairs]
        found = [p_of_intervals(*pair, exact=metric.exact) for pair in estimates]
        tested = [(pair, p) for pair, p in zip(pairs, found, strict=True) if p is not None]
        adjusted = holm([p for _, p in tested])
        return {
            frozenset((one.name, other.name)): float(p)
            for ((a, b), _), p in zip(tested, adjusted, strict=True)
            for one, other in itertools.product(a, b)
        }

    def shared(self, metric: Metric, a: Candidate, b: Candidate) -> bool:
        """Whether two candidates have one measurement: equal shapes, or forms of one adapted model."""
        if _from_items(metric):
            return (a.model, a.adaptation) == (b.model, b.adaptation)
        if metric.exact:
            return False
        values = [self.estimate(metric, candidate) for candidate in (a, b)]
        first, second = ((one.value, one.low, one.high, one.n) for one in values)
        return first == second and None not in first[:3]

    def distinguish(
        self, metric: Metric, first: Candidate, others: Sequence[Candidate], level: str | None = None
    ) -> list[Distinction]:
        """``first`` held against each of the others, Holm-adjusted over all pairs of candidates."""
        return [self._distinguish(metric, first, other, level) for other in others]

    def _distinguish(
        self, metric: Metric, first: Candidate, other: Candidate, level: str | None
    ) -> Distinction:
        if metric.exact:
            values = [self.estimate(metric, candidate).value for candidate in (first, other)]
            return Distinction(values[0] != values[1], reason="exact")
        if self.shared(metric, first, other):
            return Distinction(False, reason="one measurement for both", shared=True)
        p = self.adjusted_p(metric, first, other, level)
        if p is not None:
            return Distinction(p < SIGNIFICANCE, p)
        return Distinction(None, reason="not tested" if _from_items(metric) else "not tested: no interval")


def official_metrics(records: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Each task's official metrics: those recorded on axis P, or if there are none those on axis R."""
    found: dict[str, tuple[str, ...]] = {}
    official = {name: one.official for name, one in ITEM_METRICS.items()}
    for axis in ("P", "R"):
        rows = records[(records["axis"] == axis) & (records["task"] != AVERAGE)]
        rows = rows.assign(metric=rows["metric"].map(official))
        by_task = rows[rows["metric"].isin(OFFICIAL)].groupby("task", sort=False)["metric"].unique()
        for task, own in by_task.items():
            found.setdefault(str(task), tuple(name for name in OFFICIAL if name in set(own)))
    return found


def _from_items(metric: Metric) -> bool:
    """Whether a metric is computed from the items; others are read from the records alone."""
    return AGGREGATED.get(metric.name, metric.name) in ITEM_METRICS


def _generator(*names: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])
