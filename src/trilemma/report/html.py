"""One self-contained HTML file that opens offline: the whole result of a study.

Everything that comes from data reaches the page either through :func:`html.escape` or inside a JSON
block in which ``<``, ``>`` and ``&`` are escaped; the script writes it with ``textContent`` alone. A
content security policy forbids every request and every script but the page's own (by hash).
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from trilemma.comparisons import Comparison
from trilemma.errors import StoreError, TrilemmaError
from trilemma.report import examples, figures, tables
from trilemma.report.evidence import Evidence
from trilemma.report.metrics import METRICS, format_value
from trilemma.report.pareto import Front, front
from trilemma.report.values import Candidate, OperatingPoint, candidates
from trilemma.report.verdict import Ranking, Verdict, verdict

COMPARED = ("accuracy", "robust_accuracy", "attack_success_rate")
COMPARISONS = 1500
"""Rows of the comparison table a report carries; aggregates come first."""


@dataclass(frozen=True)
class Content:
    """What a report says, before it is a page."""

    study: str
    verdict: Verdict
    front: Front | None
    comparisons: tuple[Comparison, ...]
    figures: tuple[figures.Figure, ...]
    tables: tuple[tables.Table, ...]
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
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; free space or choose another folder") from error
    return path


def content(records: pd.DataFrame, items: pd.DataFrame, title: str = "", at: OperatingPoint | None = None) -> Content:
    """Compute everything the page shows."""
    evidence = Evidence(records, items, at)
    try:
        placed = front(evidence)
    except TrilemmaError:  # an axis was not measured: the verdict says which
        placed = None
    compared = [c for metric in COMPARED for c in evidence.comparisons(metric)]
    drawn = [
        figures.pareto_figure(evidence) if placed else None,
        figures.levels_figure(evidence) if len(items) else None,
        figures.methods_figure(evidence),
        figures.length_figure(records),
    ]
    return Content(
        title or str(records["study"].iloc[0]),
        verdict(evidence, placed, compared),
        placed,
        tuple(compared),
        tuple(figure for figure in drawn if figure is not None and figure.variants),
        tuple(tables.all_tables(records)),
        examples.collect(items, candidates(records)),
    )


def render(records: pd.DataFrame, items: pd.DataFrame, title: str = "", at: OperatingPoint | None = None) -> str:
    """The whole page as a string."""
    shown = content(records, items, title, at)
    everyone = candidates(records)
    data = {
        "candidates": [c.name for c in everyone],
        "shapes": [figures.SHAPES[i % len(figures.SHAPES)] for i in range(len(everyone))],
        "figures": {f.name: {"choices": f.choices, "variants": [[*k, v] for k, v in f.variants.items()]} for f in shown.figures},
        "examples": shown.examples.examples,
        "tasks": shown.examples.tasks,
        "comparisons": [_comparison_row(c) for c in _most_important(shown.comparisons)],
    }
    library, script = _library(), _resource("script.js")
    return Template(_resource("template.html")).substitute(
        title=escape(shown.study),
        policy=_policy(library, script),
        style=_resource("style.css"),
        headline=_prose(shown.verdict.headline, everyone),
        meta=_meta(records, len(everyone)),
        legend="".join(_legend_entry(i, c.name) for i, c in enumerate(everyone)),
        cards="".join(_card(ranking, [c.name for c in everyone], at or OperatingPoint()) for ranking in shown.verdict.rankings),
        findings=_findings(shown.verdict, everyone),
        cautions=_cautions(shown.verdict, everyone),
        front=_front(shown.front),
        figures="".join(_figure_section(figure, len(everyone)) for figure in shown.figures if figure.name != "pareto"),
        example_note=_example_note(shown.examples),
        comparison_note=_comparison_note(shown.comparisons),
        tables=_tables(shown.tables),
        method=_method(records),
        data=embed_json(data),
        library=library,
        script=script,
    )


def embed_json(data: Any) -> str:
    """JSON that is safe inside a script element: no ``<``, ``>``, ``&``, nor U+2028 and U+2029, stays as it is.

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

    return str(vl_convert.javascript_bundle()).replace("</script", "<\\/script")


