"""The parts of the report's page as HTML; everything that comes from data is escaped here."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from trilemma.analysis.answers import ADVGLUE, CLEAN
from trilemma.analysis.candidates import Candidate, candidates
from trilemma.analysis.cautions import measuring_notes
from trilemma.analysis.comparisons import Comparison
from trilemma.analysis.pareto import Front
from trilemma.decision.verdict import Ranking, Verdict
from trilemma.metrics import AGGREGATED, METRICS
from trilemma.operating_point import OperatingPoint
from trilemma.records import AVERAGE
from trilemma.report.charts.encoding import kind_of, tasks_of
from trilemma.report.examples import ExampleSet
from trilemma.report.layout import Sheet, sheets
from trilemma.report.sheets import training_sheet
from trilemma.report.tables import NAMES, Table
from trilemma.units import format_value

COMPARED = ("accuracy", "robust_accuracy", "attack_success_rate")
"""Metrics of the comparison table."""

COMPARISONS = 1500
"""Rows of the comparison table a report carries; aggregates come first."""


def meta(records: pd.DataFrame, count: int) -> str:
    """One line: how many candidates and seeds, which tasks and hardware."""
    tasks = tasks_of(records)
    seeds = records["seed"].dropna().nunique()
    hardware = next((h for h in records["hardware"] if h), "")
    parts = [
        f"{count} candidate{'s' * (count > 1)}",
        f"tasks: {', '.join(tasks)}" if tasks else "",
        f"{seeds} seed{'s' * (seeds > 1)}" if seeds else "",
        hardware,
    ]
    return " · ".join(escape(part) for part in parts if part)


def _mark(index: int) -> str:
    """The candidate's colour and shape, as in the charts."""
    color, shape = kind_of(index)
    use = f'<use href="#s{shape}"/>'
    return f'<svg class="mark c{color}" viewBox="0 0 16 16" aria-hidden="true">{use}</svg>'


def legend(marks: Mapping[str, int]) -> str:
    """The names with the marks of their numbers."""
    entries = (f"<li>{_mark(index)}{escape(name)}</li>" for name, index in marks.items())
    return f'<ul class="legend">{"".join(entries)}</ul>'


_CARD_QUESTION = {
    "efficiency": "How long does one answer take?",
    "performance": "How often is it right on clean text?",
    "robustness": "How often is it right under attack?",
}


def card(ranking: Ranking, order: Sequence[str], at: OperatingPoint) -> str:
    """One axis: the candidates best first, each with its value and interval on a shared scale."""
    metric = ranking.metric
    numbers = [v for v in ranking.values.values() if v.value is not None]
    highest = max((max(v.value or 0.0, v.high or 0.0) for v in numbers), default=1.0)
    top = 1.0 if metric.unit == "fraction" else highest * 1.05 or 1.0
    rows = "".join(_card_row(ranking, name, order.index(name), top) for name in ranking.values)
    doubts = "".join(
        f'<p class="foot doubt">says nothing on {escape(", ".join(tasks))}: '
        f"{'every candidate' if len(names) == len(order) > 1 else escape(', '.join(names))}</p>"
        for tasks, names in ranking.partly_meaningless.items()
    )
    means = {"P": "mean over tasks of official metrics", "R": "mean over tasks"}
    where = f"{ranking.title}, {means.get(metric.axis, at)}"
    return (
        f'<article class="card"><h3>{ranking.axis.capitalize()}</h3>'
        f'<p class="question">{_CARD_QUESTION[ranking.axis]}</p><ol>{rows}</ol>'
        f'{doubts}<p class="foot">{escape(where)} · {metric.better} is better</p></article>'
    )


def _card_row(ranking: Ranking, name: str, index: int, top: float) -> str:
    value, unit = ranking.values[name], ranking.metric.unit
    mark = f'<span class="name">{_mark(index)}{escape(name)}'
    if value.value is None:
        return f'<li>{mark}</span><span class="none">{escape(value.absence)}</span></li>'
    badge = ""
    if name in ranking.without_skill:
        why = "no official metric is distinguishably above answers that do not depend on the text"
        badge = f'<span class="badge bad" title="{why}">no skill</span>'
    elif name in ranking.first and ranking.crowned:
        badge = '<span class="badge">best</span>'
    elif name in (*ranking.ties, *ranking.first[1:]):
        badge = '<span class="badge quiet" title="not distinguishable from the first">undecided</span>'
    elif name in ranking.untested:
        reason = escape(str(ranking.distinctions[name]))
        badge = f'<span class="badge quiet" title="{reason}">not tested</span>'
    low, high = (value.value if limit is None else limit for limit in (value.low, value.high))
    places = {"low": low, "high": high, "at": value.value}
    style = ";".join(f"--{key}:{100 * number / top:.2f}%" for key, number in places.items())
    text = escape(value.text(unit))
    label = f'role="img" aria-label="{text}" title="{text}"'
    return (
        f'<li>{mark}{badge}</span><span class="number">{escape(format_value(value.value, unit))}</span>'
        f'<span class="range c{kind_of(index)[0]}" style="{style}" {label}>'
        "<i></i></span></li>"
    )


