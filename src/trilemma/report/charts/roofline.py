"""The chart of how near each model comes to what the machine gives at best (Williams et al. 2009).

FLOPs a second against FLOPs a byte: left of the ridge the machine's memory is the limit, right of it its
multipliers (Communications of the ACM 52(4)).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from trilemma.analysis.metrics import Metric, format_value
from trilemma.analysis.values import Value, candidates, rows_of
from trilemma.report.charts.encoding import (
    ROWS,
    Figure,
    Variants,
    absent,
    color_of,
    columns,
    finish,
    logarithmic_ticks,
    metric_axis,
    shape_of,
    short,
    with_rows,
)
from trilemma.report.charts.figures import models_in_order

PHASES = {
    "a classified batch": ("classify", "latency_ms"),
    "prefill": ("prefill", "ttft_ms"),
    "a decoding step": ("decode_step", "tpot_ms"),
}
"""What a reader chooses: the prefix of the phase's work, and its measured time."""

_ACHIEVED = Metric("achieved", "E", "higher", "FLOP/s", "FLOP/s")
_ROOM = 2.0
"""Factor by which the axes reach beyond marks and ridge."""


def roofline_figure(records: pd.DataFrame) -> Figure | None:
    """The marks of all models and points under the roof, by phase; None where no work is known."""
    measured = records[(records["axis"] == "E") & (records["adaptation"] == "") & records["value"].notna()]
    cells = {
        (row["model"], row["metric"], _number(row["batch"]), _number(row["length"])): row
        for row in rows_of(measured)
    }
    order = models_in_order(candidates(records))
    variants: Variants = {}
    for label, (phase, time) in PHASES.items():
        marks = [
            mark
            for model, metric, batch, length in cells
            if metric == time and (mark := _mark(cells, model, phase, time, batch, length))
        ]
        if marks:
            variants[label,] = _chart(marks, _roofs(cells, marks), order)
    if not variants:
        return None
    description = "Achieved FLOPs a second against FLOPs a byte, under the machine's roofline."
    return Figure("roofline", ("Phase",), variants, description)


Cells = Mapping[tuple[Any, str, int | None, int | None], Mapping[str, Any]]
"""Records by model, metric, batch and length."""


def _number(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def _mark(
    cells: Cells, model: str, phase: str, time: str, batch: int | None, length: int | None
) -> dict[str, Any] | None:
    """One model at one point, or None where its work is not known."""
    taken = cells[model, time, batch, length]
    flops, moved = (cells.get((model, f"{phase}_{what}", batch, length)) for what in ("flops", "bytes"))
    if flops is None or moved is None or not min(flops["value"], moved["value"], taken["value"]) > 0:
        return None
    rate = Value(
        1e3 * flops["value"] / taken["value"],
        None if absent(taken["high"]) else 1e3 * flops["value"] / taken["high"],
        None if absent(taken["low"]) else 1e3 * flops["value"] / taken["low"],
        taken["n"],
    )
    least = cells.get((model, f"{phase}_least_ms", batch, length))
    share = None if least is None else least["value"] / taken["value"]
    return {
        "candidate": model,
        "x": short(flops["value"] / moved["value"]),
        "point": f"batch {batch}, length {length}",
        "flops": format_value(flops["value"], "FLOPs"),
        "moved": format_value(moved["value"], "bytes"),
        "time": format_value(taken["value"], "ms", taken["low"], taken["high"]),
        "share": format_value(share, "fraction"),
        "limit": "–" if least is None else least["note"].removeprefix("bound by "),
        **columns("y", rate, "FLOP/s"),
    }


def _roofs(cells: Cells, marks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Corners of a roof for each precision in which the models multiply; none where rates are not known."""
    rates: dict[str, tuple[float, float]] = {}
    for model in dict.fromkeys(mark["candidate"] for mark in marks):
        bandwidth = cells.get((model, "machine_bytes_per_s", None, None))
        rate = cells.get((model, "machine_flops_per_s", None, None))
        if bandwidth is not None and rate is not None:
            rates[rate["note"]] = bandwidth["value"], rate["value"]
    ridges = [rate / bandwidth for bandwidth, rate in rates.values()]
    places = [*(mark["x"] for mark in marks), *ridges]
    low, high = min(places) / _ROOM, max(places) * _ROOM
    return [
        {
            "roof": products,
            "x": short(place),
            "roof_y": short(min(bandwidth * place, rate)),
            "label": label,
            "side": side,
        }
        for products, (bandwidth, rate) in rates.items()
        for place, label, side in (
            (low, f"{format_value(bandwidth, 'bytes/s')} of memory", "left"),
            (rate / bandwidth, None, None),
            (high, f"{format_value(rate, 'FLOP/s')}, {products}", "right"),
        )
    ]


def _chart(marks: list[dict[str, Any]], roofs: list[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    heights = [mark[end] for mark in marks for end in ("y", "y_low") if mark[end] is not None]
    heights += [corner["roof_y"] for corner in roofs]
    widths = [row["x"] for row in (*marks, *roofs)]
    x = alt.X(
        "x:Q",
        title="FLOPs a byte moved",
        scale=alt.Scale(type="log", nice=False, padding=8),
        axis=alt.Axis(values=logarithmic_ticks(widths), grid=False, format="~g"),
    )
    scale = alt.Scale(type="log", nice=False, padding=16)
    axis = metric_axis(_ACHIEVED, logarithmic_ticks(heights))
    y = alt.Y("y:Q", title="achieved FLOP/s · better ↑", scale=scale, axis=axis)
    base = alt.Chart(ROWS)
    above = base.transform_filter("isValid(datum.roof)").encode(x=x, y=alt.Y("roof_y:Q", scale=scale))
    roof = above.mark_line(strokeWidth=1.5, color=alt.expr("muted")).encode(detail="roof:N")
    labels = [
        above.transform_filter(f"datum.side == '{side}'")
        .mark_text(
            align=side,
            dx=12 if side == "left" else 0,
            dy=4 if side == "left" else -8,
            fontSize=12,
            color=alt.expr("muted"),
            opacity=alt.expr("width < 420 ? 0 : 1"),
        )
        .encode(text="label:N")
        for side in ("left", "right")
    ]
    spread = base.transform_filter("isValid(datum.y_low)").mark_rule(opacity=0.45, strokeWidth=1.5)
    points = base.transform_filter("isValid(datum.candidate)").mark_point(filled=True, opacity=0.9, size=64)
    color = color_of(order)
    tooltip = [
        alt.Tooltip("candidate:N", title="model"),
        alt.Tooltip("point:N"),
        alt.Tooltip("y_text:N", title="achieved"),
        alt.Tooltip("share:N", title="of the roofline"),
        alt.Tooltip("limit:N", title="bound by"),
        alt.Tooltip("time:N"),
        alt.Tooltip("flops:N", title="FLOPs"),
        alt.Tooltip("moved:N", title="bytes moved"),
    ]
    chart = alt.layer(
        roof,
        *labels,
        spread.encode(x=x, y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q", color=color),
        points.encode(x=x, y=y, color=color, shape=shape_of(order), tooltip=tooltip),
    ).add_params(alt.param(name="muted", value="#888"))
    return with_rows(finish(chart, height=360), [*roofs, *marks])
