"""The chart of the Pareto front: efficiency against robustness, the mark's size is clean accuracy."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from trilemma.analysis.evidence import NO_SKILL, Evidence
from trilemma.analysis.pareto import Front, Position, front
from trilemma.decision.bounds import read_bounds
from trilemma.metrics import Metric, find_metric
from trilemma.report.charts import encoding
from trilemma.report.contents import CONTENTS

EFFICIENCY: list[str] = CONTENTS["pareto"]
"""What a reader may choose, as far as it was measured."""

MANY_CANDIDATES = 60
"""Above it only the fronts of :data:`MAIN` are computed: the work is quadratic."""

MAIN = ("latency_ms", "peak_memory_bytes", "parameters")


def pareto_figure(evidence: Evidence) -> encoding.Figure:
    """Efficiency against robustness, size is clean accuracy; the efficiency metric can be chosen."""
    everyone = evidence.candidates
    variants: encoding.Variants = {}
    bounds = read_bounds(evidence.goals.limits, find=find_metric)
    for name in EFFICIENCY if len(everyone) <= MANY_CANDIDATES else MAIN:
        metric = find_metric(name)
        if any(evidence.estimate(metric, c).value is not None for c in everyone):
            placed = front(evidence, (name, "accuracy", "robust_accuracy"))
            if any(_placeable(position) for position in placed.positions):
                limits = {bound.metric: bound.limit for bound in bounds}
                variants[metric.title,] = _pareto_chart(placed, [c.name for c in everyone], limits)
    return encoding.Figure("pareto", ("Efficiency",), variants)


def _pareto_chart(placed: Front, order: Sequence[str], limits: Mapping[Metric, float]) -> dict[str, Any]:
    cost = placed.metrics[0]
    rows = []
    for position in placed.positions:
        if not _placeable(position):
            continue
        row: dict[str, Any] = {"candidate": position.candidate, "front": bool(position.on_front)}
        for axis, metric, value in zip(("x", "clean", "y"), placed.metrics, position.values, strict=True):
            row |= encoding.columns(axis, value, metric.unit)
        row["standing"] = position.standing
        rows.append(row)
    for place, axis in enumerate(("x", "clean", "y")):  # a line for each limit of the study
        rows[0][f"{axis}_limit"] = limits.get(placed.metrics[place])
    middle = (max(row["x"] for row in rows) + min(row["x"] for row in rows)) / 2
    _, clean, robust = placed.titles
    for row in rows:  # names stand on the side that has room
        row["side"] = "left" if row["x"] <= middle else "right"
        skilled = [other for other in rows if other["standing"] != NO_SKILL]
        row["edge"] = row in skilled and not any(_ahead(other, row, cost) for other in skilled)
    arrow = "← better" if cost.better == "lower" else "better →"
    where = next((p.values[0].where for p in placed.positions if p.values[0].where), "")
    title = f"{cost.title} {where}".strip()
    scale = encoding.cost_scale(rows)
    low, high = scale["domain"]
    known = encoding.logarithmic_ticks([row["x"] for row in rows]) if scale.to_dict().get("type") else []
    ticks = [tick for tick in known if low <= tick <= high]
    x = alt.X("x:Q", title=f"{title} · {arrow}", scale=scale, axis=encoding.metric_axis(cost, ticks))
    y = alt.Y(
        "y:Q",
        title=f"{robust} · better ↑",
        scale=alt.Scale(zero=False, nice=True, padding=18),
        axis=alt.Axis(format=".0%"),
    )
    color = encoding.color_of(order)
    base = alt.Chart(encoding.ROWS)
    tooltip = [
        alt.Tooltip("candidate:N"),
        alt.Tooltip("x_text:N", title=cost.title),
        alt.Tooltip("y_text:N", title=robust),
        alt.Tooltip("y_n:Q", title="adversarial answers"),
        alt.Tooltip("clean_text:N", title=clean),
        alt.Tooltip("standing:N"),
    ]
    spread = base.transform_filter("isValid(datum.y_low)").mark_rule(opacity=0.45, strokeWidth=1.5)
    aside = base.transform_filter("isValid(datum.x_low)").mark_rule(opacity=0.45, strokeWidth=1.5)
    across = aside.encode(x=alt.X("x_low:Q", scale=scale), x2="x_high:Q", y=y, color=color)
    up = spread.encode(x=x, y=alt.Y("y_low:Q"), y2="y_high:Q", color=color)
    size = alt.Scale(domain=[0, 1], range=[30, 420], clamp=True)
    points = base.mark_point(filled=True, opacity=1, stroke=None).encode(
        x=x,
        y=y,
        color=color,
        shape=encoding.shape_of(order),
        size=alt.Size("clean:Q", title=clean, scale=size, legend=None),
        opacity=alt.condition("datum.front", alt.value(1), alt.value(0.45)),
        tooltip=tooltip,
    )
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
        for side in (("left", "right") if _apart(rows) else ())
    ]
    step = "step-after" if cost.better == "lower" else "step-before"
    line = (
        base.transform_filter("datum.edge")
        .mark_line(interpolate=step, strokeDash=[3, 4], strokeWidth=1.5, opacity=0.6, color=alt.expr("muted"))
        .encode(x=x, y=y, order="x:Q")
    )
    limit = base.mark_rule(strokeDash=[6, 3], strokeWidth=1.5, color=alt.expr("muted"))
    at_most = limit.transform_filter("isValid(datum.x_limit)").encode(x=alt.X("x_limit:Q", scale=scale))
    at_least = limit.transform_filter("isValid(datum.y_limit)").encode(y=alt.Y("y_limit:Q"))
    # A layer without rows would have no extent.
    drawn = (
        *((line, "edge"), (across, "x_low"), (up, "y_low")),
        *((at_most, "x_limit"), (at_least, "y_limit")),
    )
    below = [layer for layer, needs in drawn if any(row.get(needs) not in (None, False) for row in rows)]
    chart = alt.layer(*below, points, *names).add_params(alt.param(name="muted", value="#888"))
    return encoding.with_rows(encoding.finish(chart, height=380), rows)


def _placeable(position: Position) -> bool:
    """Whether it has a place in the chart: all its values are there."""
    return all(value.value is not None for value in position.values)


def _apart(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the names have room beside their marks; else the legend and the tooltips name them."""
    wide, high = (np.ptp([row[axis] for row in rows]) for axis in ("x", "y"))
    pairs = itertools.combinations(rows, 2)
    return all(
        abs(a["x"] - b["x"]) > 0.35 * wide or abs(a["y"] - b["y"]) > 0.12 * max(high, 0.05) for a, b in pairs
    )


def _ahead(a: dict[str, Any], b: dict[str, Any], cost: Metric) -> bool:
    """Whether ``a`` dominates ``b`` on the two axes of the chart alone."""
    as_good = a["y"] >= b["y"] and not cost.is_better(b["x"], a["x"])
    return as_good and (a["y"] > b["y"] or cost.is_better(a["x"], b["x"]))
