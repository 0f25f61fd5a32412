"""One self-contained HTML file that opens offline: the whole result of a study.

Everything that comes from data reaches the page either through :func:`html.escape` or inside a JSON
block in which ``<``, ``>`` and ``&`` are escaped; the script writes it with ``textContent`` alone. A
content security policy forbids every request and every script but the page's own (by hash).
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from trilemma.comparisons import Comparison
from trilemma.errors import TrilemmaError
from trilemma.files import write_text
from trilemma.report import attacks, examples, figure_sections, figures, robustness_figures, sections, tables
from trilemma.report.charts import Figure
from trilemma.report.evidence import Evidence
from trilemma.report.forecasts import forecast_sheet
from trilemma.report.layout import Sheet
from trilemma.report.pareto import Front, three_axes
from trilemma.report.phases import phases_figure
from trilemma.report.points import operating_point
from trilemma.report.reading import cleaned
from trilemma.report.roofline import roofline_figure
from trilemma.report.values import Candidate, OperatingPoint, candidates
from trilemma.report.verdict import Verdict, verdict

LARGE = 300_000
"""Rows of the items table above which attack success rates are left to ``trilemma compare``: slow to test."""


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
        robustness_figures.levels_figure(evidence) if len(items) else None,
        robustness_figures.methods_figure(evidence),
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
        "figures": {
            f.name: {"choices": f.choices, "variants": [[*k, v] for k, v in f.variants.items()]}
            for f in shown.figures
        },
        "examples": shown.examples.examples,
        "tasks": shown.examples.tasks,
        "comparisons": [sections.comparison_row(c) for c in sections.most_important(shown.comparisons)],
    }
    library, script = _library(), _resource("script.js")
    return Template(_resource("template.html")).substitute(
        title=escape(shown.study),
        policy=_policy(library, script),
        style=_resource("style.css"),
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
        data=embed_json(data),
        library=library,
        script=script,
    )


def _figures(shown: Content, everyone: list[Candidate]) -> str:
    """The charts in order, the table of attacks before the chart about them, that of forecasts last."""
    drawn = {figure.name: figure for figure in shown.figures if figure.name != "pareto"}
    parts = {name: figure_sections.figure_section(figure, everyone) for name, figure in drawn.items()}
    order = ["levels", "methods", "attacks", "transfer", "length", "phases", "roofline", "forecasts"]
    parts["attacks"] = figure_sections.attack_section(shown.attacks)
    parts["forecasts"] = figure_sections.forecast_section(shown.forecasts)
    return "".join(parts.get(name, "") for name in order)


def embed_json(data: Any) -> str:
    """JSON that is safe inside a script element: ``<``, ``>``, ``&``, U+2028 and U+2029 are escaped.

    NaN and infinities, which JSON does not have, are refused.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, from vl-convert: no network."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace(
        "</script", "<\\/script"
    )


def _resource(name: str) -> str:
    return files("trilemma.report").joinpath(name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
