"""The summary tables of a study as numbers: efficiency, performance, robustness."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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
from trilemma.metrics import METRICS, Metric, find_metric, plugin_metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import AVERAGE, GENERATED
from trilemma.report.contents import CONTENTS

NAMES = ("efficiency", "performance", "robustness")
GROUPS = {
    "efficiency": ("point", "length"),
    "performance": ("task",),
    "robustness": ("level", "method", "task"),
}
"""What each table may be grouped by, the default first."""

_SHOWN: dict[str, list[str]] = CONTENTS["tables"]
"""The metrics of each table, in order."""

BASELINES = _SHOWN["baselines"]
"""What answers without skill reach."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        keys: what names it, by column.
        values: by metric.
        notes: by metric, where there is one.
    """

    keys: Mapping[str, Any]
    values: dict[str, Estimate]
    notes: dict[str, str]


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it shows.
        keys: the columns that name a row, the candidate first.
        metrics: the columns with values, and what they are.
        rows: in their order.
    """

    title: str
    keys: tuple[str, ...]
    metrics: Mapping[str, Metric]
    rows: Sequence[Row]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Keys, then value, ``_low``, ``_high`` and ``_n`` of each metric; missing where not measured."""
        parts = {"": "value", "_low": "low", "_high": "high", "_n": "n"}
        frame = pd.DataFrame([row.keys for row in self.rows], columns=list(self.keys))
        for name in self.metrics:
            values = [row.values.get(name, Estimate(None)) for row in self.rows]
            for end, part in parts.items():
                frame[f"{name}{end}"] = pd.to_numeric(pd.Series([getattr(one, part) for one in values]))
            frame[f"{name}_n"] = frame[f"{name}_n"].astype("Int64")
        frame["note"] = ["; ".join(dict.fromkeys(row.notes.values())) for row in self.rows]
        return frame


def build(records: pd.DataFrame, name: str, by: str | None = None, at: OperatingPoint | None = None) -> Table:
    """One of the summary tables, as :meth:`trilemma.Result.table` describes it.

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
        shown = [*_SHOWN["performance"], *BASELINES]
        return _by_candidate(records, rows, "Performance on clean text", ("task", "set"), shown)
    rows = rows[rows["axis"] == "R"]
    rows = rows.assign(level=pd.Categorical(rows["level"], categories=["all", *LEVELS], ordered=True))
    if by == "method":
        keys = ("task", "set", "level", "method")
        rows = rows[rows["method"] != ""]
        return _by_candidate(records, rows, "Robustness by method", keys, _SHOWN["by method"])
    rows = rows[rows["method"] == ""]
    if by == "task":
        rows = rows[rows["level"] == "all"]
        return _by_candidate(records, rows, "Robustness by task", ("task", "set"), _SHOWN["robustness"])
    return _by_candidate(records, rows, "Robustness by level", ("task", "set", "level"), _SHOWN["robustness"])


Cell = tuple[Mapping[str, Any], str, Estimate, str]
"""The keys of its row, its column, the value, and a note."""


def _assemble(
    title: str, keys: tuple[str, ...], metrics: Mapping[str, Metric], cells: Iterable[Cell]
) -> Table:
    rows: dict[tuple[Any, ...], Row] = {}
    for named, column, one, note in cells:
        row = rows.setdefault(tuple(named[key] for key in keys), Row(named, {}, {}))
        row.values[column] = one
        if note:
            row.notes[column] = note
    return Table(title, keys, metrics, list(rows.values()))


def _by_candidate(
    records: pd.DataFrame, rows: pd.DataFrame, title: str, keys: tuple[str, ...], metrics: Sequence[str]
) -> Table:
    """One line for each candidate and key, averages last."""
    names, meaningless = candidate_names(records), meaningless_tasks(records)
    but = [GENERATED] if all_generated(records) else []
    present = {
        name: METRICS.get(name) or plugin_metric(name, "fraction")
        for name in metrics
        if name in set(rows["metric"])
    }
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
    shown = _columns(here(records), at, (*_SHOWN["counts"], *_SHOWN["at a point"], "training_seconds"))
    cells = []
    for candidate in evidence.candidates:
        own = records[records["model"] == candidate.model]
        kernels = own.loc[(own["axis"] == "E") & (own["kernel"] != ""), "kernel"]
        row = {"candidate": candidate.name, "arch": candidate.arch}
        row["kernel"] = text_of(kernels.iloc[0]) if len(kernels) else ""
        for column, metric in shown.items():
            one = evidence.estimate(metric, candidate)
            cells.append((row, column, one, one.absence if one.value is None else one.where))
    return _assemble(f"Efficiency at {at}", ("candidate", "arch", "kernel"), shown, cells)


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
    shown = _columns(rows, at, _SHOWN["at a point"])
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
    return _assemble(title, ("candidate", "batch", "length"), shown, cells)


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
