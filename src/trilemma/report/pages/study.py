"""The whole result of a study on one page (:mod:`trilemma.report.pages.page` says how text is escaped)."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from trilemma.analysis.comparisons import Comparison
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.operating_point import operating_point
from trilemma.analysis.pareto import Front, three_axes
from trilemma.analysis.reading import cleaned
from trilemma.analysis.values import Candidate, OperatingPoint, candidates
from trilemma.decision.verdict import Verdict, verdict
from trilemma.errors import TrilemmaError
from trilemma.files import write_text
from trilemma.report import attacks, examples, tables
from trilemma.report.charts import figures, robustness
from trilemma.report.charts.encoding import Figure
from trilemma.report.charts.phases import phases_figure
from trilemma.report.charts.roofline import roofline_figure
from trilemma.report.forecasts import forecast_sheet
from trilemma.report.layout import Sheet
from trilemma.report.pages import figure_sections, sections
from trilemma.report.pages.page import figures_data, frame, resource

LARGE = 300_000
"""Rows of the items table above which attack success rates are left to ``trilemma compare``: slow to test."""

SECTIONS = {
    "front": "Trade-off",
    "levels": "Levels",
    "methods": "Methods",
    "attacks": "Attacks",
    "length": "Length",
    "phases": "Phases",
    "roofline": "Roofline",
    "comparisons": "Comparisons",
    "examples": "Examples",
    "numbers": "Numbers",
    "caveats": "Caveats",
}
"""What the bar at the top links to."""


@dataclass(frozen=True)
class Content:
    """What a report says, before it is a page."""

    study: str
    verdict: Verdict
    front: Front | None
    comparisons: tuple[Comparison, ...]
    figures: tuple[Figure, ...]
    tables: tuple[tables.Table, ...]
    attacks: Sheet | None
    forecasts: Sheet | None
    examples: examples.ExampleSet


def write(
    records: pd.DataFrame, items: pd.DataFrame, path: Path, title: str = "", at: OperatingPoint | None = None
) -> Path:
    """Write the report.

    Args:
        records: the records table.
        items: the items table.
        path: the HTML file to write.
        title: shown at the top; by default the study's name.
        at: the operating point at which efficiency is read.

    Raises:
        TrilemmaError: when the records are empty.
        StoreError: when the file cannot be written.
    """
    if records.empty:
        raise TrilemmaError("the records table is empty: there is nothing to report; run the study first")
    page = render(records, items, title, at)
    write_text(path, page)
    return path


def content(
    records: pd.DataFrame, items: pd.DataFrame, title: str = "", at: OperatingPoint | None = None
) -> Content:
    """Compute everything the page shows."""
    evidence = Evidence(records, items, at or operating_point(records))
    placed = three_axes(evidence)
    metrics = sections.COMPARED if len(items) <= LARGE else sections.COMPARED[:-1]
    compared = [c for metric in metrics for c in evidence.comparisons(metric)]
    drawn = [
        figures.pareto_figure(evidence) if placed else None,
        robustness.levels_figure(evidence) if len(items) else None,
        robustness.methods_figure(evidence),
        attacks.transfer_figure(records),
        figures.length_figure(records),
        phases_figure(records),
        roofline_figure(records),
    ]
    return Content(
        title or str(records["study"].iloc[0]),
        verdict(evidence, placed, compared),
        placed,
        tuple(compared),
        tuple(figure for figure in drawn if figure is not None and figure.variants),
        tuple(tables.all_tables(records, at=at)),
        attacks.attack_sheet(records),
        forecast_sheet(records),
        examples.collect(items, candidates(records)),
    )


def render(
    records: pd.DataFrame, items: pd.DataFrame, title: str = "", at: OperatingPoint | None = None
) -> str:
    """The whole page as a string."""
    records = cleaned(records)
    at = at or operating_point(records)
    shown = content(records, items, title, at)
    everyone = candidates(records)
    data = {
        "candidates": [c.name for c in everyone],
        "figures": figures_data(shown.figures),
        "examples": shown.examples.examples,
        "tasks": shown.examples.tasks,
        "comparisons": [sections.comparison_row(c) for c in sections.most_important(shown.comparisons)],
    }
    main = Template(resource("study.html")).substitute(
        title=escape(shown.study),
        headline=sections.prose(shown.verdict.headline, everyone),
        advice=sections.advice(shown.verdict, everyone),
        meta=sections.meta(records, len(everyone)),
        care=sections.care(shown.verdict),
        cards="".join(
            sections.card(ranking, [c.name for c in everyone], at) for ranking in shown.verdict.rankings
        ),
        findings=sections.findings(shown.verdict, everyone),
        cautions=sections.cautions(shown.verdict, everyone),
        trade_off=sections.trade_off(everyone) if any(f.name == "pareto" for f in shown.figures) else "",
        front=sections.front_table(shown.front),
        figures=_figures(shown, everyone),
        example_note=sections.example_note(shown.examples),
        comparison_note=sections.comparison_note(shown.comparisons),
        tables=sections.table_tabs(shown.tables),
        method=sections.method(records),
    )
    return frame(
        title=shown.study,
        sections=SECTIONS,
        main=main,
        data=data,
        scripts=("study.js",),
        skip_to="verdict",
        source=" from <code>records.parquet</code> and <code>items.parquet</code>",
    )


def _figures(shown: Content, everyone: list[Candidate]) -> str:
    """The charts in order, the table of attacks before the chart about them, that of forecasts last."""
    drawn = {figure.name: figure for figure in shown.figures if figure.name != "pareto"}
    parts = {
        name: figure_sections.chart_section(figure_sections.section_of(figure, everyone))
        for name, figure in drawn.items()
    }
    order = ["levels", "methods", "attacks", "transfer", "length", "phases", "roofline", "forecasts"]
    parts["attacks"] = figure_sections.attack_section(shown.attacks)
    parts["forecasts"] = figure_sections.forecast_section(shown.forecasts)
    return "".join(parts.get(name, "") for name in order)
