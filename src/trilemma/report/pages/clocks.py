"""A sweep over clock frequencies as one HTML page: a chart, what to run at, and the tables as printed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trilemma.files import write_text
from trilemma.report.charts.clocks import STANDINGS, Mark, clocks_figure
from trilemma.report.contents import CONTENTS
from trilemma.report.layout import Sheet
from trilemma.report.pages import page
from trilemma.report.pages.figure_sections import chart_section


def write(
    path: Path,
    facts: Sequence[str],
    marks: Mapping[tuple[str, str, str, str], Sequence[Mark]],
    sheets: Sequence[Sheet],
    queries: Mapping[str, Sequence[str]],
) -> None:
    """Write a sweep as a page, whole or not at all.

    Args:
        path: the HTML file to write.
        facts: lines about the whole, such as hardware and versions.
        marks: the frequencies, by model, batch, length and phase.
        sheets: the tables, whose notes say what to run at.
        queries: what queries of each length should run at: sentences by what they are about.

    Raises:
        StoreError: where that place cannot be written.
    """
    title = CONTENTS["sections"]["clocks"]["title"]
    figures, sections = [], {}
    if marks:
        figures = [clocks_figure(marks)]
        legend = {standing: index for index, standing in enumerate(STANDINGS)}
        sections["clocks"] = chart_section(figures[0], legend)
    if words := {sheet.title: sheet.notes for sheet in sheets}:
        sections["chosen"] = page.text_section("chosen", "What to run at", words)
    if queries:
        sections["queries"] = page.text_section("queries", "By length of query", queries)
    tables = [replace(sheet, notes=()) for sheet in sheets]
    write_text(path, page.render(title, facts, figures, sections, tables))
