"""The charts with efficiency: the Pareto front, and efficiency against length and batch."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from trilemma.analysis.evidence import Evidence
from trilemma.analysis.metrics import ENERGY, METRICS, Metric
from trilemma.analysis.pareto import Front, Position, front
from trilemma.analysis.skill import NO_SKILL
from trilemma.analysis.values import Candidate, Value, candidate_names, candidates, name_of, rows_of
from trilemma.report.charts.encoding import (
    ROWS,
    Figure,
    Variants,
    color_of,
    columns,
    cost_scale,
    finish,
    logarithmic_ticks,
    metric_axis,
    shape_of,
    with_rows,
)

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
    *(name for name in ENERGY if not name.startswith("gross_")),
)
OVER_GRID = (*EFFICIENCY[:7], "decode_tokens_per_s", "activation_bytes", *EFFICIENCY[11:])
"""Measured at points of a grid; energy where there is a meter."""
MANY = 60
"""Candidates above which only the fronts of :data:`FEW` are computed: the work is quadratic."""
FEW = ("latency_ms", "peak_inference_memory_bytes", "parameters")


def pareto_figure(evidence: Evidence) -> Figure:
    """Efficiency against robustness, size is clean accuracy; the efficiency metric can be chosen."""
    everyone = evidence.candidates
    variants: Variants = {}
    for name in EFFICIENCY if len(everyone) <= MANY else FEW:
        if any(evidence.value(METRICS[name], c).value is not None for c in everyone):
            positions = front(evidence, (name, "accuracy", "robust_accuracy"))
            if any(_placeable(position) for position in positions.positions):
                variants[METRICS[name].title,] = _pareto_chart(positions, [c.name for c in everyone])
    return Figure(
        "pareto",
        ("Efficiency",),
        variants,
        "Robust accuracy against efficiency; the mark's size is clean accuracy.",
    )


def _pareto_chart(positions: Front, order: Sequence[str]) -> dict[str, Any]:
    cost = positions.metrics[0]
    rows = []
    for position in positions.positions:
        if not _placeable(position):
            continue
        row: dict[str, Any] = {"candidate": position.candidate, "front": bool(position.on_front)}
        for axis, metric in zip(("x", "clean", "y"), positions.metrics, strict=True):
            row |= columns(axis, position.values[metric.name], metric.unit)
        probability = position.dominated_probability
        row["standing"] = position.standing
        row["dominated"] = "–" if probability is None else f"{probability:.2f}"
        rows.append(row)
    middle = (max(row["x"] for row in rows) + min(row["x"] for row in rows)) / 2
    _, clean, robust = positions.titles
    for row in rows:  # names stand on the side that has room
        row["side"] = "left" if row["x"] <= middle else "right"
        skilled = [other for other in rows if other["standing"] != NO_SKILL]
        row["edge"] = row in skilled and not any(_ahead(other, row, cost) for other in skilled)
    arrow = "← better" if cost.better == "lower" else "better →"
    where = next((p.values[cost.name].note for p in positions.positions if p.values[cost.name].note), "")
    title = cost.title + (f" {where}" if where.startswith("at ") else "")
    x = alt.X("x:Q", title=f"{title} · {arrow}", scale=cost_scale(rows), axis=metric_axis(cost))
    y = alt.Y(
        "y:Q",
        title=f"{robust} · better ↑",
        scale=alt.Scale(zero=False, nice=True, padding=18),
        axis=alt.Axis(format=".0%"),
    )
    color = color_of(order)
    base = alt.Chart(ROWS)
    tooltip = [
        alt.Tooltip("candidate:N"),
        alt.Tooltip("x_text:N", title=cost.title),
        alt.Tooltip("y_text:N", title=robust),
        alt.Tooltip("y_n:Q", title="adversarial answers"),
        alt.Tooltip("clean_text:N", title=clean),
        alt.Tooltip("standing:N"),
        alt.Tooltip("dominated:N", title="probability of being dominated"),
    ]
    spread = base.transform_filter("isValid(datum.y_low)").mark_rule(opacity=0.45, strokeWidth=1.5)
    aside = base.transform_filter("isValid(datum.x_low)").mark_rule(opacity=0.45, strokeWidth=1.5)
    across = aside.encode(x=alt.X("x_low:Q", scale=cost_scale(rows)), x2="x_high:Q", y=y, color=color)
    up = spread.encode(x=x, y=alt.Y("y_low:Q"), y2="y_high:Q", color=color)
    points = base.mark_point(filled=True, opacity=1, stroke=None).encode(
        x=x,
        y=y,
        color=color,
        shape=shape_of(order),
        size=alt.Size(
            "clean:Q",
            title=clean,
            scale=alt.Scale(domain=[0, 1], range=[30, 420], clamp=True),
            legend=None,
        ),
        opacity=alt.condition("datum.front", alt.value(1), alt.value(0.45)),
        tooltip=tooltip,
    )
    apart = _apart(rows)
    names = [
        base.transform_filter(f"datum.side == '{side}'")
        .mark_text(
            align=side,
            dx=14 if side == "left" else -14,
            dy=-13,
            fontSize=12.5,
            fontWeight=600,
            opacity=alt.expr("width < 420 ? 0 : 1"),
        )
        .encode(x=x, y=y, text="candidate:N", color=color)
        for side in ("left", "right")
        if apart
    ]
    step = "step-after" if cost.better == "lower" else "step-before"
    line = (
        base.transform_filter("datum.edge")
        .mark_line(interpolate=step, strokeDash=[3, 4], strokeWidth=1.5, opacity=0.6, color=alt.expr("muted"))
        .encode(x=x, y=y, order="x:Q")
    )
    # A layer without rows would have no extent.
    drawn = ((line, "edge"), (across, "x_low"), (up, "y_low"))
    below = [layer for layer, needs in drawn if any(row[needs] not in (None, False) for row in rows)]
    chart = alt.layer(*below, points, *names).add_params(alt.param(name="muted", value="#888"))
    return with_rows(finish(chart, height=380), rows)


def _placeable(position: Position) -> bool:
    """Whether it has a place in the chart: all its values are there."""
    return all(value.value is not None for value in position.values.values())


def _apart(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the names have room beside their marks; else the legend and the tooltips name them."""
    wide, high = (_extent([row[axis] for row in rows]) for axis in ("x", "y"))
    pairs = itertools.combinations(rows, 2)
    return all(
        abs(a["x"] - b["x"]) > 0.35 * wide or abs(a["y"] - b["y"]) > 0.12 * max(high, 0.05) for a, b in pairs
    )


