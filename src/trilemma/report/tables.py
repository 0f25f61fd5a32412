"""The summary tables of a study as numbers: efficiency, performance, robustness."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from trilemma.analysis.answers import LEVELS, benchmark_of
from trilemma.analysis.candidates import candidate_names, name_of, rows_of, text_of
from trilemma.analysis.cautions import all_generated, remarks, scored
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import (
    Estimate,
    estimate_of,
    here,
    meaningless_tasks,
    operating_point,
    plugin_metrics,
    preferred,
)
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS, Metric, find_metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import AVERAGE, GENERATED

NAMES = ("efficiency", "performance", "robustness")
GROUPS = {
    "efficiency": ("point", "length"),
    "performance": ("task",),
    "robustness": ("level", "method", "task"),
}
"""What each table may be grouped by, the default first."""

_COUNTS = ("parameters", "non_embedding_parameters", "flops_per_token", "weight_bytes")
_AT_POINT = (
    "latency_ms",
    "latency_p95_ms",
    "throughput_tokens_per_s",
    "peak_memory_bytes",
    "peak_memory_bytes@train",
    "examples_per_s@train",
    "state_bytes",
    "ttft_ms",
    "tpot_ms",
)
"""What is shown of efficiency: what does not depend on the point, and what is read at it."""

BASELINES = ("majority_accuracy", "chance_accuracy", "constant_f1", "chance_f1")
"""What answers without skill reach."""

_PERFORMANCE = ("accuracy", "f1", "matthews", "pearson", "spearman", "glue_score", *BASELINES)
_ROBUSTNESS = (
    *("robust_accuracy", "robust_f1", "advglue_score", "attack_success_rate", "accuracy_drop", "flip_rate"),
    *("paired_clean_accuracy", "majority_accuracy"),
)


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it shows.
        keys: the columns that name a row, the candidate first.
        metrics: the columns with values; beside each stand ``_low``, ``_high`` and ``_n``.
        frame: keys and numbers, missing where not measured, and all notes of the row in ``note``.
        notes: for each row, notes by metric.
        known: the columns that are metrics of a phase or a plug-in, with what they are.
    """

    title: str
    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    frame: pd.DataFrame
    notes: tuple[dict[str, str], ...]
    known: Mapping[str, Metric] = field(default_factory=dict)

    def title_of(self, name: str) -> str:
        """What a reader calls a column."""
        known = self.known.get(name) or METRICS.get(name)
        return known.title if known else name.replace("_", " ")

    def unit_of(self, name: str) -> str:
        """The unit of a column's values."""
        known = self.known.get(name) or METRICS.get(name)
        return known.unit if known else "fraction"


def build(records: pd.DataFrame, name: str, by: str | None = None, at: OperatingPoint | None = None) -> Table:
    """One of the summary tables.

    Args:
        records: the records table.
        name: ``efficiency``, ``performance`` or ``robustness``.
        by: what its rows are, see :data:`GROUPS`.
        at: the operating point of ``efficiency`` by ``point``.

    Raises:
        TrilemmaError: for another name or grouping, naming the known ones.
    """
    if name not in GROUPS:
        raise TrilemmaError(f"unknown table {name!r}; known: {', '.join(NAMES)}")
    by = by or GROUPS[name][0]
    if by not in GROUPS[name]:
        raise TrilemmaError(f"the {name} table is not grouped by {by!r}; known: {', '.join(GROUPS[name])}")
    if name == "efficiency":
        point = at or operating_point(records)
        return _efficiency_at(records, point) if by == "point" else _efficiency_grid(records)
    rows = scored(records)
    rows = rows[rows["seed"].isna()]
    if name == "performance":
        rows = rows[(rows["axis"] == "P") & (rows["task"] != "")]
        return _by_candidate(records, rows, "Performance on clean text", ("task", "set"), _PERFORMANCE)
    rows = rows[rows["axis"] == "R"]
    rows = rows.assign(level=pd.Categorical(rows["level"], categories=["all", *LEVELS], ordered=True))
    if by == "method":
        keys = ("task", "set", "level", "method")
        rows = rows[rows["method"] != ""]
        return _by_candidate(records, rows, "Robustness by method", keys, _ROBUSTNESS[:6])
    rows = rows[rows["method"] == ""]
    if by == "task":
        rows = rows[rows["level"] == "all"]
        return _by_candidate(records, rows, "Robustness by task", ("task", "set"), _ROBUSTNESS)
    return _by_candidate(records, rows, "Robustness by level", ("task", "set", "level"), _ROBUSTNESS)


