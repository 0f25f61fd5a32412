"""Axis P: the official metrics on clean text."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trilemma.analysis.measures import MEASURES, Measure
from trilemma.analysis.panels import CLEAN, Candidate, Panel
from trilemma.analysis.scores.baselines import chance_f1, constant_f1, majority
from trilemma.analysis.scores.cells import Cell, cells
from trilemma.analysis.scores.context import Context
from trilemma.records import Record
from trilemma.tasks.metrics import compute


def performance(panel: Panel, candidate: Candidate, context: Context) -> Iterator[Record]:
    """A candidate's records on one clean split: official metrics by seed and over seeds, baselines.

    Args:
        panel: the split with the candidate's columns.
        candidate: whose.
        context: what all records share.
    """
    where = {
        "task": panel.task,
        "set": panel.set,
        "axis": "P",
        "level": CLEAN,
        "partial": context.is_partial(panel.task, panel.set),
    }
    for name in context.tasks[panel.task].metrics:
        measure = MEASURES[name]
        if reason := measure.missing(panel):
            note = f"not measured: {reason}"
            yield context.record(candidate, **where, metric=name, seed=None, notes=(note,))
            continue
        (cell,) = cells([panel], candidate.name, [[measure]])
        values = _official(panel, measure)
        for seed in cell.rows:
            value = float(np.mean(values)) if seed is None else values[cell.seeds.index(seed)]
            yield context.record(
                candidate,
                **where,
                **numbers(cell, seed, None if np.isnan(value) else value),
                metric=name,
                notes=seed_notes(cell, seed, context.seeds),
            )
    yield from baselines(panel, candidate, context, **where)


def _official(panel: Panel, measure: Measure) -> list[float]:
    """Every seed's value by the official metric's own implementation."""
    gold = panel.gold.tolist()
    return [compute(measure.name, gold, answer.tolist()) for answer in panel.answer.T]


def baselines(panel: Panel, candidate: Candidate, context: Context, **where: Any) -> Iterator[Record]:
    """What answers without skill reach on a panel's items; nothing for a regression or hidden labels.

    Accuracy of the majority class and of chance, and F1 of always answering the positive class and of
    chance where F1 is one of the task's official metrics.
    """
    if MEASURES["accuracy"].missing(panel):
        return
    share, (low, high), n = majority(panel)
    common = {**where, "seed": None, "n": n, "unit": "fraction"}
    yield context.record(
        candidate,
        **common,
        metric="majority_accuracy",
        value=share,
        low=low,
        high=high,
    )
    yield context.record(candidate, **common, metric="chance_accuracy", value=1 / panel.classes)
    if "f1" in context.tasks[panel.task].metrics and not MEASURES["f1"].missing(panel):
        yield context.record(candidate, **common, metric="constant_f1", value=constant_f1(panel))
        yield context.record(candidate, **common, metric="chance_f1", value=chance_f1(panel))


def numbers(cell: Cell, seed: int | None, value: float | None) -> dict[str, object]:
    """A cell's columns of a record."""
    low, high = cell.interval(seed)
    measured = value is not None
    return {
        "seed": seed,
        "n": cell.counts[seed],
        "value": value,
        "low": low if measured else None,
        "high": high if measured else None,
        "unit": "fraction",
    }


def seed_notes(cell: Cell, seed: int | None, seeds: int) -> tuple[str, ...]:
    """What a reader must know of the seeds behind a value over all seeds."""
    short: Sequence[int] = cell.seeds if seed is None and len(cell.seeds) < seeds else ()
    undefined = "not measured: undefined for these answers" if cell.value(seed) is None else ""
    return (f"{len(short)} of {seeds} seeds" if short else "", undefined)
