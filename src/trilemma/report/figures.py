"""The report's charts, as Vega-Lite specifications made by Altair.

A figure is a set of variants that the reader chooses between (a task, a metric, a batch size).
Colours come from the page's theme: the category range follows the order of the candidates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from trilemma.comparisons import AVERAGE
from trilemma.report.evidence import Evidence
from trilemma.report.metrics import METRICS, Metric, format_value
from trilemma.report.pareto import Front, front
from trilemma.report.values import Candidate, Value, candidates, of_candidate

EFFICIENCY = (
    "latency_ms",
    "throughput_tokens_per_s",
    "peak_inference_memory_bytes",
    "peak_training_memory_bytes",
    "ttft_ms",
    "tpot_ms",
    "state_bytes",
    "weight_bytes",
    "parameters",
    "flops_per_token",
    "training_seconds",
)
OVER_LENGTH = EFFICIENCY[:7]
LEVELS = ("clean", "word", "sentence", "human", "unknown")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")


@dataclass(frozen=True)
class Figure:
    """One chart and the choices a reader has.

    Attributes:
        name: id in the page.
        choices: label of each choice (``Metric``, ``Batch``), in the order of the variants' keys.
        variants: key (one entry a choice) to Vega-Lite specification.
        description: what it shows, for readers who do not see it.
    """

    name: str
    choices: tuple[str, ...]
    variants: dict[tuple[str, ...], dict[str, Any]]
    description: str


def pareto_figure(evidence: Evidence) -> Figure:
    """Efficiency against robustness, size is clean accuracy; the efficiency metric can be chosen."""
    everyone = evidence.candidates
    variants = {}
    for name in EFFICIENCY:
        if any(evidence.value(METRICS[name], c).value is not None for c in everyone):
            positions = front(evidence, (name, "accuracy", "robust_accuracy"))
            variants[METRICS[name].title,] = _pareto_chart(positions, [c.name for c in everyone])
    return Figure("pareto", ("Efficiency",), variants, "Robust accuracy against efficiency; the mark's size is clean accuracy.")


def _pareto_chart(positions: Front, order: Sequence[str]) -> dict[str, Any]:
    cost = positions.metrics[0]
    rows = []
    for position in positions.positions:
        if position.on_front is None:
            continue
        row: dict[str, Any] = {"candidate": position.candidate, "front": bool(position.on_front)}
        for axis, metric in zip(("x", "clean", "y"), positions.metrics, strict=True):
            row |= _columns(axis, position.values[metric.name], metric.unit)
        probability = position.dominated_probability
        row["standing"] = "on the front" if position.on_front else f"dominated by {', '.join(position.dominated_by)}"
        row["dominated"] = "–" if probability is None else f"{probability:.2f}"
        rows.append(row)
    middle = (max(row["x"] for row in rows) + min(row["x"] for row in rows)) / 2
    for row in rows:  # names stand on the side that has room
        row["side"] = "left" if row["x"] <= middle else "right"
    arrow = "← better" if cost.better == "lower" else "better →"
    x = alt.X("x:Q", title=f"{cost.title} · {arrow}", scale=_scale_for(rows), axis=_axis_for(cost))
    y = alt.Y(
        "y:Q", title="robust accuracy · better ↑", scale=alt.Scale(zero=False, nice=True, padding=18), axis=alt.Axis(format=".0%")
    )
    color = _color(order)
    base = alt.Chart(_ROWS)
    tooltip = [
        alt.Tooltip("candidate:N"),
        alt.Tooltip("x_text:N", title=cost.title),
        alt.Tooltip("y_text:N", title="robust accuracy"),
        alt.Tooltip("y_n:Q", title="adversarial answers"),
        alt.Tooltip("clean_text:N", title="clean accuracy"),
        alt.Tooltip("standing:N"),
        alt.Tooltip("dominated:N", title="probability of being dominated"),
    ]
    spread = base.mark_rule(opacity=0.45, strokeWidth=1.5)
    across = spread.encode(x=alt.X("x_low:Q", scale=_scale_for(rows)), x2="x_high:Q", y=y, color=color)
    up = spread.encode(x=x, y=alt.Y("y_low:Q"), y2="y_high:Q", color=color)
    points = base.mark_point(filled=True, opacity=1, stroke=None).encode(
        x=x,
        y=y,
        color=color,
        shape=_shape(order),
        size=alt.Size("clean:Q", title="clean accuracy", scale=alt.Scale(zero=False, range=[130, 480]), legend=None),
        opacity=alt.condition("datum.front", alt.value(1), alt.value(0.45)),
        tooltip=tooltip,
    )
    names = [
        base.transform_filter(f"datum.side == '{side}'")
        .mark_text(align=side, dx=14 if side == "left" else -14, dy=-13, fontSize=12.5, fontWeight=600)
        .encode(x=x, y=y, text="candidate:N", color=color)
        for side in ("left", "right")
    ]
    step = "step-after" if cost.better == "lower" else "step-before"
    line = (
        base.transform_filter("datum.front")
        .mark_line(interpolate=step, strokeDash=[3, 4], strokeWidth=1.5, opacity=0.6, color=alt.expr("muted"))
        .encode(x=x, y=y, order="x:Q")
    )
    chart = alt.layer(line, across, up, points, *names).add_params(alt.param(name="muted", value="#888"))
    return _with_rows(_finish(chart, height=380), rows)


def levels_figure(evidence: Evidence) -> Figure:
    """Accuracy on clean text and at each attack level with intervals, for all tasks and each."""
    records = evidence.records
    everyone = candidates(records)
    variants = {}
    for task in (AVERAGE, *_tasks(records)):
        rows = _level_rows(evidence, everyone, task)
        if rows:
            label = "mean over tasks" if task == AVERAGE else task
            variants[label,] = _levels_chart(rows, _majority_rows(records, task, rows), [c.name for c in everyone])
    return Figure("levels", ("Task",), variants, "Accuracy on clean text and at each level of attack, with 95% intervals.")


def _level_rows(evidence: Evidence, everyone: Sequence[Candidate], task: str) -> list[dict[str, Any]]:
    by_task = evidence.records[evidence.records["seed"].isna() & (evidence.records["task"] == task)]
    by_task = by_task[by_task["method"] == ""]
    rows = []
    for candidate in everyone:
        own = of_candidate(by_task, candidate)
        for level in LEVELS:
            metric = METRICS["accuracy" if level == "clean" else "robust_accuracy"]
            if task == AVERAGE:
                rows += _level_row(candidate, level, evidence.value(metric, candidate, level), "")
                continue
            for row in own[(own["metric"] == metric.name) & (own["level"] == level)].itertuples():
                value = Value(row.value, row.low, row.high, row.n, row.partial, row.note)
                rows += _level_row(candidate, level, value, row.set)
    return rows


def _level_row(candidate: Candidate, level: str, value: Value, name: str) -> list[dict[str, Any]]:
    if value.value is None or math.isnan(value.value):
        return []
    label = f"{level}, {name.rsplit('_', 1)[-1]}" if name.endswith("matched") else level
    text = " (partial split)" if value.partial else ""
    return [{"candidate": candidate.name, "level": label, "set": name + text, **_columns("y", value, "fraction")}]


def _majority_rows(records: pd.DataFrame, task: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What always answering the most frequent class would reach at each level (the mean over tasks)."""
    own = records[(records["metric"] == "majority_accuracy") & records["value"].notna() & (records["method"] == "")]
    own = own if task == AVERAGE else own[own["task"] == task]
    means = own.drop_duplicates(["task", "set", "level"]).groupby(["level", "task"])["value"].mean().groupby("level").mean()
    labels = dict.fromkeys(row["level"] for row in rows)
    return [
        {"level": label, "majority": _short(means[level]), "text": format_value(means[level], "fraction")}
        for label in labels
        if (level := label.split(",")[0]) in means.index
    ]


