"""The sections of a page that hold a chart, or a table that belongs to charts, as HTML."""

from collections.abc import Mapping, Sequence
from html import escape

from trilemma.analysis.candidates import Candidate
from trilemma.report.charts.encoding import Figure, models_at
from trilemma.report.charts.heat_map import columns_width
from trilemma.report.contents import CONTENTS
from trilemma.report.layout import Sheet
from trilemma.report.pages.sections import grid, legend


def chart_section(figure: Figure, marks: Mapping[str, int], width: float = 0, lead: str = "lead") -> str:
    """A chart with its heading and legend; the page's script fills in the controls and draws.

    Args:
        figure: the chart; its name is the section's id.
        marks: names to the numbers of their marks, for the legend; empty for none.
        width: rem that it needs at least.
        lead: which of the section's texts says how to read it.
    """
    name, texts = figure.name, CONTENTS["sections"][figure.name]
    chart = (
        f'<div class="controls" data-controls="{name}"></div>{legend(marks) if marks else ""}'
        f'<figure class="chart"><div data-figure="{name}" style="min-width:{width:g}rem" '
        f'role="img" aria-label="{escape(texts["description"])}"></div></figure>'
    )
    return _section(name, texts["title"], texts.get(lead, texts["lead"]), chart)


def candidates_chart(figure: Figure, everyone: Sequence[Candidate], lead: str = "lead") -> str:
    """The section of a chart of records, with a legend where marks stand for candidates."""
    tiles, names = figure.name in ("methods", "transfer"), [candidate.name for candidate in everyone]
    marks = {name: i for i, name in enumerate(names)}
    if figure.name in ("phases", "roofline"):  # measured on models
        marks = models_at(everyone)
    if figure.name == "length":  # what training takes, on candidates
        marks = models_at(everyone) | marks
    width = 12 + columns_width(names) if tiles else 0  # so that a heat map's names have room
    return chart_section(figure, {} if tiles else marks, width, lead)


def table_section(name: str, sheet: Sheet | None) -> str:
    """A table with its heading, its own title where the section has none; nothing where there is no table."""
    if sheet is None:
        return ""
    texts = CONTENTS["sections"][name]
    return _section(name, texts.get("title", sheet.title), texts["lead"], grid(sheet))


def _section(name: str, title: str, lead: str, content: str) -> str:
    head = f'<h2>{escape(title)}</h2><p class="lead">{escape(lead)}</p>'
    return f'<section id="{name}">{head}{content}</section>'
