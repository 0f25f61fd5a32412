"""A study's two tables as evidence: values and tests of any metric between candidates.

Performance and robustness are resampled and tested on the items that all candidates answered, measured
efficiency by the intervals in the records. How a p is computed is in :mod:`trilemma.analysis.comparisons`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

import pandas as pd

from trilemma.analysis.answers import (
    CLEAN,
    LEADERBOARDS,
    AnswerMatrix,
    align,
    answer_matrices,
    within,
)
from trilemma.analysis.candidates import Candidate, candidate_names, candidates
from trilemma.analysis.comparisons import (
    SIGNIFICANCE,
    Comparison,
    Comparisons,
    Distinction,
)
from trilemma.analysis.goals import Goals
from trilemma.analysis.item_metrics import (
    ITEM_METRICS,
    OFFICIAL,
    ClusterSums,
    item_metric,
    scored_by,
    usable,
)
from trilemma.analysis.lookup import Estimate, benchmark, estimate, here, meaningless_tasks, training_points
from trilemma.analysis.measured import p_of_measurements
from trilemma.analysis.seed_noise import SeedNoise
from trilemma.metrics import AGGREGATED, METRICS, Metric, score_title
from trilemma.operating_point import OperatingPoint
from trilemma.records import AVERAGE
from trilemma.statistics.intervals import Sample
from trilemma.statistics.paired_tests import holm

NO_SKILL: Final = "no skill"
"""What a candidate has that is not distinguishably above the majority class: its robustness means nothing."""


class Evidence:
    """The two tables, and what is computed from them once.

    Args:
        records: the records table.
        items: the items table; without it nothing that is computed from items is resampled or tested.
        at: the operating point at which efficiency is read.
        goals: the study's limits, and differences that are of no matter.
    """

    def __init__(
        self,
        records: pd.DataFrame,
        items: pd.DataFrame | None = None,
        at: OperatingPoint | None = None,
        goals: Goals | None = None,
    ) -> None:
        self.records, self.at = records, at or OperatingPoint()
        self.items = pd.DataFrame() if items is None else items
        self.goals = goals or Goals()
        self._estimates: dict[tuple[Metric, Candidate, str | None], Estimate] = {}
        self._samples: dict[tuple[Metric, str], dict[str, Sample]] = {}
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
        """By model, what was measured over all seeds, and what failed with any."""
        records = here(self.records)
        kept = records["seed"].isna() | (records["axis"] == "E") | (records["status"] == "failed")
        whole = records[kept]
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
            rows = rows[rows["set"].map(lambda name: within(str(name), self.benchmark)).astype(bool)]
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
        present = {task: [matrix for matrix in sets if len(matrix.gold)] for task, sets in by_task.items()}
        official = {task: self.official.get(task, ("accuracy",)) for task in by_task}
        rules = {
            task: scored_by(computed, wanted, official[task], sets)[1]
            for task, sets in present.items()
            if computed.belongs_to(official[task])
        }
        noise = self._noise.of(rules, wanted, level if wanted != CLEAN else CLEAN)
        parts = []
        for task, averaged in rules.items():
            if measured := usable(present[task], averaged):
                aligned, groups = align(measured, names)
                parts.append(ClusterSums.of(aligned, averaged).samples(groups, noise))
        if not parts:
            return {}
        return {name: Sample.mean([part[i] for part in parts]) for i, name in enumerate(names)}

    @cached_property
    def _noise(self) -> SeedNoise:
        return SeedNoise(self._matrices)

    @cached_property
    def comparisons(self) -> Comparisons:
        """All paired tests of what is computed from items."""
        return Comparisons(self._matrices, self.official, self._noise, self.goals.margins)

    def adjusted_p(
        self, metric: Metric, a: Candidate, b: Candidate, level: str | None = None
    ) -> float | None:
        """Two-sided p that two candidates do not differ, after Holm; None where it cannot be tested.

        Performance and robustness: :meth:`compared`. Efficiency: measurements that took turns are tested
        round by round, others by their (logarithmic) intervals, and all pairs of candidates are the family;
        exact values simply differ.
        """
        if not _from_items(metric):
            if metric not in self._interval_tests:
                self._interval_tests[metric] = self._test_intervals(metric)
            return self._interval_tests[metric].get(frozenset((a.name, b.name)))
        compared = self.compared(metric, a, b, level)
        return compared.p_adjusted if compared else None

    def compared(
        self, metric: Metric, a: Candidate, b: Candidate, level: str | None = None
    ) -> Comparison | None:
        """The paired test of what is ranked: of the average over tasks, or of the only task."""
        first, second = (self._answered_as.get((one.model, one.adaptation), "") for one in (a, b))
        found = self.comparisons.between(first, second, metric.name)
        set_name = CLEAN if metric.axis == "P" else self.benchmark
        levels = list(dict.fromkeys(one.level for one in found if one.set == set_name))
        wanted = level or next(iter(levels), "")  # a benchmark of one level has no row for all
        here = [one for one in found if (one.set, one.level) == (set_name, wanted)]
        average = [one for one in here if one.task == AVERAGE]
        chosen = average or (here if len(here) == 1 else [])
        return chosen[0] if chosen else None

    def _test_intervals(self, metric: Metric) -> dict[frozenset[str], float]:
        """Holm-adjusted p of all pairs of candidates that can be tested, each measurement once."""
        distinct: list[list[Candidate]] = []
        for one in self.candidates:
            if not (same := [group for group in distinct if self.shared(metric, group[0], one)]):
                distinct += (same := [[]])
            same[0].append(one)
        pairs = list(itertools.combinations(distinct, 2))
        estimates = [[self.estimate(metric, one[0]) for one in pair] for pair in pairs]
        found = [p_of_measurements(*pair, exact=metric.exact) for pair in estimates]
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
            return Distinction(values[0] != values[1], reason="exact", as_good=values[0] == values[1])
        if self.shared(metric, first, other):
            return Distinction(False, reason="one measurement for both", shared=True, as_good=True)
        if not _from_items(metric):
            p = self.adjusted_p(metric, first, other)
            return (
                Distinction(None, reason="not tested: no interval")
                if p is None
                else Distinction(p < SIGNIFICANCE, p)
            )
        found = self.compared(metric, first, other, level)
        if found is None or found.p_adjusted is None:
            return Distinction(None, reason="not tested")
        return Distinction(
            found.verdict in ("a better", "b better"),
            found.p_adjusted,
            as_good=found.verdict == "equivalent",
            detectable=found.detectable,
        )


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
