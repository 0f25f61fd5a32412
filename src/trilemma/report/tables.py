"""The summary tables of a study as numbers: efficiency, performance, robustness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from trilemma.analysis.cautions import own_note, study_notes
from trilemma.analysis.comparisons import AVERAGE
from trilemma.analysis.metrics import ENERGY, METRICS, Metric
from trilemma.analysis.operating_point import operating_point
from trilemma.analysis.plugged import plugged_metrics
from trilemma.analysis.values import (
    OperatingPoint,
    candidate_names,
    candidates,
    name_of,
    points,
    recorded,
    rows_of,
)
from trilemma.errors import TrilemmaError

NAMES = ("efficiency", "performance", "robustness")
GROUPS = {
    "efficiency": ("point", "length"),
    "performance": ("task",),
    "robustness": ("level", "method", "task"),
}
"""What each table may be grouped by, the default first."""

_STATIC = ("parameters", "non_embedding_parameters", "flops_per_token", "weight_bytes")
_AT_POINT = (
    "latency_ms",
    "latency_p95_ms",
    "throughput_tokens_per_s",
    "peak_inference_memory_bytes",
    "peak_training_memory_bytes",
    "training_examples_per_s",
    "state_bytes",
    "ttft_ms",
    "tpot_ms",
)
_PERFORMANCE = ("accuracy", "f1", "matthews", "pearson", "spearman", "glue_score")
_ROBUSTNESS = (
    "robust_accuracy",
    "robust_f1",
    "advglue_score",
    "attack_success_rate",
    "accuracy_drop",
    "flip_rate",
)
_LEVELS = ("all", "word", "sentence", "human", "unknown")


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it shows.
        keys: the columns that name a row, the candidate first.
        metrics: the measured columns; beside each stand ``_low``, ``_high`` and ``_n``.
        frame: keys and numbers, missing where not measured, and all notes of the row in ``note``.
        notes: for each row, notes by metric.
        plugged: the metrics among them that plug-ins measured.
    """

    title: str
    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    frame: pd.DataFrame
    notes: tuple[Mapping[str, str], ...]
    plugged: Mapping[str, Metric] = field(default_factory=dict)

    def title_of(self, name: str) -> str:
        """What a reader calls a measured column."""
        known = self.plugged.get(name) or METRICS.get(name)
        return known.title if known else name.replace("_", " ")

    def unit_of(self, name: str) -> str:
        """The unit of a measured column."""
        known = self.plugged.get(name) or METRICS.get(name)
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
        return (
            _efficiency_at(records, at or operating_point(records))
            if by == "point"
            else _efficiency_grid(records)
        )
    rows = records[records["seed"].isna() & (records["adaptation"] != "")]
    if name == "performance":
        baselines = ("majority_accuracy", "chance_accuracy", "constant_f1", "chance_f1")
        rows = rows[(rows["axis"] == "P") & (rows["task"] != "")]
        return _wide(records, rows, "Performance on clean text", ("task", "set"), (*_PERFORMANCE, *baselines))
    rows = rows[rows["axis"] == "R"]
    rows = rows.assign(level=pd.Categorical(rows["level"], categories=_LEVELS, ordered=True))
    if by == "method":
        rows = rows[rows["method"] != ""]
        return _wide(records, rows, "Robustness by method", ("task", "set", "level", "method"), _ROBUSTNESS)
    rows = rows[rows["method"] == ""]
    measures = (*_ROBUSTNESS, "paired_clean_accuracy", "majority_accuracy")
    if by == "task":
        return _wide(records, rows[rows["level"] == "all"], "Robustness by task", ("task", "set"), measures)
    return _wide(records, rows, "Robustness by level", ("task", "set", "level"), measures)