def prose(text: str, everyone: Sequence[Candidate]) -> str:
    """Escaped text in which candidates' names stand out and do not break."""
    names = sorted((escape(c.name) for c in everyone), key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in names)
    marked = re.sub(rf"(?<![\w-])({pattern})(?![\w-])", r'<b class="model">\1</b>', escape(text))
    return _together(marked)


def _number(text: str) -> str:
    """A cell, escaped, whose interval does not break."""
    return _together(escape(text))


def _together(escaped: str) -> str:
    return re.sub(r"\[[^\[\]<>]{1,40}\]", r'<span class="together">\g<0></span>', escaped)


def advice(shown: Verdict, everyone: Sequence[Candidate]) -> str:
    """What to choose where nothing is distinguishable."""
    return f'<p class="advice">{prose(shown.advice, everyone)}</p>' if shown.advice else ""


def care(shown: Verdict, absent: Sequence[str] = ()) -> str:
    """A line beside the headline that leads to the cautions; what is only absent does not count."""
    count = len([caution for caution in shown.cautions if caution not in absent])
    if not count:
        return ""
    noun = "caution limits" if count == 1 else "cautions limit"
    return f'<p class="care"><a href="#caveats">{count} {noun} this verdict</a></p>'


def findings(shown: Verdict, everyone: Sequence[Candidate]) -> str:
    """The verdict's sentences by topic."""
    groups: dict[str, list[str]] = {}
    for topic, sentence in shown.findings:
        groups.setdefault(topic, []).append(prose(sentence, everyone))
    return "".join(
        f"<dt>{topic.capitalize()}</dt><dd>{'</dd><dd>'.join(texts)}</dd>" for topic, texts in groups.items()
    )


def cautions(shown: Verdict, everyone: Sequence[Candidate], absent: Sequence[str] = ()) -> str:
    """What limits the verdict; then what was not asked for or cannot be measured."""
    if not shown.cautions:
        return "<p>Nothing was partial, failed or left unmeasured.</p>"
    limits = [caution for caution in shown.cautions if caution not in absent]
    groups = {"What limits the verdict": limits, "Not asked for, or not to be measured here": absent}
    return "".join(
        f"<h3>{title}</h3><ul>{''.join(f'<li>{prose(caution, everyone)}</li>' for caution in group)}</ul>"
        for title, group in groups.items()
        if group
    )


def trade_off(everyone: Sequence[Candidate]) -> str:
    """The frame of the chart of two axes, with its legend."""
    return (
        '<p class="lead">Up is more robust, larger is more accurate on clean text. Faded candidates are '
        "dominated on all three axes or have no skill; the dotted line joins those that are best on the two "
        'axes drawn.</p>\n<div class="controls" data-controls="pareto"></div>\n'
        f"{legend({c.name: index for index, c in enumerate(everyone)})}\n"
        '<figure class="chart"><div data-figure="pareto" role="img" aria-label="Robust accuracy against '
        'efficiency; the size of a mark is clean accuracy. The table below holds the same numbers."></div>'
        "</figure>"
    )


def front_table(placed: Front | None) -> str:
    """The front as a table, or why there is none."""
    if placed is None:
        return "<p>There is no three-axis front: an axis was not measured (see below).</p>"
    rows = []
    for index, position in enumerate(placed.positions):
        cells = "".join(
            f"<td>{_number(v.text(m.unit) if v.value is not None else '–')}</td>"
            for m, v in zip(placed.metrics, position.values, strict=True)
        )
        standing = escape(position.standing)
        if position.on_front:
            standing = f'<strong class="good">{standing}</strong>'
        rows.append(
            f'<tr><th scope="row">{_mark(index)}{escape(position.candidate)}</th>{cells}'
            f'<td class="text">{standing}</td></tr>'
        )
    titles = [escape(title) for title in placed.titles]
    return _table(["Candidate", *titles, "Standing"], rows)


