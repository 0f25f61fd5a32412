"""A sweep over clock frequencies as one HTML page: a chart, what to run at, and the tables as printed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trilemma.files import write_text
from trilemma.report.charts.clocks import STANDINGS, Mark, clocks_figure
from trilemma.report.layout import Sheet
from trilemma.report.pages import page
from trilemma.report.pages.figure_sections import ChartSection

TITLE = "Time and energy by clock frequency"


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
    lead = (
        "Each mark is one frequency. The line joins the Pareto front: beside any other frequency there is "
        "one that is better in time or energy and not worse in the other. The axes do not begin at zero."
    )
    legend = {standing: index for index, standing in enumerate(STANDINGS)}
    words = {sheet.title: sheet.notes for sheet in sheets}
    body: list[ChartSection | page.TextSection] = [
        *([ChartSection(clocks_figure(marks), TITLE, lead, legend)] if marks else []),
        *([page.TextSection("chosen", "What to run at", words)] if words else []),
        *([page.TextSection("queries", "By length of query", queries)] if queries else []),
    ]
    tables = [Sheet(one.title, one.header, one.rows, ()) for one in sheets]
    write_text(path, page.render(TITLE, facts, body, tables))
