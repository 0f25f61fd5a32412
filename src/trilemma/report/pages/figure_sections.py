"""The sections of a page that hold a chart, or a table that belongs to charts, as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from trilemma.analysis.candidates import Candidate
from trilemma.report.charts.encoding import Figure, models_at
from trilemma.report.charts.heat_map import columns_width
from trilemma.report.layout import Sheet
from trilemma.report.pages.sections import grid, legend

_SECTIONS = {
    "levels": (
        "Accuracy by level of attack",
        "Clean text beside word-level, sentence-level and human-written attacks. Vertical bars are 95% "
        "intervals; a grey line is what always answering the majority class would reach.",
    ),
    "methods": (
        "Accuracy by attack method",
        "Each cell is robust accuracy under one attack. Point at a cell for its number of answers.",
    ),
    "transfer": (
        "Do examples made on one model fool another?",
        "Each cell is the share of examples that succeeded on the model of the row and fool the model of the "
        "column too, of those whose original it answers correctly; the diagonal is the attack's own "
        "success rate. A column that stays pale is robust; a dark diagonal in a pale column belongs to a "
        "model that is merely unlike the others. Point at a cell for its interval.",
    ),
    "length": (
        "Efficiency against length and batch",
        "An architecture's advantage shows over lengths, not at one. Both axes are logarithmic, bands are "
        "95% intervals.",
    ),
    "phases": (
        "Prefill and decoding",
        "How long a whole answer takes: the full part of a bar is the prompt's prefill, until the first "
        "token, the pale part the decoding of all further ones, as many as were measured.",
    ),
    "roofline": (
        "How near to the machine's limits",
        "Each mark is one model at one batch and length. Under the slope of the grey roof memory is the "
        "limit, under its level part the multipliers are. Vertical bars are 95% intervals; a mark above the "
        "roof reads from the caches, or computes less than was counted.",
    ),
}


@dataclass(frozen=True)
class ChartSection:
    """A chart with what stands around it.

    Attributes:
        figure: the chart; its name is the section's id.
        title: heading.
        lead: how to read it.
        marks: names to the numbers of their marks, for the legend; empty for none.
        width: rem that it needs at least.
    """

    figure: Figure
    title: str
    lead: str
    marks: Mapping[str, int]
    width: float = 0


def section_of(figure: Figure, everyone: Sequence[Candidate]) -> ChartSection:
    """A chart of records with its heading and, where marks stand for candidates, their legend."""
    tiles, names = figure.name in ("methods", "transfer"), [candidate.name for candidate in everyone]
    marks = {name: i for i, name in enumerate(names)}
    if figure.name in ("phases", "roofline"):  # measured on models
        marks = models_at(everyone)
    if figure.name == "length":  # what training takes, on candidates
        marks = models_at(everyone) | marks
    width = 12 + columns_width(names) if tiles else 0  # so that a heat map's names have room
    return ChartSection(figure, *_SECTIONS[figure.name], {} if tiles else marks, width)


def chart_section(shown: ChartSection) -> str:
    """The section as HTML; the page's script fills in the controls and draws."""
    figure = shown.figure
    return (
        f'<section id="{figure.name}"><h2>{escape(shown.title)}</h2><p class="lead">{escape(shown.lead)}</p>'
        f'<div class="controls" data-controls="{figure.name}"></div>'
        f"{legend(shown.marks) if shown.marks else ''}"
        f'<figure class="chart"><div data-figure="{figure.name}" style="min-width:{shown.width:g}rem" '
        f'role="img" aria-label="{escape(figure.description)}"></div></figure></section>'
    )


def attack_section(sheet: Sheet | None) -> str:
    """What each attack did to each candidate; nothing where none ran."""
    if sheet is None:
        return ""
    lead = (
        "Each attack searched for inputs that this very model gets wrong, starting from items that it "
        "answers correctly. Words changed, similarity and queries are means over its successes."
    )
    return _table_section("attacks", sheet.title, lead, sheet)


def forecast_section(sheet: Sheet | None) -> str:
    """How far forecasts were off; nothing where none was made."""
    if sheet is None:
        return ""
    lead = (
        "Each model's times were forecast from those of the study's other models, and from a calibration of "
        "the machine where there is one. Errors are absolute and relative to what was measured; the interval "
        "of a forecast should hold 90% of the times."
    )
    return _table_section("forecasts", "How well these speeds could have been forecast", lead, sheet)


def _table_section(name: str, title: str, lead: str, sheet: Sheet) -> str:
    head = f'<h2>{escape(title)}</h2><p class="lead">{escape(lead)}</p>'
    return f'<section id="{name}">{head}{grid(sheet)}</section>'
