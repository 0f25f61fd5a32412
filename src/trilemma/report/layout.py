"""Summary tables as people read them: candidates side by side, one sheet for each metric, notes below."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import pandas as pd

from trilemma.analysis.lookup import Estimate
from trilemma.metrics import AGGREGATED, METRICS
from trilemma.records import AVERAGE
from trilemma.report.tables import BASELINES, Row, Table
from trilemma.units import format_value

_BASELINE_OF = {
    "accuracy": ("majority_accuracy", "majority"),
    "robust_accuracy": ("majority_accuracy", "majority"),
    "f1": ("constant_f1", "always yes"),
}
"""What an answer without skill reaches, and its column's heading."""

_DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹"


@dataclass(frozen=True)
class Sheet:
    """What is printed.

    Attributes:
        title: what it shows; brackets are 95% intervals.
        header: column titles.
        rows: cells: ``54.3% [48.5, 60.1]``, a dash where nothing was measured.
        notes: what the marks in the cells mean.
        fixed: how many columns name a row: they are repeated where a table is split to fit a page.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    fixed: int = 1


def sheets(table: Table) -> list[Sheet]:
    """A table's sheets: one for efficiency at a point, else one for each metric."""
    if table.keys[1:] == ("arch", "kernel"):
        return [_one_point(table)]
    # An average is shown in the sheet of what it averages.
    names = [m for m in table.metrics if m not in BASELINES and AGGREGATED.get(m) not in table.metrics]
    return [_side_by_side(table, name) for name in names]


SCORE = "mean over tasks of each task's official metrics, so no mean of the rows above"
"""What a score is, where its rows do not add up."""


class Notes:
    """Numbers the notes in the order in which cells need them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, note: str) -> str:
        """What a cell with this note carries."""
        if not note:
            return ""
        if note not in self.texts:
            self.texts.append(note)
        return "".join(_DIGITS[int(digit)] for digit in str(self.texts.index(note) + 1))

    def lines(self) -> tuple[str, ...]:
        """The notes with their marks."""
        return tuple(f"{self.mark(text)} {text}" for text in self.texts)


def _one_point(table: Table) -> Sheet:
    """Metrics down, candidates across."""
    notes = Notes()
    rows = [(key, *(str(row.keys[key]) for row in table.rows)) for key in table.keys[1:]]
    for name, metric in table.metrics.items():
        rows.append((metric.title, *(_cell(table, row, name, notes) for row in table.rows)))
    header = ("", *(str(row.keys["candidate"]) for row in table.rows))
    return Sheet(table.title, header, tuple(rows), notes.lines())


def _side_by_side(table: Table, name: str) -> Sheet:
    """One metric: keys down, candidates across."""
    notes = Notes()
    average = next((m for m in table.metrics if AGGREGATED.get(m) == name), name)
    keys = [key for key in table.keys[1:] if key != "set" or _sets_matter(table)]
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    counts: dict[tuple[str, ...], list[int]] = {}
    baseline, heading = _BASELINE_OF.get(name, ("", ""))
    reached: dict[tuple[str, ...], str] = {}
    adds_up = average == name or _adds_up(table, name, average)
    for row in table.rows:
        used = average if not _known(row, name) and _known(row, average) else name
        if not _known(row, used) and used not in row.notes:
            continue
        key = tuple("" if pd.isna(row.keys[k]) else str(row.keys[k]) for k in keys)
        if key[0] == AVERAGE and used != name and not adds_up:
            key = (f"{METRICS[used].title}{notes.mark(SCORE)}", *key[1:])
        lines.setdefault(key, {})[row.keys["candidate"]] = _cell(table, row, used, notes)
        n = row.values[used].n
        counts.setdefault(key, []).extend([] if n is None else [n])
        if _known(row, baseline):
            reached[key] = format_value(row.values[baseline].value, table.metrics[baseline].unit)
    everyone = dict.fromkeys(row.keys["candidate"] for row in table.rows)
    shown = [candidate for candidate in everyone if any(candidate in cells for cells in lines.values())]
    rows = []
    for key, cells in lines.items():
        without_skill = [reached.get(key, "–")] if reached else []
        rows.append((*key, _range(counts[key]), *without_skill, *(cells.get(one, "–") for one in shown)))
    header = (*keys, "n", *([heading] if reached else []), *shown)
    title = f"{table.title}: {table.metrics[name].title}"
    return Sheet(title, header, tuple(rows), notes.lines(), fixed=len(header) - len(shown))


def _adds_up(table: Table, name: str, average: str) -> bool:
    """Whether every average is the plain mean over tasks, each the mean of its sets, of the metric's rows."""
    by_place: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    means = {}
    for row in table.rows:
        place = row.keys["candidate"], row.keys.get("level")
        value = row.values.get(average if row.keys["task"] == AVERAGE else name, Estimate(None)).value
        if row.keys["task"] == AVERAGE:
            means[place] = value
        elif value is not None:
            by_place.setdefault(place, {}).setdefault(str(row.keys["task"]), []).append(value)
    plain = {place: mean([mean(own) for own in tasks.values()]) for place, tasks in by_place.items()}
    return all(
        value is None or math.isclose(value, plain.get(place, math.nan), abs_tol=1e-9)
        for place, value in means.items()
    )


def _sets_matter(table: Table) -> bool:
    """Whether some task was evaluated on several sets."""
    return len({(row.keys["task"], row.keys["set"]) for row in table.rows}) > len(
        {row.keys["task"] for row in table.rows}
    )


def _known(row: Row, name: str) -> bool:
    return name in row.values and row.values[name].value is not None


def _cell(table: Table, row: Row, name: str, notes: Notes) -> str:
    one = row.values.get(name, Estimate(None))
    text = format_value(one.value, table.metrics[name].unit, one.low, one.high)
    return text + notes.mark(row.notes.get(name, ""))


def _range(counts: Sequence[int]) -> str:
    """One number where candidates agree, else the smallest and largest."""
    if not counts:
        return "–"
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
