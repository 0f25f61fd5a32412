"""Looking up what was recorded of a candidate: a metric over seeds and tasks, or at an operating point."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pandas as pd

from trilemma.analysis.answers import ATTACKS, LEADERBOARDS, OWN_SETS, benchmark_of, within
from trilemma.analysis.candidates import Candidate, candidate_names, of_candidate, rows_of, text_of
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS, Metric, Phase, find_metric, plugin_metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import ATTACK, AVERAGE, MEANINGLESS, PARTIAL, RECORDS
from trilemma.units import format_value


@dataclass(frozen=True)
class Estimate:
    """One value with its interval, or why there is none; the columns of a record that its readers need.

    Attributes:
        value: None where there is none.
        low, high: its interval.
        n: items, or repetitions, behind it.
        confidence: of the interval.
        basis: measured, counted, estimated or forecast.
        status: ``not measured`` or ``failed`` where there is no value.
        reason: why there is none.
        flags: as in the records.
        note: for people.
        point: where it was read, if not where it was asked for.
        rounds: of a time, the value of each round; models of one measurement took turns.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    confidence: float | None = None
    basis: str = "measured"
    status: str = ""
    reason: str = ""
    flags: tuple[str, ...] = ()
    note: str = ""
    point: OperatingPoint | None = None
    rounds: tuple[float, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether a split behind it has fewer rows than the official one."""
        return PARTIAL in self.flags

    @property
    def absence(self) -> str:
        """That there is no value, and why, for people."""
        usual = "not forecast" if self.basis == "forecast" else "not measured"
        status = self.status if self.status == "failed" else usual
        return f"{status}: {self.reason}" if self.reason else status

    def text(self, unit: str) -> str:
        """The value with its interval as a person reads it, or why there is none."""
        return self.absence if self.value is None else format_value(self.value, unit, self.low, self.high)

    @property
    def where(self) -> str:
        """The point where it was read, if not where it was asked for: ``at batch 16, length 512``."""
        return f"at {self.point}" if self.point else ""


_TEXTS = tuple(field.name for field in RECORDS if str(field.type) == "string")
_NUMBERS = ("value", "low", "high")


def cleaned(records: pd.DataFrame) -> pd.DataFrame:
    """A table from a run folder as it is computed with and printed: nothing in it is trusted.

    Absent texts are empty, flags are tuples, and no value or limit is infinite.
    """
    numbers = records[list(_NUMBERS)].to_numpy(float, na_value=np.nan)
    infinite = np.isinf(numbers)
    texts = records[list(_TEXTS)]
    if texts.isna().to_numpy().any():
        records = records.assign(**{name: texts[name].fillna("") for name in _TEXTS})
    records = records.assign(flags=records["flags"].map(_flags))
    for column, name in enumerate(_NUMBERS):
        records.loc[infinite[:, column], name] = np.nan
    records.loc[infinite[:, 0], "status"] = "not measured"
    records.loc[infinite[:, 0], "reason"] = "the value is not finite"
    return records


def _flags(own: object) -> tuple[str, ...]:
    return tuple(map(str, own)) if isinstance(own, Iterable) and not isinstance(own, str) else ()


def flagged(records: pd.DataFrame, flag: str) -> "pd.Series[bool]":
    """Which records carry a flag."""
    return pd.Series([flag in _flags(own) for own in records["flags"]], records.index, dtype=bool)


def here(records: pd.DataFrame) -> pd.DataFrame:
    """The records of what was measured, counted or estimated where the study ran: no forecasts."""
    return records[(records["basis"] != "forecast") & (records["machine"].fillna("") == "")]


def preferred(records: pd.DataFrame) -> pd.DataFrame:
    """Of several records of one metric at one point the one to show: a value, and rather a measured one."""
    order = records["value"].isna() * 2 + (records["basis"] == "estimated")
    same = ["model", "adaptation", "precision", "attention", "compiled", "task", "metric", "phase"]
    kept = records.assign(order=order).sort_values("order", kind="stable")
    return records.loc[kept.drop_duplicates([*same, "batch", "length", "decode"]).index.sort_values()]


def plugin_metrics(records: pd.DataFrame) -> dict[str, Metric]:
    """The recorded metrics of models that :data:`~trilemma.metrics.METRICS` does not hold."""
    rows = records[(records["axis"] == "E") & (records["task"] == "") & records["value"].notna()]
    rows = rows[~rows["metric"].isin(list(METRICS))]
    phases: dict[tuple[str, str], list[Phase]] = {}
    for name, unit, phase in rows[["metric", "unit", "phase"]].drop_duplicates().itertuples(index=False):
        own = phases.setdefault((str(name), str(unit)), [])
        own += [known for known in get_args(Phase) if known and known == phase]
    return {name: plugin_metric(name, unit, tuple(own)) for (name, unit), own in phases.items()}


def metric_of(records: pd.DataFrame, name: str) -> Metric:
    """The metric called ``name``: a known one, an alias, or a plug-in's in these records.

    Raises:
        TrilemmaError: if there is none, naming the known ones.
    """
    return find_metric(name, plugin_metrics(records).values())


def benchmarks(records: pd.DataFrame) -> list[str]:
    """The adversarial benchmarks that candidates were measured on, first the one that stands for robustness.

    That is AdvGLUE, or else the user's own sets, another published benchmark, all attacks, or the only one.
    """
    rows = records[(records["axis"] == "R") & (records["task"] == AVERAGE)]
    names = [str(name) for name in dict.fromkeys(rows["set"])]

    def rank(name: str) -> int:
        kinds = (name in LEADERBOARDS, name == OWN_SETS, not name.startswith(ATTACK) and name != ATTACKS)
        return next((place for place, one in enumerate((*kinds, name == ATTACKS)) if one), 4)

    return sorted(names, key=rank)


def benchmark(records: pd.DataFrame) -> str:
    """The adversarial benchmark that stands for robustness; "" for none."""
    return next(iter(benchmarks(records)), "")


def meaningless_tasks(records: pd.DataFrame) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """By model, adaptation and adversarial benchmark the tasks on which robustness means nothing."""
    rows = records[(records["axis"] == "R") & (records["task"] != AVERAGE) & records["seed"].isna()]
    rows = rows[(rows["level"] == "all") & (rows["metric"] == "robust_accuracy")]
    rows = rows[flagged(rows, MEANINGLESS)]
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    columns = ["model", "adaptation", "set", "task"]
    for model, adaptation, name, task in rows[columns].drop_duplicates().itertuples(index=False):
        for benchmark in {benchmark_of(str(name)), *([ATTACKS] if within(str(name), ATTACKS) else [])}:
            key = str(model), str(adaptation), benchmark
            found[key] = tuple(dict.fromkeys((*found.get(key, ()), str(task))))
    return found


def attack_rows(records: pd.DataFrame) -> pd.DataFrame:
    """Records of attacks on the study's models, over seeds, by method; with the column ``candidate``."""
    rows = records[
        records["set"].str.startswith(ATTACK) & (records["method"] != "") & records["seed"].isna()
    ].copy()
    names = candidate_names(records)
    rows["candidate"] = [names[key] for key in zip(rows["model"], rows["adaptation"], strict=True)]
    return rows


def estimate(
    records: pd.DataFrame,
    candidate: Candidate,
    metric: Metric,
    at: OperatingPoint,
    level: str | None = None,
    adversarial: str = "",
    elsewhere: OperatingPoint | None = None,
) -> Estimate:
    """The candidate's value of ``metric`` over all seeds and the study's tasks.

    Performance and robustness are aggregated by the AdvGLUE leaderboard's rule (the records'
    ``average`` rows); efficiency is read at ``at``. Training time is summed over tasks, each the
    mean of its seeds. What was measured or counted goes before an estimate.

    Args:
        records: the records table without forecasts (:func:`here`), or the rows of the candidate's model.
        candidate: whose value.
        metric: which metric.
        at: the operating point, for metrics that depend on it.
        level: robustness level; by default all levels, and ``clean`` on axis P.
        adversarial: the benchmark that stands for robustness (:func:`benchmark`).
        elsewhere: read the metric there and say so (:func:`training_points`).
    """
    if metric.name == "training_seconds":
        return _training_time(of_candidate(records, candidate))
    if metric.axis == "E" or metric.name == "held_out_perplexity":
        phase = metric.phase_at(at)
        # Training belongs to an adaptation (once it was always full); what else is measured holds for all.
        general = phase != "train" or candidate.adaptation in ("", "full")
        rows = records[(records["model"] == candidate.model) & (records["metric"] == metric.name)]
        own = rows["phase"].isin(["", phase])
        own &= rows["adaptation"].isin([candidate.adaptation, *([""] if general else [])])
        if candidate.precision and phase != "train":
            own &= rows["precision"].isin(["", candidate.precision])
        rows = rows[own]
        measured_first = np.argsort(rows["basis"] == "estimated", kind="stable")
        return at_point(rows.iloc[measured_first], at, elsewhere)
    all_rows = of_candidate(records, candidate)
    rows = all_rows[(all_rows["task"] == AVERAGE) & all_rows["seed"].isna() & (all_rows["method"] == "")]
    rows = rows[rows["level"] == (level or ("clean" if metric.axis == "P" else "all"))]
    if metric.axis == "R":
        rows = rows[rows["set"] == adversarial]
    for name in (metric.average, metric.name):
        if (rows["metric"] == name).any():
            return estimate_of(rows[rows["metric"] == name].iloc[0])
    failed = all_rows[(all_rows["status"] == "failed") & all_rows["axis"].isin(["P", metric.axis])]
    return estimate_of(failed.iloc[0]) if len(failed) else Estimate(None)


def estimate_of(row: "Mapping[str, Any] | pd.Series[Any]") -> Estimate:
    """The value of a record; a number that cannot be one of its metric is not taken."""
    bare = Estimate(
        None,
        basis=text_of(row["basis"]),
        status=text_of(row["status"]),
        reason=text_of(row["reason"]),
        flags=_flags(row["flags"]),
        note=text_of(row["note"]),
    )
    if pd.isna(row["value"]):
        return bare
    value = float(row["value"])
    if not _possible(value, text_of(row["unit"])):
        return replace(bare, reason=f"{value:g} is recorded, which is not a possible {row['metric']}")
    known = all(not pd.isna(row[limit]) and math.isfinite(row[limit]) for limit in ("low", "high"))
    return replace(
        bare,
        value=value,
        low=float(row["low"]) if known else None,
        high=float(row["high"]) if known else None,
        n=None if pd.isna(row["n"]) else int(row["n"]),
        confidence=float(row["confidence"]) if known and not pd.isna(row["confidence"]) else None,
        rounds=_rounds(row["rounds"]),
    )


def _rounds(own: object) -> tuple[float, ...]:
    """Positive numbers, or none: they are compared by their ratios."""
    numbers = tuple(map(float, own)) if isinstance(own, Iterable) and not isinstance(own, str) else ()
    return numbers if all(number > 0 and math.isfinite(number) for number in numbers) else ()


def _possible(value: float, unit: str) -> bool:
    """Whether a number can be measured at all: finite, times and rates above 0, counts not below."""
    if unit in ("ms", "s") or unit.endswith("/s"):
        return math.isfinite(value) and value > 0
    return math.isfinite(value) and (value >= 0 or unit not in ("bytes", "count", "FLOPs"))


def at_point(rows: pd.DataFrame, at: OperatingPoint, elsewhere: OperatingPoint | None = None) -> Estimate:
    """One metric's value at an operating point, from its records in order of preference.

    Args:
        rows: records of one candidate and metric.
        at: where.
        elsewhere: read it there instead, and say so.
    """
    if elsewhere is not None:
        found = at_point(rows, elsewhere)
        return found if found.value is None else replace(found, point=elsewhere)
    coordinates = ("batch", "length", "decode") if at.decode else ("batch", "length")
    near = np.ones(len(rows), dtype=bool)
    for name in coordinates:
        near &= (rows[name].isna() | (rows[name] == getattr(at, name))).to_numpy(bool, na_value=False)
    for chosen in (near & rows["value"].notna().to_numpy(), near):
        if chosen.any():
            return estimate_of(rows.iloc[int(chosen.argmax())])
    others = rows[rows["value"].notna()]
    if others.empty:
        return estimate_of(rows.iloc[0]) if len(rows) else Estimate(None)
    grid = " and ".join(
        f"{name} {', '.join(str(int(v)) for v in sorted(others[name].dropna().unique()))}"
        for name in coordinates
        if others[name].notna().any()
    )
    return Estimate(None, reason=f"nothing at {at}, only at {grid}")


def _training_time(rows: pd.DataFrame) -> Estimate:
    tasks = [task for task in dict.fromkeys(rows["task"]) if task not in ("", AVERAGE)]
    rows = rows[rows["metric"] == "training_seconds"]
    measured = rows[[_possible(value, "s") for value in rows["value"]]]
    if measured.empty:
        return estimate_of(rows.iloc[0]) if len(rows) else Estimate(None)
    if untrained := [task for task in tasks if task not in set(measured["task"])]:
        return Estimate(None, reason=f"no training on {', '.join(untrained)}")
    seconds = measured.groupby("task")["value"].mean().sum()
    return Estimate(float(seconds), n=len(measured), note="summed over tasks, mean of seeds")


def training_points(records: pd.DataFrame, at: OperatingPoint) -> dict[str, OperatingPoint]:
    """Where metrics of training that were not measured at ``at`` are read.

    It is the point at which most candidates were measured; of several the one nearest in length, then that of
    the largest batch. It is the same for all candidates.
    """
    rows = records[(records["phase"] == "train") & records["value"].notna()]
    rows = rows[rows["batch"].notna() & rows["length"].notna()]
    found = {}
    for name, own in rows.groupby("metric", sort=False):
        counts: dict[OperatingPoint, int] = {}
        distinct = own[["batch", "length", "model", "adaptation"]].drop_duplicates()
        for batch, length, _, _ in distinct.itertuples(index=False):
            point = OperatingPoint(int(batch), int(length))
            counts[point] = counts.get(point, 0) + 1
        if (at.batch, at.length) not in {(point.batch, point.length) for point in counts}:
            found[str(name)] = max(
                counts, key=lambda one: (counts[one], -abs(one.length - at.length), one.batch)
            )
    return found


_INFERENCE = ("latency_ms", "throughput_tokens_per_s", "peak_memory_bytes")
"""An operating point counts as measured where one of these has a value."""


def measured_points(records: pd.DataFrame) -> list[OperatingPoint]:
    """The points at which inference was measured; those with the most models first."""
    rows = records[records["metric"].isin(_INFERENCE) & records["value"].notna()]
    rows = rows[rows["batch"].notna() & rows["length"].notna() & (rows["phase"] != "train")]
    rows = rows.assign(decode=rows["decode"].fillna(0))
    counts = rows.groupby(["batch", "length", "decode"])["model"].nunique()
    ordered = counts.sort_values(ascending=False, kind="stable").reset_index()
    return [OperatingPoint(int(r["batch"]), int(r["length"]), int(r["decode"])) for r in rows_of(ordered)]


def operating_point(records: pd.DataFrame, asked: str | OperatingPoint | None = None) -> OperatingPoint:
    """The point that ``asked`` names; by default batch 1, length 128, or the nearest that was measured.

    Nearness is in logarithms: batch 2 is as far from 1 as length 256 from 128.

    Raises:
        TrilemmaError: when ``asked`` cannot be read, or was not measured while others were.
    """
    known, usual = measured_points(here(records)), OperatingPoint()
    if not asked:
        return min(known, key=lambda point: _distance(point, usual), default=usual)
    point = OperatingPoint.parse(asked) if isinstance(asked, str) else asked
    decoded = known if point.decode else [one._replace(decode=0) for one in known]
    if known and point not in decoded:
        named = "; ".join(str(one) for one in sorted(set(decoded)))
        raise TrilemmaError(f"nothing was measured at {point}; measured: {named}")
    return point


def _distance(point: OperatingPoint, other: OperatingPoint) -> tuple[float, int]:
    distance = abs(math.log(point.batch / other.batch)) + abs(math.log(point.length / other.length))
    return distance, abs(point.decode - other.decode)
