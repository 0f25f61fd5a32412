"""The whole result of a study on one page (:mod:`trilemma.report.pages.page` says how text is escaped)."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from trilemma.analysis.candidates import Candidate
from trilemma.analysis.cautions import absences
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.goals import Goals
from trilemma.analysis.lookup import cleaned, operating_point
from trilemma.analysis.pareto import Front, three_axes
from trilemma.decision.verdict import verdict
from trilemma.errors import TrilemmaError
from trilemma.files import write_text
from trilemma.operating_point import OperatingPoint
from trilemma.report import examples, tables
from trilemma.report.charts import robustness
from trilemma.report.charts.encoding import Figure
from trilemma.report.charts.length import length_figure
from trilemma.report.charts.pareto import pareto_figure
from trilemma.report.charts.phases import phases_figure
from trilemma.report.charts.roofline import roofline_figure
from trilemma.report.contents import CONTENTS
from trilemma.report.pages import sections
from trilemma.report.pages.figure_sections import candidates_chart, table_section
from trilemma.report.pages.page import figures_data, frame, resource
from trilemma.report.sheets import attack_sheet, forecast_sheet


def write(
    records: pd.DataFrame,
    items: pd.DataFrame,
    path: Path,
    title: str = "",
    at: OperatingPoint | None = None,
    goals: Goals | None = None,
) -> Path:
    """Write the report of both tables as :func:`render` makes it, and return the path.

    Raises:
        TrilemmaError: when the records are empty.
        StoreError: when the file cannot be written.
    """
    if records.empty:
        raise TrilemmaError("the records table is empty: there is nothing to report; run the study first")
    write_text(path, render(records, items, title, at, goals))
    return path


def render(
    records: pd.DataFrame,
    items: pd.DataFrame,
    title: str = "",
    at: OperatingPoint | None = None,
    goals: Goals | None = None,
) -> str:
    """The whole page as a string; by default it has the study's name, at the usual operating point."""
    records = cleaned(records)
    at = at or operating_point(records)
    title = title or str(records["study"].iloc[0])
    evidence = Evidence(records, items, at, goals)
    everyone, placed = evidence.candidates, three_axes(evidence)
    compared = evidence.comparisons.study
    found, shown = verdict(evidence, placed), examples.collect(items, everyone)
    figures, absent = figures_of(evidence, placed), absences(records)
    data = {
        "candidates": [c.name for c in everyone],
        "figures": figures_data(figures),
        "examples": shown.examples,
        "tasks": shown.tasks,
        "comparisons": [sections.comparison_row(c) for c in sections.most_important(compared)],
    }
    main = Template(resource("study.html")).substitute(
        title=escape(title),
        headline=sections.prose(found.answer or found.headline, everyone),
        second=f'<p class="lead">{sections.prose(found.headline, everyone)}</p>' if found.answer else "",
        advice=sections.advice(found, everyone),
        meta=sections.meta(records, len(everyone)),
        care=sections.care(found, absent),
        cards="".join(sections.card(ranking, [c.name for c in everyone], at) for ranking in found.rankings),
        findings=sections.findings(found, everyone),
        cautions=sections.cautions(found, everyone, absent),
        trade_off=sections.trade_off(everyone) if any(f.name == "pareto" for f in figures) else "",
        front=sections.front_table(placed),
        figures=_figures(figures, records, everyone),
        example_note=sections.example_note(shown),
        comparison_note=sections.comparison_note(compared),
        tables=sections.table_tabs(tables.all_tables(records, at=at)),
        method=sections.method(records),
    )
    return frame(
        title=title,
        sections=CONTENTS["links"],
        main=main,
        data=data,
        scripts=("study.js",),
        skip_to="verdict",
        source=" from <code>records.parquet</code> and <code>items.parquet</code>",
    )


def figures_of(evidence: Evidence, placed: Front | None) -> list[Figure]:
    """The charts that the tables have something for; that of the trade-off where there is a front."""
    records = evidence.records
    drawn = (
        pareto_figure(evidence) if placed else None,
        robustness.levels_figure(evidence) if len(evidence.items) else None,
        robustness.methods_figure(evidence),
        robustness.transfer_figure(records),
        length_figure(records),
        phases_figure(records),
        roofline_figure(records),
    )
    return [figure for figure in drawn if figure is not None and figure.variants]


def _figures(figures: Sequence[Figure], records: pd.DataFrame, everyone: Sequence[Candidate]) -> str:
    """The charts in order, the table of attacks before the chart about them, that of forecasts last."""
    parts = {one.name: candidates_chart(one, everyone) for one in figures if one.name != "pareto"}
    parts["attacks"] = table_section("attacks", attack_sheet(records))
    parts["forecasts"] = table_section("forecasts", forecast_sheet(records))
    order = ["levels", "methods", "attacks", "transfer", "length", "phases", "roofline", "forecasts"]
    return "".join(parts.get(name, "") for name in order)
