"""A study's two tables as evidence: bootstrap draws and paired tests of any metric between candidates.

Performance and robustness are resampled and tested by :mod:`trilemma.analysis`, on the items that all
candidates answered; measured efficiency by the intervals in the records.
"""

import itertools
import math
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from trilemma.analysis.comparisons import AVERAGE, Comparison, compare_all
from trilemma.analysis.measures import Block, defined, find_measure, scored_by
from trilemma.analysis.metrics import Metric, title
from trilemma.analysis.panels import ADVGLUE, CLEAN, Panel, align, benchmark_of, panels, stream
from trilemma.analysis.values import Candidate, OperatingPoint, Value, benchmark, candidates, points, recorded
from trilemma.statistics import Array, Sample, holm, sample

DRAWS = 1000
OFFICIAL = ("accuracy", "f1", "matthews", "pearson", "spearman")
_MEASURE = {"glue_score": "accuracy", "advglue_score": "robust_accuracy"}


@dataclass(frozen=True)
class Draws:
    """A metric's point estimate and bootstrap draws [draws]; draws of two candidates are paired."""

    point: float
    draws: Array


class Evidence:
    """The two tables, and what is computed from them once.

    Args:
        records: the records table.
        items: the items table.
        at: the operating point at which efficiency is read.
    """

    def __init__(self, records: pd.DataFrame, items: pd.DataFrame, at: OperatingPoint | None = None) -> None:
        self.records, self.items, self.at = records, items, at or OperatingPoint()
        self.candidates = candidates(records)
        self.benchmark = benchmark(records)
        self.official = official_metrics(records)
        self._elsewhere = points(records, self.at)
        whole = records[records["seed"].isna() | (records["axis"] == "E")]
        self._by_model = dict(tuple(whole.groupby("model", sort=False)))
        self._panels = lru_cache(maxsize=None)(lambda: panels(items))
        self._samples = lru_cache(maxsize=None)(self._sample_items)
        self._efficiency_tests = lru_cache(maxsize=None)(self._test_efficiency)
        self.comparisons = lru_cache(maxsize=None)(self._compare)
        self.value = lru_cache(maxsize=None)(self._value)

    def _value(self, metric: Metric, candidate: Candidate, level: str | None = None) -> Value:
        """The recorded value; where the records hold no interval, the bootstrap's."""
        own = self._by_model[candidate.model]
        value = recorded(
            own, candidate, metric, self.at, level, self.benchmark, self._elsewhere.get(metric.name)
        )
        if _from_records(metric) or (value.value is not None and value.low is not None):
            return value
        sample = self._samples(metric, level or "all").get(candidate.name)
        if sample is None or math.isnan(sample.value):
            return value
        low, high = sample.interval()
        if value.value is None:
            return Value(sample.value, low, high)
        return Value(value.value, low, high, value.n, value.partial, value.note)

    def tasks(self, metric: Metric) -> tuple[str, ...]:
        """The tasks that a candidate's value of ``metric`` is the mean over; none on axis E."""
        if _from_records(metric):
            return ()
        name = _MEASURE.get(metric.name, metric.name)
        names = OFFICIAL if name == "accuracy" else (name,)
        rows = self.records[self.records["metric"].isin(names) & self.records["value"].notna()]
        rows = rows[~rows["task"].isin(["", AVERAGE]) & (rows["axis"] == metric.axis)]
        if metric.axis == "R":
            rows = rows[rows["set"].map(benchmark_of) == self.benchmark]
        return tuple(dict.fromkeys(rows["task"]))

    def title(self, metric: Metric) -> str:
        """What a reader calls the values of ``metric``: a score where they are not accuracy alone."""
        official = [self.official.get(task, ("accuracy",)) for task in self.tasks(metric)]
        return metric.title if metric.axis == "R" and not self._by_the_rule else title(metric, official)

    @property
    def _by_the_rule(self) -> bool:
        """Whether robustness is aggregated by AdvGLUE's rule, which counts F1 too."""
        return self.benchmark.startswith(ADVGLUE)

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
        if _from_records(metric):
            return self._efficiency_draws(metric, candidate)
        found = self._samples(metric, level).get(candidate.name)
        if found is None or math.isnan(found.value):
            return None
        between_seeds = math.sqrt(sum(variance for variance, _ in found.terms))
        noise = _generator("seeds", metric.name, candidate.name).standard_normal(len(found.draws))
        return Draws(found.value, found.draws + between_seeds * noise)

    def adjusted_p(
        self, metric: Metric, a: Candidate, b: Candidate, level: str | None = None
    ) -> float | None:
        """Two-sided p that two candidates do not differ, after Holm; None where it cannot be tested.

        The family holds all pairs of candidates, as in the table of comparisons: which of them comes first
        is itself found in the data. Performance and robustness: the paired test of what is ranked, the
        average over tasks, also where there is one task (:func:`compare`). Efficiency: a normal test on the
        (logarithmic) recorded intervals; exact values simply differ.
        """
        if _from_records(metric):
            return self._efficiency_tests(metric).get(frozenset((a.name, b.name)))
        compared = [
            c
            for c in self.comparisons(_MEASURE.get(metric.name, metric.name))
            if {c.a, c.b} == {a.name, b.name}
        ]
        where = (CLEAN, CLEAN) if metric.axis == "P" else (self.benchmark, level or "all")
        here = [c for c in compared if (c.set, c.level) == where]
        average = [c for c in here if c.task == AVERAGE]
        chosen = average or (here if len(here) == 1 else [])
        return chosen[0].p_adjusted if chosen else None

    def _compare(self, metric: str) -> list[Comparison]:
        """Paired comparisons of all candidates on one metric."""
        return compare_all(self.items, metrics=(metric,), official=self.official) if len(self.items) else []

    def _sample_items(self, metric: Metric, level: str) -> dict[str, Sample]:
        """Paired samples of every candidate that answered all sets, aggregated over tasks."""
        measure = find_measure(_MEASURE.get(metric.name, metric.name))
        wanted = CLEAN if metric.axis == "P" else self.benchmark
        own = [panel for panel in self._panels() if panel.benchmark == wanted] if len(self.items) else []
        names = [c.name for c in self.candidates if own and all(panel.of(c.name) for panel in own)]
        by_task: dict[str, list[Panel]] = {}
        for panel in own:
            by_task.setdefault(panel.task, []).append(panel.at(level if wanted != CLEAN else CLEAN))
        parts = []
        for task, sets in by_task.items():
            official = self.official.get(task, ("accuracy",))
            aggregated = bool(metric.average)
            present = [panel for panel in sets if len(panel.gold)]
            measures = scored_by(measure, wanted, official)[1] if aggregated else [measure]
            measures = defined(measures, present)
            here = [panel for panel in present if not any(m.missing(panel) for m in measures)]
            if here and measure.belongs_to(official):
                aligned, groups = align(here, names)
                block = Block.of(aligned, measures)
                stream_of = stream(here[0])
                parts.append(
                    sample(
                        block.sums, groups, block.statistic, shape=block.shape, draws=DRAWS, seed=stream_of
                    )
                )
        if not parts:
            return {}
        return {name: Sample.mean([part[i] for part in parts]) for i, name in enumerate(names)}

    def _efficiency_draws(self, metric: Metric, candidate: Candidate) -> Draws | None:
        """Draws from a log-normal (normal, where a limit is not positive) with the recorded interval."""
        value = self.value(metric, candidate)
        if value.value is None or (value.low is None and not metric.exact):
            return None
        centre, spread, logarithmic = _on_scale(value)
        # Candidates of one shape share their measurement, and with it what is uncertain about it.
        noise = _generator("efficiency", metric.name, repr(value.value)).standard_normal(DRAWS)
        draws = centre + spread * noise
        return Draws(value.value, np.exp(draws) if logarithmic else draws)

    def _test_efficiency(self, metric: Metric) -> dict[frozenset[str], float]:
        """Holm-adjusted p of all pairs of candidates that can be tested, each measurement once."""
        distinct: list[list[Candidate]] = []
        for candidate in self.candidates:
            same = next((group for group in distinct if self.shared(metric, group[0], candidate)), None)
            if same is None:
                distinct.append([candidate])
            else:
                same.append(candidate)
        pairs = list(itertools.combinations(distinct, 2))
        found = [self._efficiency_p(metric, a[0], b[0]) for a, b in pairs]
        tested = [(pair, p) for pair, p in zip(pairs, found, strict=True) if p is not None]
        adjusted = holm([p for _, p in tested])
        return {
            frozenset((one.name, other.name)): float(p)
            for ((a, b), _), p in zip(tested, adjusted, strict=True)
            for one, other in itertools.product(a, b)
        }

    def shared(self, metric: Metric, a: Candidate, b: Candidate) -> bool:
        """Whether two candidates have one measurement: equal shapes, or adaptations of one model."""
        if not _from_records(metric) or metric.exact:
            return False
        values = [self.value(metric, candidate) for candidate in (a, b)]
        first, second = ((value.value, value.low, value.high, value.n) for value in values)
        return first == second and None not in first[:3]

    def _efficiency_p(self, metric: Metric, a: Candidate, b: Candidate) -> float | None:
        values = [self.value(metric, candidate) for candidate in (a, b)]
        if any(value.value is None or (value.low is None and not metric.exact) for value in values):
            return None
        (x, x_spread, x_log), (y, y_spread, y_log) = (_on_scale(value) for value in values)
        if x_log != y_log:
            x, y = (value.value or 0.0 for value in values)
        spread = math.hypot(x_spread, y_spread)
        if spread == 0:
            return 1.0 if x == y else 0.0
        return math.erfc(abs(x - y) / spread / math.sqrt(2))


def official_metrics(records: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Each task's official metrics: those recorded on axis P, or for want of any those on axis R."""
    found: dict[str, tuple[str, ...]] = {}
    for axis in ("P", "R"):
        rows = records[(records["axis"] == axis) & (records["task"] != AVERAGE)]
        rows = rows.assign(metric=rows["metric"].str.removeprefix("robust_"))
        by_task = rows[rows["metric"].isin(OFFICIAL)].groupby("task", sort=False)["metric"].unique()
        for task, own in by_task.items():
            found.setdefault(str(task), tuple(name for name in OFFICIAL if name in set(own)))
    return found


def _from_records(metric: Metric) -> bool:
    """Whether a metric is measured on the model and not on items."""
    return metric.axis == "E" or metric.name == "held_out_perplexity"


def _on_scale(value: Value) -> tuple[float, float, bool]:
    """Centre and standard deviation, and whether they are logarithms."""
    point, low, high = value.value or 0.0, value.low, value.high
    if low is None or high is None or low == high:
        return (math.log(point), 0.0, True) if point > 0 else (point, 0.0, False)
    if point > 0 and low > 0:
        return math.log(point), math.log(high / low) / (2 * 1.96), True
    return point, (high - low) / (2 * 1.96), False


def _generator(*names: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])
