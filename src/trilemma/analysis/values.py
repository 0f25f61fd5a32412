"""Looking up one candidate's value of one metric in the records, at an operating point."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import pandas as pd

from trilemma.analysis.comparisons import AVERAGE
from trilemma.analysis.metrics import ENERGY, Metric
from trilemma.errors import TrilemmaError


@dataclass(frozen=True)
class Candidate:
    """One thing that could be deployed: a model, adapted in one way.

    Attributes:
        name: unique in the study: the model's name, with the adaptation where the model has several.
        model, adaptation, arch, parameters: as in the records.
    """

    name: str
    model: str
    adaptation: str
    arch: str
    parameters: int | None


@dataclass(frozen=True)
class OperatingPoint:
    """Where efficiency is read off: items a batch, tokens an item."""

    batch: int = 1
    length: int = 128

    def __str__(self) -> str:
        return f"batch {self.batch}, length {self.length}"

    @classmethod
    def parse(cls, text: str) -> "OperatingPoint":
        """Read ``batch=16,length=512`` (either part may be left out).

        Raises:
            TrilemmaError: when it says anything else.
        """
        parts = dict(re.findall(r"(batch|length)\s*=\s*([1-9][0-9]*)", text))
        if (
            not re.fullmatch(r"\s*(batch|length)\s*=\s*\d+\s*(,\s*(batch|length)\s*=\s*\d+\s*)?", text)
            or not parts
        ):
            raise TrilemmaError(
                f"cannot read the operating point {text!r}; write for example batch=1,length=128"
            )
        return cls(**{name: int(number) for name, number in parts.items()})


@dataclass(frozen=True)
class Value:
    """One value with its 95% interval; ``value`` is None where nothing was measured; ``note`` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    partial: bool = False
    note: str = ""


def candidates(records: pd.DataFrame) -> list[Candidate]:
    """The study's candidates in the order in which the records name them.

    Raises:
        TrilemmaError: where a record names no model or no adaptation.
    """
    nameless = int((records["model"].isna() | (records["model"] == "")).sum())
    if nameless:
        raise TrilemmaError(f"{nameless} of the records name no model; give them one or remove these rows")
    if unadapted := int(records["adaptation"].isna().sum()):
        raise TrilemmaError(
            f'{unadapted} of the records have no adaptation; write "" there for values of the unadapted model'
        )
    seen = records[["model", "adaptation"]].drop_duplicates()
    facts = rows_of(records.groupby("model", sort=False)[["arch", "parameters"]].first().reset_index())
    by_model = {row["model"]: row for row in facts}
    result = []
    for model in dict.fromkeys(records["model"]):
        names = seen.loc[seen["model"] == model, "adaptation"]
        adaptations = [name for name in names if name] or [""]
        parameters = by_model[model]["parameters"]
        for adaptation in adaptations:
            name = f"{model}:{adaptation}" if len(adaptations) > 1 else str(model)
            count = None if pd.isna(parameters) else int(parameters)
            result.append(Candidate(name, str(model), str(adaptation), _text(by_model[model]["arch"]), count))
    return result


def candidate_names(records: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Model and adaptation to the candidate's name."""
    return {(c.model, c.adaptation): c.name for c in candidates(records)}


def name_of(row: Mapping[str, Any], names: Mapping[tuple[str, str], str]) -> str:
    """The candidate of a record; the model where the record holds for all its adaptations."""
    model = str(row["model"])
    return names.get((model, str(row["adaptation"])), model)


def find_candidate(records: pd.DataFrame, name: str) -> Candidate:
    """The candidate called ``name``.

    Raises:
        TrilemmaError: if there is none, naming those there are.
    """
    known = candidates(records)
    for candidate in known:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in known)
    raise TrilemmaError(f"no candidate is called {name!r}; this study has: {names or 'none'}")


_TRAINING = (
    "peak_training_memory_bytes",
    "training_examples_per_s",
    *(name for name in ENERGY if "training" in name),
)
"""Metrics of training, which is measured at points of its own."""


def points(records: pd.DataFrame, at: OperatingPoint) -> dict[str, OperatingPoint]:
    """Where the metrics of training are read: at ``at``, or else where most candidates were measured.

    Of several such points it is the one nearest in length, then the largest batch; it is the same for
    all candidates.
    """
    found = {}
    for name in _TRAINING:
        rows = records[(records["metric"] == name) & records["value"].notna()]
        own = rows[["batch", "length", "model", "adaptation"]].drop_duplicates()
        counts = own.groupby(["batch", "length"]).size().reset_index(name="count")
        measured = [
            (
                row["count"],
                -abs(row["length"] - at.length),
                row["batch"],
                OperatingPoint(int(row["batch"]), int(row["length"])),
            )
            for row in rows_of(counts)
        ]
        if measured and at not in [point for *_, point in measured]:
            found[name] = max(measured, key=lambda entry: entry[:3])[3]
    return found


def benchmarks(records: pd.DataFrame) -> list[str]:
    """The adversarial benchmarks that candidates were measured on; AdvGLUE's own rule first."""
    rows = records[(records["axis"] == "R") & (records["task"] == AVERAGE)]
    names = [str(name) for name in dict.fromkeys(rows["set"])]
    return sorted(names, key=lambda name: not name.startswith("advglue"))


