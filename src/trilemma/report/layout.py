"""Summary tables as people read them: candidates side by side, one sheet for each metric, notes below."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from trilemma.analysis.candidates import rows_of
from trilemma.metrics import AGGREGATED
from trilemma.report.tables import BASELINES, Table
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
    rows = [(key, *table.frame[key]) for key in table.keys[1:]]
    for name in table.metrics:
        cells = [_cell(table, row, name) + notes.mark(own.get(name, "")) for row, own in _rows(table)]
        rows.append((table.title_of(name), *cells))
    return Sheet(table.title, ("", *table.frame["candidate"]), tuple(rows), notes.lines())


def _side_by_side(table: Table, name: str) -> Sheet:
    """One metric: keys down, candidates across."""
    notes = Notes()
    average = next((m for m in table.metrics if AGGREGATED.get(m) == name), name)
    everyone = list(dict.fromkeys(table.frame["candidate"]))
    keys = [key for key in table.keys[1:] if key != "set" or _sets_matter(table.frame)]
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    counts: dict[tuple[str, ...], list[int]] = {}
    baseline, heading = _BASELINE_OF.get(name, ("", ""))
    reached: dict[tuple[str, ...], str] = {}
    for row, own in _rows(table):
        used = average if pd.isna(row[name]) and not pd.isna(row[average]) else name
        if pd.isna(row[used]) and used not in own:
            continue
        key = tuple("" if pd.isna(row[k]) else str(row[k]) for k in keys)
        lines.setdefault(key, {})[row["candidate"]] = _cell(table, row, used) + notes.mark(own.get(used, ""))
        counts.setdefault(key, []).extend([] if pd.isna(row[f"{used}_n"]) else [int(row[f"{used}_n"])])
        if baseline in table.metrics and not pd.isna(row[baseline]):
            reached[key] = _cell(table, row, baseline, limits=False)
    everyone = [candidate for candidate in everyone if any(candidate in cells for cells in lines.values())]
    rows = []
    for key, cells in lines.items():
        without_skill = [reached.get(key, "–")] if reached else []
        rows.append((*key, _range(counts[key]), *without_skill, *(cells.get(name, "–") for name in everyone)))
    header = (*keys, "n", *([heading] if reached else []), *everyone)
    title = table.title_of(name)
    return Sheet(
        f"{table.title}: {title}", header, tuple(rows), notes.lines(), fixed=len(header) - len(everyone)
    )


def _rows(table: Table) -> Iterator[tuple[dict[str, Any], Mapping[str, str]]]:
    """Each row with its notes by metric."""
    return zip(rows_of(table.frame), table.notes, strict=True)


def _sets_matter(frame: pd.DataFrame) -> bool:
    """Whether some task was evaluated on several sets."""
    return bool((frame.groupby("task")["set"].nunique() > 1).any())


def _cell(table: Table, row: dict[str, Any], name: str, limits: bool = True) -> str:
    low, high = (row[f"{name}_low"], row[f"{name}_high"]) if limits else (None, None)
    return format_value(row[name], table.unit_of(name), low, high)


def _range(counts: Sequence[int]) -> str:
    """One number where candidates agree, else the smallest and largest."""
    if not counts:
        return "–"
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
