"""Summary tables for a terminal, for documents and for programs."""

import json
import re
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from trilemma.errors import TrilemmaError
from trilemma.report.layout import Sheet, sheets
from trilemma.report.tables import Table

if TYPE_CHECKING:
    from rich.console import Console


def render(tables: Sequence[Table], format: str) -> str:
    """Text in one of the formats ``json`` and ``csv`` (raw numbers), ``markdown`` and ``latex``.

    Raises:
        TrilemmaError: for another format.
    """
    writers = {"json": _json, "csv": _csv, "markdown": _markdown, "latex": _latex}
    if format not in writers:
        raise TrilemmaError(f"unknown format {format!r}; known: table, {', '.join(writers)}")
    return writers[format](tables)


def show(console: "Console", tables: Sequence[Table], brief: bool = False) -> None:
    """Print to a terminal; ``brief`` leaves out what is not a main measure."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table as RichTable

    for sheet in (sheet for table in tables for sheet in sheets(table, brief)):
        grid = RichTable(title=escape(sheet.title), title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        grid.title_justify = "left"
        for name in sheet.header:
            grid.add_column(escape("\n".join(wrap(name, 14))), overflow="fold")
        for row in sheet.rows:
            grid.add_row(*(escape(re.sub(r"(\[\S+), ", r"\1,", cell)) for cell in row))
        console.print(grid)
        for note in sheet.notes:
            console.print(escape(note), style="dim", highlight=False)
        if sheet.notes:
            console.print()
    console.print("Brackets hold 95% intervals.", style="dim", highlight=False)


def _sheets(tables: Sequence[Table]) -> list[Sheet]:
    return [sheet for table in tables for sheet in sheets(table)]


def _json(tables: Sequence[Table]) -> str:
    content = {table.title: json.loads(table.frame.to_json(orient="records")) for table in tables}
    return json.dumps(content, indent=2, ensure_ascii=False)


def _csv(tables: Sequence[Table]) -> str:
    """Several tables follow each other, each after a comment line with its title."""
    if len(tables) == 1:
        return tables[0].frame.to_csv(index=False)
    return "\n".join(f"# {table.title}\n{table.frame.to_csv(index=False)}" for table in tables)


def _markdown(tables: Sequence[Table]) -> str:
    def line(cells: Sequence[str]) -> str:
        safe = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(safe)} |"

    parts = []
    for sheet in _sheets(tables):
        body = [line(sheet.header), line(["---"] * len(sheet.header)), *(line(row) for row in sheet.rows)]
        notes = "".join(f"\n\n{note}" for note in sheet.notes)
        parts.append(f"### {sheet.title}\n\n" + "\n".join(body) + notes)
    return "\n\n".join(parts) + "\n"


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