def benchmark(records: pd.DataFrame) -> str:
    """The adversarial benchmark that stands for robustness: AdvGLUE, or else the first; "" for none."""
    return next(iter(benchmarks(records)), "")


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as mappings from column to value."""
    return cast(list[dict[str, Any]], table.to_dict("records"))


def of_candidate(table: pd.DataFrame, candidate: Candidate) -> pd.DataFrame:
    """The rows of records or items that belong to the adapted model."""
    return table[(table["model"] == candidate.model) & (table["adaptation"] == candidate.adaptation)]


def recorded(
    records: pd.DataFrame,
    candidate: Candidate,
    metric: Metric,
    at: OperatingPoint,
    level: str | None = None,
    adversarial: str = "",
    elsewhere: OperatingPoint | None = None,
) -> Value:
    """The candidate's value of ``metric`` over all seeds and the study's tasks.

    Performance and robustness are aggregated by the AdvGLUE leaderboard's rule (the records'
    ``average`` rows); efficiency is read at ``at``. Training time is summed over tasks, each the
    mean of its seeds.

    Args:
        records: the records table, or the rows of the candidate's model.
        candidate: whose value.
        metric: which metric.
        at: the operating point, for metrics that depend on batch or length.
        level: robustness level; by default all levels, and ``clean`` on axis P.
        adversarial: the benchmark that stands for robustness (:func:`benchmark`).
        elsewhere: read the metric there and say so in the note (:func:`points`).
    """
    if metric.name == "training_seconds":
        return _training_time(of_candidate(records, candidate))
    if metric.axis == "E" or metric.name == "held_out_perplexity":
        rows = records[(records["model"] == candidate.model) & (records["metric"] == metric.name)]
        # Training belongs to an adaptation (once it was always full); what else is measured holds for all.
        general = metric.name not in _TRAINING or candidate.adaptation in ("", "full")
        belonging = [candidate.adaptation, *([""] if general else [])]
        return _at_point(rows[rows["adaptation"].isin(belonging)], at, elsewhere)
    rows = of_candidate(records, candidate)
    rows = rows[(rows["task"] == AVERAGE) & rows["seed"].isna() & (rows["method"] == "")]
    rows = rows[rows["level"] == (level or ("clean" if metric.axis == "P" else "all"))]
    if metric.axis == "R":
        rows = rows[rows["set"] == adversarial]
    for name in (metric.average, metric.name):
        if (rows["metric"] == name).any():
            return _value(rows[rows["metric"] == name])
    return Value(None, note="not measured")


def _value(rows: pd.DataFrame) -> Value:
    """The value of the first row; a number that cannot be one of its metric is not taken."""
    row = rows.iloc[0]
    note = _text(row["note"])
    if pd.isna(row["value"]):
        return Value(None, note=note or "not measured")
    value = float(row["value"])
    if not _possible(value, _text(row["unit"])):
        return Value(None, note=f"not measured: {value:g} is recorded, which is no {row['metric']}")
    known = all(not pd.isna(row[limit]) and math.isfinite(row[limit]) for limit in ("low", "high"))
    return Value(
        value,
        float(row["low"]) if known else None,
        float(row["high"]) if known else None,
        None if pd.isna(row["n"]) else int(row["n"]),
        not pd.isna(row["partial"]) and bool(row["partial"]),
        note,
    )


def _possible(value: float, unit: str) -> bool:
    """Whether a number can be measured at all: finite, times and rates above 0, counts not below."""
    if unit in ("ms", "s") or unit.endswith("/s"):
        return math.isfinite(value) and value > 0
    return math.isfinite(value) and (value >= 0 or unit not in ("bytes", "count", "FLOPs"))


def _text(value: object) -> str:
    """A text of the records; absent ones are ""."""
    return value if isinstance(value, str) else ""


def _at_point(rows: pd.DataFrame, at: OperatingPoint, elsewhere: OperatingPoint | None) -> Value:
    if elsewhere is not None:
        value = _at_point(rows, elsewhere, None)
        note = f"at {elsewhere}"
        return (
            value if value.value is None else replace(value, note="; ".join(filter(None, (note, value.note))))
        )
    here = rows[
        (rows["batch"].isna() | (rows["batch"] == at.batch))
        & (rows["length"].isna() | (rows["length"] == at.length))
    ]
    measured = here[here["value"].notna()]
    if len(measured):
        return _value(measured)
    if len(here):
        return _value(here)
    others = rows[rows["value"].notna()]
    if others.empty:
        return _value(rows) if len(rows) else Value(None, note="not measured")
    grid = "; ".join(
        f"{name} {', '.join(str(int(v)) for v in sorted(others[name].dropna().unique()))}"
        for name in ("batch", "length")
        if others[name].notna().any()
    )
    return Value(None, note=f"not measured at {at} (measured at {grid})")


def _training_time(rows: pd.DataFrame) -> Value:
    tasks = [task for task in dict.fromkeys(rows["task"]) if task not in ("", AVERAGE)]
    rows = rows[(rows["metric"] == "training_seconds")]
    measured = rows[[_possible(value, "s") for value in rows["value"]]]
    if measured.empty:
        return _value(rows) if len(rows) else Value(None, note="not measured")
    if untrained := [task for task in tasks if task not in set(measured["task"])]:
        return Value(None, note=f"not measured: no training on {', '.join(untrained)}")
    seconds = measured.groupby("task")["value"].mean().sum()
    return Value(float(seconds), n=len(measured), note="summed over tasks, mean of seeds")
