"""A study on one screen: a row a candidate, the main measure of every axis."""

import math
from collections.abc import Sequence

import pandas as pd

from trilemma.analysis.cautions import own_note, study_notes
from trilemma.analysis.comparisons import AVERAGE
from trilemma.analysis.metrics import METRICS, Metric, format_value
from trilemma.analysis.operating_point import operating_point
from trilemma.analysis.panels import benchmark_of
from trilemma.analysis.skill import NO_SKILL, meaningless_on
from trilemma.analysis.values import Candidate, OperatingPoint, Value, benchmark, candidates, points, recorded
from trilemma.report.layout import Notes, Sheet

_SCORES = (
    ("clean", "accuracy", "clean"),
    ("robust", "robust_accuracy", "all"),
    ("word", "robust_accuracy", "word"),
    ("sentence", "robust_accuracy", "sentence"),
    ("human", "robust_accuracy", "human"),
    ("unknown", "robust_accuracy", "unknown"),
    ("ASR", "attack_success_rate", "all"),
)
"""Column title, metric and level; a column that no candidate has a value for is left out."""

_COSTS = (
    ("latency", "latency_ms"),
    ("memory", "peak_inference_memory_bytes"),
    ("memory in training", "peak_training_memory_bytes"),
    ("parameters", "parameters"),
)


def summary(records: pd.DataFrame, at: OperatingPoint | None = None) -> list[Sheet]:
    """Performance with robustness, and efficiency at an operating point.

    Args:
        records: the records table.
        at: the operating point, by default :func:`~trilemma.analysis.operating_point.operating_point`'s.
    """
    at = at or operating_point(records)
    everyone, adversarial, elsewhere = candidates(records), benchmark(records), points(records, at)
    whole = records[records["seed"].isna() | (records["axis"] == "E")]

    def value(candidate: Candidate, metric: Metric, level: str | None = None) -> Value:
        own = whole[whole["model"] == candidate.model]
        return recorded(own, candidate, metric, at, level, adversarial, elsewhere.get(metric.name))

    scores = {
        title: [value(candidate, METRICS[name], level) for candidate in everyone]
        for title, name, level in _SCORES
    }
    costs = {title: [value(c, METRICS[name]) for c in everyone] for title, name in _COSTS}
    units = {title: METRICS[name].unit for title, name in _COSTS}
    names = [candidate.name for candidate in everyone]
    attacked = records[(records["axis"] == "R") & (records["task"] != AVERAGE)]
    tasks = set(attacked.loc[attacked["set"].map(benchmark_of) == adversarial, "task"])
    marked = [
        f"{name} ({NO_SKILL})" if tasks and tasks <= set(meaningless_on(robust)) else name
        for name, robust in zip(names, scores["robust"], strict=True)
    ]
    shared = study_notes(records)
    robust = f"; robust: {adversarial}, by level; ASR: attack success rate" if adversarial else ""
    return [
        *_sheet(f"Means over tasks (clean: official metrics{robust})", marked, scores, {}, shared),
        *_sheet(f"Efficiency at {at}", marked, costs, units, shared),
    ]


def _sheet(
    title: str,
    names: Sequence[str],
    columns: dict[str, list[Value]],
    units: dict[str, str],
    shared: Sequence[str],
) -> list[Sheet]:
    """The columns that some candidate has a value in; no sheet where there is none."""
    notes = Notes()
    present = {title: own for title, own in columns.items() if any(v.value is not None for v in own)}
    if not present:
        return []
    rows = [
        (
            name,
            *(
                _cell(own[row], units.get(column, "fraction"))
                + notes.mark(_note(own[row], shared, measured_on_items=not units))
                for column, own in present.items()
            ),
        )
        for row, name in enumerate(names)
    ]
    return [Sheet(title, ("", *present), tuple(rows), notes.lines(), fixed=1)]


def _note(value: Value, shared: Sequence[str], measured_on_items: bool) -> str:
    """Why there is no value, or what a reader of it must know."""
    note = own_note(value.note, shared)
    if value.value is None:
        note = note or "not measured"
    elif not measured_on_items:
        note = "; ".join(part for part in note.split("; ") if part.startswith("at "))
    return "; ".join(filter(None, ("partial split" if value.partial else "", note)))


def _cell(value: Value, unit: str) -> str:
    """Limits of fractions in whole percent, rounded outwards."""
    if unit != "fraction" or value.value is None or value.low is None or value.high is None:
        return format_value(value.value, unit, value.low, value.high)
    low, high = math.floor(100 * value.low + 1e-9), math.ceil(100 * value.high - 1e-9)
    return f"{format_value(value.value, unit)} [{low}, {high}]"