def _levels_chart(rows: list[dict[str, Any]], majority: list[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    labels = list(dict.fromkeys(row["level"] for row in sorted(rows, key=lambda r: LEVELS.index(r["level"].split(",")[0]))))
    x = alt.X("level:N", sort=labels, title=None, axis=alt.Axis(labelAngle=0, labelFontSize=13, domain=False, ticks=False, grid=False))
    scale = alt.Scale(domain=[0, 1])
    offset = alt.XOffset("candidate:N", sort=list(order), scale=alt.Scale(paddingOuter=0.35))
    y = alt.Y("y:Q", title="accuracy", scale=scale, axis=alt.Axis(format=".0%", tickCount=5))
    tip = [alt.Tooltip("level:N"), alt.Tooltip("text:N", title="always the majority class")]
    line = alt.Chart(_ROWS).transform_filter("isValid(datum.majority)").add_params(alt.param(name="muted", value="#888"))
    baseline = line.mark_tick(thickness=1.5, size=110, color=alt.expr("muted"), opacity=0.75).encode(
        x=x, y=alt.Y("majority:Q", scale=scale), tooltip=tip
    )
    base = alt.Chart(_ROWS).transform_filter("isValid(datum.y)").encode(x=x, xOffset=offset, color=_color(order))
    spread = base.mark_rule(strokeWidth=3, opacity=0.4, strokeCap="round").encode(y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q")
    points = base.mark_point(filled=True, opacity=1, size=75).encode(
        y=y,
        shape=_shape(order),
        tooltip=[
            alt.Tooltip("candidate:N"),
            alt.Tooltip("level:N"),
            alt.Tooltip("y_text:N", title="accuracy"),
            alt.Tooltip("y_n:Q", title="answers"),
            alt.Tooltip("set:N"),
        ],
    )
    return _with_rows(_finish(alt.layer(baseline, spread, points), height=320), rows + majority)


def methods_figure(evidence: Evidence) -> Figure | None:
    """Heat map of robust accuracy, attack methods against candidates; None where methods are unknown."""
    records = evidence.records
    names = {(c.model, c.adaptation): c.name for c in candidates(records)}
    rows = records[(records["method"] != "") & records["seed"].isna() & records["value"].notna()]
    rows = rows[rows["metric"] == "robust_accuracy"].copy()
    if rows.empty:
        return None
    rows["candidate"] = [names[key] for key in zip(rows["model"], rows["adaptation"], strict=True)]
    variants = {}
    for task in ("", *_tasks(rows)):
        own = rows if task == "" else rows[rows["task"] == task]
        if task == "" and rows["task"].nunique() == 1:
            continue
        cells = _method_cells(own)
        variants["all tasks, pooled" if task == "" else task,] = _methods_chart(cells, list(names.values()))
    return Figure("methods", ("Task",), variants, "Robust accuracy by attack method and candidate.")


def _method_cells(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Pooled over the given tasks' items; the interval is the record's where there is one record."""
    cells = []
    for (candidate, level, method), group in rows.groupby(["candidate", "level", "method"], sort=False):
        n = float(group["n"].sum())
        value = float((group["value"] * group["n"]).sum() / n)
        low, high = (group["low"].iloc[0], group["high"].iloc[0]) if len(group) == 1 else (None, None)
        cells.append(
            {"candidate": candidate, "level": level, "method": f"{method} · {level}", "value": round(value, 4), "n": int(n)}
            | {"text": format_value(value, "fraction", low, high)}
        )
    return cells


def _methods_chart(cells: list[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    methods = sorted({(LEVELS.index(c["level"]) if c["level"] in LEVELS else 9, c["method"]) for c in cells})
    base = alt.Chart(_ROWS).encode(
        x=alt.X("candidate:N", sort=list(order), title=None, axis=alt.Axis(orient="top", labelAngle=-20 if len(order) > 4 else 0)),
        y=alt.Y("method:N", sort=[name for _, name in methods], title=None),
    )
    tooltip = [
        alt.Tooltip("candidate:N"),
        alt.Tooltip("method:N"),
        alt.Tooltip("text:N", title="robust accuracy"),
        alt.Tooltip("n:Q", title="answers"),
    ]
    tiles = base.mark_rect(stroke=alt.expr("panel"), strokeWidth=2).encode(
        color=alt.Color("value:Q", scale=alt.Scale(domain=[0, 1]), legend=None),
        tooltip=tooltip,
    )
    numbers = base.mark_text(fontSize=12).encode(
        text=alt.Text("value:Q", format=".0%"),
        color=alt.condition("datum.value > inkAt", alt.value(alt.expr("inkHigh")), alt.value(alt.expr("inkLow"))),
        tooltip=tooltip,
    )
    theme = {"inkHigh": "#fff", "inkLow": "#222", "inkAt": 0.8, "panel": "#fff"}
    chart = alt.layer(tiles, numbers).add_params(*(alt.param(name=name, value=value) for name, value in theme.items()))
    return _with_rows(_finish(chart, height=alt.Step(32)), cells)


def length_figure(records: pd.DataFrame) -> Figure | None:
    """Each efficiency metric against length on log axes, for each batch; None where no length was varied."""
    order = [c.model for c in candidates(records)]
    variants = {}
    for metric in (METRICS[name] for name in OVER_LENGTH):
        rows = records[(records["metric"] == metric.name) & records["value"].notna() & records["length"].notna()]
        if rows.empty:
            continue
        chart = _length_chart(metric, rows, list(dict.fromkeys(order)))
        for batch in sorted(rows["batch"].dropna().unique()) or [None]:
            own = rows if batch is None else rows[rows["batch"] == batch]
            label = "any" if batch is None else str(int(batch))
            variants[metric.title, label] = _with_rows(chart, [_length_row(row, metric) for row in own.to_dict("records")])
    if not variants:
        return None
    return Figure("length", ("Measure", "Batch"), variants, "Efficiency against the length of the input.")


def _length_row(row: dict[str, Any], metric: Metric) -> dict[str, Any]:
    value = Value(row["value"], row["low"], row["high"], row["n"])
    length = int(row["length"])
    return {"candidate": row["model"], "length": length, "kernel": row["kernel"], **_columns("y", value, metric.unit)}


def _length_chart(metric: Metric, records: pd.DataFrame, order: Sequence[str]) -> dict[str, Any]:
    """The chart of one metric, for the rows of any batch."""
    lengths = sorted(int(length) for length in records["length"].unique())
    x = alt.X("length:Q", title="length (tokens)", scale=alt.Scale(type="log", base=2), axis=alt.Axis(values=lengths, grid=False))
    arrow = "better ↓" if metric.better == "lower" else "better ↑"
    scale = alt.Scale(type="log", nice=False, padding=12)
    ticks = _logarithmic_ticks(list(records["value"]))
    y = alt.Y("y:Q", title=f"{metric.title} · {arrow}", scale=scale, axis=_axis_for(metric, ticks))
    base = alt.Chart(_ROWS).encode(x=x, color=_color(order))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q")
    lines = base.mark_line(strokeWidth=2).encode(y=y)
    points = base.mark_point(filled=True, opacity=1, size=60).encode(
        y=y,
        shape=_shape(order),
        tooltip=[
            alt.Tooltip("candidate:N"),
            alt.Tooltip("length:Q", title="length (tokens)"),
            alt.Tooltip("y_text:N", title=metric.title),
            alt.Tooltip("y_n:Q", title="repetitions"),
            alt.Tooltip("kernel:N"),
        ],
    )
    return _finish(alt.layer(band, lines, points), height=320)


def _tasks(records: pd.DataFrame) -> list[str]:
    return [task for task in dict.fromkeys(records["task"]) if task not in ("", AVERAGE)]


def _columns(name: str, value: Value, unit: str) -> dict[str, Any]:
    """Number, limits, n and tooltip text of one value; limits are the value itself where there are none."""
    assert value.value is not None
    low = value.value if _absent(value.low) else value.low
    high = value.value if _absent(value.high) else value.high
    return {
        name: _short(value.value),
        f"{name}_low": _short(low),
        f"{name}_high": _short(high),
        f"{name}_n": None if _absent(value.n) else int(value.n or 0),
        f"{name}_text": format_value(value.value, unit, value.low, value.high),
    }


def _absent(number: float | None) -> bool:
    return number is None or math.isnan(number)


def _short(number: float | None) -> float:
    """Six significant digits: enough for a chart."""
    assert number is not None
    return float(f"{number:.6g}")


def _scale_for(rows: Sequence[dict[str, Any]]) -> alt.Scale:
    """Linear near each other, logarithmic where candidates lie more than a factor of 20 apart."""
    values = [row["x"] for row in rows if row["x"] > 0]
    if values and max(values) > 20 * min(values):
        return alt.Scale(type="log", padding=40)
    return alt.Scale(zero=False, padding=40)


def _axis_for(metric: Metric, values: Sequence[float] | None = None) -> alt.Axis:
    """Ticks in the unit a person reads; the tick values themselves stay in the metric's unit."""
    label = "format(datum.value, '.3~s')"
    if metric.unit == "bytes":
        label = f"replace({label}, regexp('([kMGT]?)$'), ' $1B')"
    elif metric.unit in ("count", "FLOPs"):
        label = f"replace({label}, 'G', 'B')"
    elif metric.unit in ("ms", "s"):
        label = f"format(datum.value, '.3~r') + ' {metric.unit}'"
    return alt.Axis(labelExpr=label, values=list(values)) if values else alt.Axis(labelExpr=label, tickCount=6)


def _logarithmic_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten around the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [step * 10.0**power for power in range(low, high + 1) for step in (1, 2, 5)]


def _color(order: Sequence[str]) -> alt.Color:
    return alt.Color("candidate:N", scale=alt.Scale(domain=list(order)), legend=None)


def _shape(order: Sequence[str]) -> alt.Shape:
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(order))]
    return alt.Shape("candidate:N", scale=alt.Scale(domain=list(order), range=shapes), legend=None)


_ROWS = alt.NamedData("rows")


def _finish(chart: alt.LayerChart, height: Any) -> dict[str, Any]:
    """The specification without rows; Altair validates it in the tests, not in every report."""
    chart = chart.properties(width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec.pop("config", None)
    return spec


def _with_rows(spec: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return spec | {"datasets": {"rows": rows}}