def _resource(name: str) -> str:
    return files("trilemma.report").joinpath(name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _meta(records: pd.DataFrame, count: int) -> str:
    tasks = [task for task in dict.fromkeys(records["task"]) if task not in ("", "average")]
    seeds = records["seed"].dropna().nunique()
    hardware = next((h for h in records["hardware"] if h), "")
    parts = [f"{count} candidates", f"tasks: {', '.join(tasks)}" if tasks else "", f"{seeds} seeds" if seeds else "", hardware]
    return " · ".join(escape(part) for part in parts if part)


def _mark(index: int) -> str:
    """The candidate's colour and shape, as in the charts."""
    return f'<svg class="mark c{index % 8}" viewBox="0 0 16 16" aria-hidden="true"><use href="#s{index % 8}"/></svg>'


def _legend_entry(index: int, name: str) -> str:
    return f"<li>{_mark(index)}{escape(name)}</li>"


_CARD_QUESTION = {
    "efficiency": "How long does one answer take?",
    "performance": "How often is it right on clean text?",
    "robustness": "How often is it right under attack?",
}


def _card(ranking: Ranking, order: Sequence[str], at: OperatingPoint) -> str:
    """One axis: the candidates best first, each with its value and interval on a shared scale."""
    metric = ranking.metric
    numbers = [v for v in ranking.values.values() if v.value is not None]
    highest = max((max(v.value or 0, v.high or 0) for v in numbers), default=1.0)
    top = 1.0 if metric.unit == "fraction" else highest * 1.05 or 1.0
    rows = []
    for name, value in ranking.values.items():
        mark = _mark(order.index(name))
        if value.value is None:
            rows.append(f'<li><span class="name">{mark}{escape(name)}</span><span class="none">{escape(value.note)}</span></li>')
            continue
        low, high = (value.value if x is None else x for x in (value.low, value.high))
        place = f"--low:{100 * low / top:.2f}%;--high:{100 * high / top:.2f}%;--at:{100 * value.value / top:.2f}%"
        if name == ranking.leader:
            badge = '<span class="badge">best</span>' if ranking.p_values and not ranking.ties else ""
        else:
            badge = '<span class="badge quiet">tie</span>' if name in ranking.ties else ""
        interval = format_value(value.value, metric.unit, value.low, value.high)
        rows.append(
            f'<li><span class="name">{mark}{escape(name)}{badge}</span>'
            f'<span class="number">{escape(format_value(value.value, metric.unit))}</span>'
            f'<span class="range c{order.index(name) % 8}" style="{place}" role="img" aria-label="{escape(interval)}" '
            f'title="{escape(interval)}"><i></i></span></li>'
        )
    where = f"{metric.title}, {at}" if metric.axis == "E" else f"{metric.title}, mean over tasks"
    arrow = "lower is better" if metric.better == "lower" else "higher is better"
    return (
        f'<article class="card"><h3>{ranking.axis.capitalize()}</h3><p class="question">{_CARD_QUESTION[ranking.axis]}</p>'
        f'<ol>{"".join(rows)}</ol><p class="foot">{escape(where)} · {arrow}</p></article>'
    )


def _prose(text: str, everyone: Sequence[Candidate]) -> str:
    """Escaped text in which candidates' names stand out and do not break."""
    names = sorted((escape(c.name) for c in everyone), key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in names)
    marked = re.sub(rf"(?<![\w-])({pattern})(?![\w-])", r'<b class="model">\1</b>', escape(text))
    return re.sub(r"\[[^\[\]<>]{1,40}\]", r'<span class="together">\g<0></span>', marked)


def _findings(shown: Verdict, everyone: Sequence[Candidate]) -> str:
    groups: dict[str, list[str]] = {}
    for topic, sentence in shown.findings:
        groups.setdefault(topic, []).append(_prose(sentence, everyone))
    return "".join(f"<dt>{topic.capitalize()}</dt><dd>{'</dd><dd>'.join(texts)}</dd>" for topic, texts in groups.items())


def _cautions(shown: Verdict, everyone: Sequence[Candidate]) -> str:
    if not shown.cautions:
        return "<p>Nothing was partial, failed or left unmeasured.</p>"
    return f"<ul>{''.join(f'<li>{_prose(caution, everyone)}</li>' for caution in shown.cautions)}</ul>"


def _front(placed: Front | None) -> str:
    """The front as a table, or why there is none."""
    if placed is None:
        return "<p>There is no three-axis front: an axis was not measured (see below).</p>"
    head = "".join(f'<th scope="col">{escape(m.title)}</th>' for m in placed.metrics)
    rows = []
    for index, position in enumerate(placed.positions):
        cells = "".join(
            f"<td>{escape(format_value(v.value, m.unit, v.low, v.high))}</td>"
            for m, v in zip(placed.metrics, position.values.values(), strict=True)
        )
        if position.on_front is None:
            standing = "not placed"
        elif position.on_front:
            standing = '<strong class="good">on the front</strong>'
        else:
            standing = f"dominated by {escape(', '.join(position.dominated_by))}"
        chance = position.dominated_probability
        rows.append(
            f'<tr><th scope="row">{_mark(index)}{escape(position.candidate)}</th>{cells}<td>{standing}</td>'
            f"<td>{'–' if chance is None else f'{chance:.2f}'}</td></tr>"
        )
    return (
        f'<div class="scroll"><table><thead><tr><th scope="col">Candidate</th>{head}<th scope="col">Standing</th>'
        f'<th scope="col">P(dominated)</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


_SECTIONS = {
    "levels": (
        "Accuracy by level of attack",
        "Clean text beside word-level, sentence-level and human-written attacks. Vertical bars are 95% intervals; "
        "the grey line is what always answering the majority class would reach.",
    ),
    "methods": (
        "Accuracy by attack method",
        "Each cell is robust accuracy under one attack. Point at a cell for its number of answers: many are small.",
    ),
    "length": (
        "Efficiency against length",
        "An architecture's advantage shows over lengths, not at one. Both axes are logarithmic; bands are 95% intervals.",
    ),
}


def _figure_section(figure: figures.Figure, count: int) -> str:
    width = 12 + 4 * count if figure.name == "methods" else 0  # so that the heat map's numbers have room
    title, lead = _SECTIONS[figure.name]
    return (
        f'<section id="{figure.name}"><h2>{title}</h2><p class="lead">{lead}</p>'
        f'<div class="controls" data-controls="{figure.name}"></div>{_chart(figure.name, figure.description, width)}</section>'
    )


def _chart(name: str, description: str, width: int) -> str:
    """Where the script draws a chart, at least ``width`` rem wide."""
    return (
        f'<figure class="chart"><div data-figure="{name}" style="min-width:{width}rem" role="img" '
        f'aria-label="{escape(description)}"></div></figure>'
    )


def _example_note(shown: examples.ExampleSet) -> str:
    if shown.total == 0:
        return "No adversarial examples were answered."
    if shown.shown == shown.total:
        return f"All {shown.total:,} adversarial examples of the study."
    return (
        f"A sample of {shown.shown:,} of {shown.total:,} adversarial examples, spread over tasks, levels and methods; "
        "the full set is in <code>items.parquet</code>."
    )


def _most_important(compared: Sequence[Comparison]) -> list[Comparison]:
    """Aggregates first, then whole tasks, then single levels; bounded."""

    def weight(c: Comparison) -> tuple[bool, bool]:
        return c.task != "average", c.level not in ("all", "clean")

    return sorted(compared, key=weight)[:COMPARISONS]


def _comparison_note(compared: Sequence[Comparison]) -> str:
    if not compared:
        return "There are no pairs of candidates to compare."
    note = "Both candidates answer the same items; p-values are adjusted after Holm, within each metric's family."
    if len(compared) > COMPARISONS:
        note += f" {COMPARISONS:,} of {len(compared):,} comparisons are listed, aggregates first."
    return note


_AVERAGED = {"glue_score": "accuracy", "advglue_score": "robust_accuracy"}


def _comparison_row(c: Comparison) -> list[Any]:
    title = METRICS[_AVERAGED.get(c.metric, c.metric)].title
    difference = None if c.difference is None else [round(x, 4) for x in (c.difference, c.low or 0.0, c.high or 0.0)]
    p = None if c.p_adjusted is None else round(c.p_adjusted, 5)
    return [c.a, c.b, title, "all tasks" if c.task == "average" else c.task, c.level, difference, p, c.n, c.verdict, c.test]


def _tables(shown: Sequence[tables.Table]) -> str:
    tabs, panels = [], []
    for index, table in enumerate(shown):
        name, selected = tables.NAMES[index], "true" if index == 0 else "false"
        tabs.append(
            f'<button role="tab" id="tab-{name}" aria-controls="panel-{name}" aria-selected="{selected}" '
            f'tabindex="{0 if index == 0 else -1}">{name.capitalize()}</button>'
        )
        header, *rows = table.lines()
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
            for row in rows
        )
        panels.append(
            f'<div role="tabpanel" id="panel-{name}" aria-labelledby="tab-{name}"{"" if index == 0 else " hidden"}>'
            f'<h3>{escape(table.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></div>'
        )
    return f'<div role="tablist" aria-label="Tables">{"".join(tabs)}</div>{"".join(panels)}'


def _method(records: pd.DataFrame) -> str:
    """Candidates, kernels, hardware and versions as they were recorded."""
    rows = []
    for candidate in candidates(records):
        own = records[records["model"] == candidate.model]
        kernels = [kernel for kernel in dict.fromkeys(own["kernel"]) if kernel]
        parameters = format_value(candidate.parameters, "count")
        cells = (candidate.name, candidate.arch, parameters, candidate.adaptation or "–", "; ".join(kernels) or "–")
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Candidate", "Architecture", "Parameters", "Adaptation", "Kernel"))
    facts = []
    for title, column in (("Hardware", "hardware"), ("Versions", "versions"), ("Study", "study")):
        values = [value for value in dict.fromkeys(records[column]) if value]
        facts.append(f"<dt>{title}</dt><dd>{escape('; '.join(values)) or '–'}</dd>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f'<dl class="facts">{"".join(facts)}</dl>'
    )