def _assemble(
    title: str,
    keys: tuple[str, ...],
    metrics: tuple[str, ...],
    cells: Sequence[Mapping[str, Any]],
    plugged: Mapping[str, Metric] | None = None,
) -> Table:
    """A table from cells: mappings with the keys, metric, value, low, high, n and note."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    notes: dict[tuple[Any, ...], dict[str, str]] = {}
    for cell in cells:
        key = tuple(cell[name] for name in keys)
        name = cell["metric"]
        row = rows.setdefault(key, dict(zip(keys, key, strict=True)))
        row[name] = cell["value"]
        row |= {f"{name}_{part}": cell[part] for part in ("low", "high", "n")}
        if cell["note"]:
            notes.setdefault(key, {})[name] = cell["note"]
    measured = [f"{name}{part}" for name in metrics for part in ("", "_low", "_high", "_n")]
    frame = pd.DataFrame(list(rows.values()), columns=[*keys, *measured])
    for column in measured:
        frame[column] = pd.to_numeric(frame[column])
    for name in metrics:
        frame[f"{name}_n"] = frame[f"{name}_n"].astype("Int64")
    by_row = tuple(notes.get(key, {}) for key in rows)
    frame["note"] = ["; ".join(dict.fromkeys(own.values())) for own in by_row]
    return Table(title, keys, metrics, frame, by_row, plugged or {})


def _wide(
    records: pd.DataFrame, rows: pd.DataFrame, title: str, keys: tuple[str, ...], metrics: Sequence[str]
) -> Table:
    """One line a candidate and key, averages last."""
    names = candidate_names(records)
    shared = study_notes(records)
    present = tuple(m for m in metrics if m in set(rows["metric"]))
    cells = []
    for row in rows_of(rows[rows["metric"].isin(present)]):
        parts = ["partial split"] if row["partial"] else []
        note = own_note(row["note"], shared) or ("not measured" if pd.isna(row["value"]) else "")
        name = names[row["model"], row["adaptation"]]
        cells.append(row | {"candidate": name, "note": "; ".join([*parts, *filter(None, [note])])})
    cells.sort(key=lambda cell: cell["task"] == AVERAGE)
    return _assemble(title, ("candidate", *keys), present, cells)


def _efficiency_at(records: pd.DataFrame, at: OperatingPoint) -> Table:
    """One line a candidate: what does not depend on batch and length, and what was measured at ``at``."""
    known = (*_STATIC, *_AT_POINT, "training_seconds")
    metrics = (*(m for m in known if m in set(records["metric"])), *_metered(records))
    plugged = plugged_metrics(records)
    metrics += tuple(plugged)
    cells = []
    elsewhere = points(records, at)
    for candidate in candidates(records):
        own = records[records["model"] == candidate.model]
        row = {"candidate": candidate.name, "arch": candidate.arch, "kernel": _kernel(own)}
        for metric in metrics:
            what = plugged.get(metric) or METRICS[metric]
            value = recorded(own, candidate, what, at, elsewhere=elsewhere.get(metric))
            note = value.note if value.value is None or metric in elsewhere else ""
            cells.append({**row, **vars(value), "metric": metric, "note": note})
    return _assemble(f"Efficiency at {at}", ("candidate", "arch", "kernel"), metrics, cells, plugged)


def _metered(records: pd.DataFrame) -> tuple[str, ...]:
    """Metrics of energy that have a value: without a meter there are rows of none."""
    valued = set(records.loc[records["value"].notna(), "metric"])
    return tuple(name for name in ("idle_power_w", *ENERGY) if name in valued)


def _kernel(own: pd.DataFrame) -> str:
    kernels = own.loc[(own["axis"] == "E") & (own["kernel"] != ""), "kernel"]
    return str(kernels.iloc[0]) if len(kernels) else ""


def _efficiency_grid(records: pd.DataFrame) -> Table:
    """One line a model, batch and length."""
    rows = records[(records["axis"] == "E") & records["length"].notna() & records["batch"].notna()]
    plugged = plugged_metrics(rows)
    metrics = tuple(m for m in (*_AT_POINT, *_metered(rows), *plugged) if m in set(rows["metric"]))
    names = candidate_names(records)
    cells = [
        row
        | {
            "candidate": name_of(row, names),
            "batch": int(row["batch"]),
            "length": int(row["length"]),
        }
        for row in rows_of(rows[rows["metric"].isin(metrics)])
    ]
    title = "Efficiency over batch and length"
    return _assemble(title, ("candidate", "batch", "length"), metrics, cells, plugged)


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