def _table(titles: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls sideways where it must, from escaped titles and finished rows."""
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = "".join(rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def example_note(shown: ExampleSet) -> str:
    """How many of how many examples the page holds."""
    if shown.total == 0:
        return "No adversarial examples were answered."
    if shown.shown == shown.total:
        return f"All {shown.total:,} adversarial examples of the study."
    return (
        f"A sample of {shown.shown:,} of {shown.total:,} adversarial examples, spread over tasks, levels and "
        "methods; the full set is in <code>items.parquet</code>."
    )


def most_important(compared: Sequence[Comparison]) -> list[Comparison]:
    """Aggregates first, then whole tasks, then single levels; bounded."""
    ordered = sorted(compared, key=lambda c: (c.task != AVERAGE, c.level not in ("all", "clean")))
    return ordered[:COMPARISONS]


def comparison_note(compared: Sequence[Comparison]) -> str:
    """What the comparison table holds, and what it leaves out."""
    if not compared:
        return "There are no pairs of candidates to compare."
    note = (
        "Both candidates answer the same items. p is adjusted after Holm over all "
        f"{compared[0].family:,} tests of the study, so that the chance of any false finding is at most 5%; "
        "the averages over tasks and levels may spend half of it. Intervals of differences are not adjusted. "
        "Where two are not distinguishable, the smallest difference that would have been found follows."
    )
    if len(compared) > COMPARISONS:
        note += f" {COMPARISONS:,} of {len(compared):,} comparisons are listed, aggregates first."
    return note


def comparison_row(c: Comparison) -> list[Any]:
    """A comparison as the page's script reads it."""
    title = METRICS[AGGREGATED.get(c.metric, c.metric)].title
    difference = (
        None if c.difference is None else [round(x, 4) for x in (c.difference, c.low or 0.0, c.high or 0.0)]
    )
    p = None if c.p_adjusted is None else round(c.p_adjusted, 5)
    return [
        c.a,
        c.b,
        title,
        ("all tasks, their own metrics" if c.metric in AGGREGATED else "all tasks")
        if c.task == AVERAGE
        else c.task,
        c.level if c.set in (CLEAN, ADVGLUE) else f"{c.level}, {c.set}",
        difference,
        p,
        c.n,
        _verdict(c),
        c.test,
    ]


def _verdict(c: Comparison) -> str:
    """The verdict, why there is none, or what difference would have been found."""
    if c.verdict == "not distinguishable" and c.detectable is not None:
        return f"{c.verdict} (below {100 * c.detectable:.1f} points)"
    return f"{c.verdict}: {c.reason}" if c.reason else c.verdict


def table_tabs(shown: Sequence[Table]) -> str:
    """The summary tables, each on a tab."""
    tabs, panels = [], []
    for name, table in zip(NAMES, shown, strict=True):
        first = name == NAMES[0]
        tabs.append(
            f'<button role="tab" id="tab-{name}" aria-controls="panel-{name}" '
            f'aria-selected="{str(first).lower()}" tabindex="{0 if first else -1}">'
            f"{name.capitalize()}</button>"
        )
        panels.append(
            f'<div role="tabpanel" id="panel-{name}" aria-labelledby="tab-{name}"{" hidden" * (not first)}>'
            f"{''.join(titled_grid(sheet) for sheet in sheets(table))}</div>"
        )
    return f'<div role="tablist" aria-label="Tables">{"".join(tabs)}</div>{"".join(panels)}'


def titled_grid(sheet: Sheet) -> str:
    """The table under its title."""
    return f"<h3>{escape(sheet.title)}</h3>{grid(sheet)}"


def grid(sheet: Sheet) -> str:
    """The table and its notes."""
    rows = []
    for first, *others in ([_number(cell) for cell in row] for row in sheet.rows):
        rows.append(f'<tr><th scope="row">{first}</th><td>{"</td><td>".join(others)}</td></tr>')
    notes = "".join(f'<p class="foot-note">{escape(note)}</p>' for note in sheet.notes)
    return f"{_table([escape(title) for title in sheet.header], rows)}{notes}"


def method(records: pd.DataFrame) -> str:
    """Candidates, kernels, hardware and versions as they were recorded."""
    rows = []
    for candidate in candidates(records):
        own = records[records["model"] == candidate.model]
        kernels = [kernel for kernel in dict.fromkeys(own["kernel"]) if kernel]
        parameters = format_value(candidate.parameters, "count")
        cells = (
            candidate.name,
            candidate.arch,
            parameters,
            candidate.adaptation or "–",
            "; ".join(kernels) or "–",
        )
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    facts = []
    if shared := measuring_notes(records):
        facts.append(f"<dt>Every model</dt><dd>{escape('; '.join(shared))}</dd>")
    timed = records[records["axis"] == "E"] if (records["axis"] == "E").any() else records
    for title, column in (("Hardware", "hardware"), ("Versions", "versions"), ("Study", "study")):
        values = [value for value in dict.fromkeys(timed[column]) if value]
        facts.append(f"<dt>{title}</dt><dd>{escape('; '.join(values)) or '–'}</dd>")
    titles = ("Candidate", "Architecture", "Parameters", "Adaptation", "Kernel")
    training = training_sheet(records)
    trained = titled_grid(training) if training else ""
    return f'{_table(titles, rows)}{trained}<dl class="facts">{"".join(facts)}</dl>'