def _assemble(
    title: str,
    keys: tuple[str, ...],
    metrics: tuple[str, ...],
    cells: Sequence[tuple[Mapping[str, Any], str, Estimate, str]],
    known: Mapping[str, Metric] | None = None,
) -> Table:
    """A table from cells: the row's keys, the column, the value, and a note."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    notes: dict[tuple[Any, ...], dict[str, str]] = {}
    for named, name, one, note in cells:
        key = tuple(named[column] for column in keys)
        row = rows.setdefault(key, dict(zip(keys, key, strict=True)))
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_n": one.n}
        if note:
            notes.setdefault(key, {})[name] = note
    numbers = [f"{name}{part}" for name in metrics for part in ("", "_low", "_high", "_n")]
    frame = pd.DataFrame(list(rows.values()), columns=[*keys, *numbers])
    for column in numbers:
        frame[column] = pd.to_numeric(frame[column])
    for name in metrics:
        frame[f"{name}_n"] = frame[f"{name}_n"].astype("Int64")
    by_row = tuple(notes.get(key, {}) for key in rows)
    frame["note"] = ["; ".join(dict.fromkeys(own.values())) for own in by_row]
    return Table(title, keys, metrics, frame, by_row, known or {})


def _by_candidate(
    records: pd.DataFrame, rows: pd.DataFrame, title: str, keys: tuple[str, ...], metrics: Sequence[str]
) -> Table:
    """One line for each candidate and key, averages last."""
    names, meaningless = candidate_names(records), meaningless_tasks(records)
    but = [GENERATED] if all_generated(records) else []
    present = tuple(metric for metric in metrics if metric in set(rows["metric"]))
    cells = []
    for row in rows_of(rows[rows["metric"].isin(present)]):
        candidate = row["model"], row["adaptation"]
        tasks = meaningless.get((*candidate, benchmark_of(row["set"]))) if row["task"] == AVERAGE else ()
        one = estimate_of(row)
        note = remarks(one, tasks or (), but=but)
        cells.append((row | {"candidate": names[candidate]}, row["metric"], one, note))
    cells.sort(key=lambda cell: cell[0]["task"] == AVERAGE)
    return _assemble(title, ("candidate", *keys), present, cells)


def _efficiency_at(records: pd.DataFrame, at: OperatingPoint) -> Table:
    """One line for each candidate: counts, and what was measured at ``at``."""
    evidence = Evidence(records, at=at)
    shown = _columns(here(records), at, (*_COUNTS, *_AT_POINT, "training_seconds"))
    cells = []
    for candidate in evidence.candidates:
        own = records[records["model"] == candidate.model]
        kernels = own.loc[(own["axis"] == "E") & (own["kernel"] != ""), "kernel"]
        row = {"candidate": candidate.name, "arch": candidate.arch}
        row["kernel"] = text_of(kernels.iloc[0]) if len(kernels) else ""
        for column, metric in shown.items():
            one = evidence.estimate(metric, candidate)
            cells.append((row, column, one, one.absence if one.value is None else one.where))
    return _assemble(f"Efficiency at {at}", ("candidate", "arch", "kernel"), tuple(shown), cells, shown)


def _columns(records: pd.DataFrame, at: OperatingPoint, queries: Iterable[str]) -> dict[str, Metric]:
    """The columns of efficiency and the metric of each, in its phase, as far as records have them.

    Energy and power are shown where there is a value: without a meter there are rows of none.
    """
    valued = records[records["value"].notna()]
    recorded, known = (
        set(map(tuple, rows[["metric", "phase"]].drop_duplicates().itertuples(index=False)))
        for rows in (records, valued)
    )
    asked = [find_metric(query) for query in queries]
    asked = [one if one.phase else replace(one, phase=one.phase_at(at)) for one in asked]
    shown = [one for one in asked if {(one.name, one.phase), (one.name, "")} & recorded]
    metered = [one for metric in METRICS.values() if metric.unit in ("J", "W") for one in metric.in_phases]
    shown += [one for one in metered if (one.name, one.phase) in known]
    shown += [one for metric in plugin_metrics(records).values() for one in metric.in_phases]
    return {_column(one, at): one for one in shown}


def _column(metric: Metric, at: OperatingPoint) -> str:
    """The metric's name alone where it is read in the phase that a query without one means."""
    usual = replace(metric, phase="").phase_at(at)
    return metric.name if metric.phase == usual else metric.key


def _efficiency_grid(records: pd.DataFrame) -> Table:
    """One line for each model, batch and length."""
    rows = here(records)
    rows = preferred(rows[(rows["axis"] == "E") & rows["length"].notna() & rows["batch"].notna()])
    at = OperatingPoint()
    shown = _columns(rows, at, _AT_POINT)
    columns = {(metric.name, metric.phase): column for column, metric in shown.items()}
    names = candidate_names(records)
    cells = []
    for row in rows_of(rows):
        column = columns.get((row["metric"], row["phase"]))
        if column is not None:
            point = {"batch": int(row["batch"]), "length": int(row["length"])}
            one = estimate_of(row)
            cells.append((point | {"candidate": name_of(row, names)}, column, one, remarks(one)))
    title = "Efficiency over batch and length"
    return _assemble(title, ("candidate", "batch", "length"), tuple(shown), cells, shown)


def all_tables(
    records: pd.DataFrame, name: str | None = None, by: str | None = None, at: OperatingPoint | None = None
) -> list[Table]:
    """The tables that ``name`` and ``by`` ask for; all three by default.

    Raises:
        TrilemmaError: for an unknown table, or a grouping that no table has.
    """
    if name is not None:
        return [build(records, name, by, at)]
    groupings = dict.fromkeys(each for own in GROUPS.values() for each in own)
    if by is not None and by not in groupings:
        raise TrilemmaError(f"no table is grouped by {by!r}; known: {', '.join(groupings)}")
    return [build(records, each, by if by in GROUPS[each] else None, at) for each in NAMES]
