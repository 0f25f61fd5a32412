"""Tables and sentences for a terminal, and tables for documents and programs."""

import html
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING

from trilemma.errors import TrilemmaError
from trilemma.report.layout import Sheet, sheets
from trilemma.report.tables import Table
from trilemma.terminal import harmless_cell, printable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


def render(tables: Sequence[Table], format: str) -> str:
    """Text in one of the formats ``json`` and ``csv`` (raw numbers), ``markdown`` and ``latex``.

    Raises:
        TrilemmaError: for another format, or several tables as CSV.
    """
    writers = {"json": _json, "csv": _csv, "markdown": _markdown, "latex": _latex}
    if format not in writers:
        raise TrilemmaError(f"unknown format {format!r}; known: table, {', '.join(writers)}")
    return printable(writers[format](tables))


def show(console: "Console", shown: Sequence[Sheet], brackets: str = "Brackets hold 95% intervals.") -> None:
    """Print to a terminal, whatever its width: limits below their value, tables split, where they must be.

    Args:
        console: to print to.
        shown: the tables.
        brackets: what the brackets in them hold.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    for sheet in shown:
        console.print(Text(printable(sheet.title), style="bold"), highlight=False)
        for header, *rows in _fitted(sheet, console.width - 2):  # the box has a blank at either side
            grid = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
            for name in header:
                grid.add_column(Text(printable(name)), no_wrap=False, overflow="fold")
            for row in rows:
                grid.add_row(*(Text(printable(cell)) for cell in row))
            console.print(grid)
        for note in sheet.notes:
            console.print(Text(printable(note)), style="dim", highlight=False)
        if sheet.notes:
            console.print()
    if brackets:
        console.print(brackets, style="dim", highlight=False)


def print_verdict(console: "Console", sentence: str, doubts: Sequence[str]) -> None:
    """Print a verdict and what limits it."""
    from rich.text import Text

    console.print()
    console.print(Text(printable(sentence), style="bold"), highlight=False)
    for doubt in doubts:
        console.print(Text(printable(doubt)), style="dim", highlight=False)


_GAP = 2
"""Columns of a terminal between two columns of a table."""

_NAME = 18
"""Longest line of a name where room is short."""


def _fitted(sheet: Sheet, width: int) -> list[list[tuple[str, ...]]]:
    """The sheet as header and rows that fit ``width``: as one table, with lower cells, or as several."""
    whole = [sheet.header, *(tuple(re.sub(r"(\[\S+), ", r"\1,", c) for c in row) for row in sheet.rows)]
    if sum(_widths(whole)) <= width + _GAP:
        return [whole]
    low = [tuple(_lower(cell) for cell in row) for row in whole]
    widths, cuts, used = _widths(low), [sheet.fixed], 0
    room = width + _GAP - sum(widths[: sheet.fixed])
    for column in range(sheet.fixed, len(widths)):
        if used and used + widths[column] > room:
            cuts, used = [*cuts, column], 0
        used += widths[column]
    return [
        [(*row[: sheet.fixed], *row[start:end]) for row in low]
        for start, end in pairwise([*cuts, len(widths)])
    ]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width that every column takes, with the gap after it."""
    return [
        max(len(line) for cell in column for line in cell.split("\n")) + _GAP
        for column in zip(*rows, strict=True)
    ]


def _lower(cell: str) -> str:
    """Limits below their value, long names on several lines."""
    if " [" in cell:
        return cell.replace(" [", "\n[")
    return "\n".join(wrap(cell, _NAME, break_long_words=False)) or cell


def _sheets(tables: Sequence[Table]) -> list[Sheet]:
    return [sheet for table in tables for sheet in sheets(table)]


def _json(tables: Sequence[Table]) -> str:
    content = {table.title: json.loads(table.frame.to_json(orient="records")) for table in tables}
    return json.dumps(content, indent=2, ensure_ascii=False)


def _csv(tables: Sequence[Table]) -> str:
    """The table, in which no text, that of the header neither, is a formula to a spreadsheet."""
    if len(tables) > 1:
        raise TrilemmaError(
            f"a CSV file holds one table, and these are {len(tables)}: name one (--table NAME), or give "
            "a folder for a file of each (--out FOLDER)"
        )
    return _for_spreadsheets(tables[0].frame).to_csv(index=False)


def _for_spreadsheets(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A frame in which no text, that of its header neither, is a formula."""

    def harmless(value: object) -> object:
        return harmless_cell(value) if isinstance(value, str) else value

    return frame.map(harmless).rename(columns=harmless)


def _markdown(tables: Sequence[Table]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(_markdown_text(cell) for cell in cells)} |"

    parts = []
    for sheet in _sheets(tables):
        body = [line(sheet.header), line(["---"] * len(sheet.header)), *(line(row) for row in sheet.rows)]
        notes = "".join(f"\n\n{_markdown_text(note)}" for note in sheet.notes)
        parts.append(f"### {_markdown_text(sheet.title)}\n\n" + "\n".join(body) + notes)
    return "\n\n".join(parts) + "\n"


def _markdown_text(text: str) -> str:
    """Text in a line of markdown: no HTML, no link or image that a browser follows, and no end of a cell."""
    text = html.escape(text, quote=False).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("](", "]\\(").replace("\n", " ")


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "–": "--", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$",
}  # fmt: skip
_LATEX |= {mark: f"$^{number}$" for number, mark in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}


def latex_escape(text: str) -> str:
    """Text with LaTeX's special characters made ordinary."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex(tables: Sequence[Table]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(latex_escape(cell) for cell in cells) + r" \\"

    parts = []
    for sheet in _sheets(tables):
        lines = [
            r"\begin{table}",
            rf"\caption{{{latex_escape(sheet.title)}}}",
            rf"\begin{{tabular}}{{{'l' * len(sheet.header)}}}",
            line(sheet.header),
            r"\hline",
            *(line(row) for row in sheet.rows),
            r"\end{tabular}",
            *(rf"\\{latex_escape(note)}" for note in sheet.notes),
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