def _extent(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _ahead(a: dict[str, Any], b: dict[str, Any], cost: Metric) -> bool:
    """Whether ``a`` dominates ``b`` on the two axes of the chart alone."""
    as_good = a["y"] >= b["y"] and not cost.is_better(b["x"], a["x"])
    return as_good and (a["y"] > b["y"] or cost.is_better(a["x"], b["x"]))


def models_at(everyone: Sequence[Candidate]) -> dict[str, int]:
    """The models, each with the number of its first candidate, whose colour and shape it has."""
    found: dict[str, int] = {}
    for index, candidate in enumerate(everyone):
        found.setdefault(candidate.model, index)
    return found


def models_in_order(everyone: Sequence[Candidate]) -> list[str]:
    """Names in the order of the candidates, of whom the first of each model stands for it."""
    models = models_at(everyone)
    return [c.model if models[c.model] == index else c.name for index, c in enumerate(everyone)]


_TITLES = {"length": "length (tokens)", "batch": "batch (items)"}


def length_figure(records: pd.DataFrame) -> Figure | None:
    """Each efficiency metric against length for each batch, and the other way round; None without any."""
    everyone = candidates(records)
    order = models_in_order(everyone)
    names = candidate_names(records)
    variants: Variants = {}
    for metric in (METRICS[name] for name in OVER_GRID):
        rows = records[
            (records["metric"] == metric.name) & (records["value"] > 0) & records["length"].notna()
        ]
        trained = bool((rows["adaptation"] != "").any())
        own_order = [c.name for c in everyone] if trained else order
        for across, fixed in (("length", "batch"), ("batch", "length")):
            if rows.empty or (across == "batch" and rows["batch"].nunique() < 2):
                continue
            chart = _grid_chart(metric, rows, own_order, across)
            for value in sorted(rows[fixed].dropna().unique()) or [None]:
                own = rows if value is None else rows[rows[fixed] == value]
                label = f"any {fixed}" if value is None else f"{fixed} {int(value)}"
                variants[metric.title, across, label] = with_rows(
                    chart, [_grid_row(row, metric, names, across) for row in rows_of(own)]
                )
    if not variants:
        return None
    description = "Efficiency against the length of the input, or the batch."
    return Figure("length", ("Measure", "Against", "At"), variants, description)


def _grid_row(
    row: dict[str, Any], metric: Metric, names: Mapping[tuple[str, str], str], across: str
) -> dict[str, Any]:
    # An axis of logarithms has no place for an interval that reaches 0, as net energies' may.
    bounded = row["low"] is not None and row["low"] > 0
    low, high = (row["low"], row["high"]) if bounded else (None, None)
    value = Value(row["value"], low, high, row["n"])
    return {
        # Only what training takes depends on the adaptation.
        "candidate": name_of(row, names),
        across: int(row[across]),
        "kernel": row["kernel"],
        **columns("y", value, metric.unit),
    }


def _grid_chart(metric: Metric, records: pd.DataFrame, order: Sequence[str], across: str) -> dict[str, Any]:
    """The chart of one metric against ``across``, for any rows of it."""
    ticks = sorted(int(place) for place in records[across].unique())
    x = alt.X(
        f"{across}:Q",
        title=_TITLES[across],
        scale=alt.Scale(type="log", base=2),
        axis=alt.Axis(values=ticks, grid=False),
    )
    arrow = "better ↓" if metric.better == "lower" else "better ↑"
    scale = alt.Scale(type="log", nice=False, padding=12)
    y_ticks = logarithmic_ticks(list(records["value"]))
    y = alt.Y("y:Q", title=f"{metric.title} · {arrow}", scale=scale, axis=metric_axis(metric, y_ticks))
    base = alt.Chart(ROWS).encode(x=x, color=color_of(order))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q")
    lines = base.mark_line(strokeWidth=2).encode(y=y)
    points = base.mark_point(filled=True, opacity=1, size=60).encode(
        y=y,
        shape=shape_of(order),
        tooltip=[
            alt.Tooltip("candidate:N", title="model"),
            alt.Tooltip(f"{across}:Q", title=_TITLES[across]),
            alt.Tooltip("y_text:N", title=metric.title),
            alt.Tooltip("y_n:Q", title="repetitions"),
            alt.Tooltip("kernel:N"),
        ],
    )
    return finish(alt.layer(band, lines, points), height=320)
