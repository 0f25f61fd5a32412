"""The chart of how near each model comes to what the machine gives at best (Williams et al. 2009).

FLOPs per second against FLOPs per byte: left of the ridge the machine's memory is the limit, right of it its
multipliers (Communications of the ACM 52(4)).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from trilemma.analysis.candidates import candidates, rows_of
from trilemma.analysis.lookup import Estimate
from trilemma.metrics import Metric
from trilemma.report.charts import encoding
from trilemma.report.charts.phases import without_forecasts
from trilemma.units import format_value

PHASES = {
    "a classified batch": ("classify", "prefill"),
    "prefill": ("prefill", "classify"),
    "decoding": ("decode", "decode"),
}
"""What a reader chooses, and the phases of its records: a model without the first is shown in the second,
since a classifier's pass and the reading of a prompt are one kind of work, of encoders and of decoders."""

_ACHIEVED = Metric("achieved", "E", "higher", "FLOP/s", "FLOP/s")
_ROOM = 2.0
"""Factor by which the axes reach beyond marks and ridge."""

Row = Mapping[str, Any]


def roofline_figure(records: pd.DataFrame) -> encoding.Figure | None:
    """The marks of all models and points under the roof, by phase; None where no work is known."""
    rows = without_forecasts(records)
    rows = rows[(rows["axis"] == "E") & (rows["adaptation"] == "") & rows["value"].notna()]
    order = encoding.models_in_order(candidates(records))
    rates = {(row["model"], row["metric"]): row for row in rows_of(rows[rows["metric"].isin(_RATES)])}
    variants: encoding.Variants = {}
    located = rows[rows["batch"].notna() & rows["length"].notna()]
    phases_of = located.groupby("model")["phase"].agg(set)
    for label, (phase, other) in PHASES.items():
        if not any(phase in known for known in phases_of):
            continue
        points: dict[tuple[str, int, int], dict[str, Row]] = {}
        shown = [phase if phase in phases_of[name] else other for name in located["model"]]
        own = located[located["phase"] == pd.Series(shown, located.index)]
        for row in rows_of(own[own["metric"].isin(_WORK)]):
            key = row["model"], int(row["batch"]), int(row["length"])
            points.setdefault(key, {})[row["metric"]] = row
        marks = [
            _mark(phase, *key, *(work[metric] for metric in _WORK))
            for key, work in points.items()
            if all(metric in work and work[metric]["value"] > 0 for metric in _WORK)
        ]
        if marks:
            variants[label,] = _chart(marks, _roofs(rates, marks), order)
    return encoding.Figure("roofline", ("Phase",), variants) if variants else None


_WORK = ("flops", "bytes_moved", "roofline_ms", "roofline_share")
"""What a mark is made of: it reaches its share of the FLOPs per second that the roofline allows."""

_RATES = ("machine_flops_per_s", "machine_bytes_per_s")


_NAMES = {phase: label for label, (phase, _) in PHASES.items()}


def _mark(
    phase: str, model: str, batch: int, length: int, flops: Row, moved: Row, least: Row, share: Row
) -> dict[str, Any]:
    """One model at one point of the phase that a reader chose; its own phase is named where it is another."""
    instead = "" if flops["phase"] == phase else f"{_NAMES[flops['phase']]}, "
    allowed = 1e3 * flops["value"] / least["value"]
    known = all(not encoding.absent(share[end]) and share[end] > 0 for end in ("low", "high"))
    low, high = (share["low"], share["high"]) if known else (None, None)
    achieved = Estimate(
        allowed * share["value"],
        None if low is None else allowed * low,
        None if high is None else allowed * high,
        share["n"],
    )
    times = [None if not part else least["value"] / part for part in (share["value"], high, low)]
    return {
        "candidate": model,
        "x": encoding.short(flops["value"] / moved["value"]),
        "point": f"{instead}batch {batch}, length {length}",
        "flops": format_value(flops["value"], "FLOPs"),
        "moved": format_value(moved["value"], "bytes"),
        "time": format_value(times[0], "ms", times[1], times[2]),
        "share": format_value(share["value"], "fraction"),
        "limit": least["note"] or "–",
        **encoding.columns("y", achieved, "FLOP/s"),
    }


def _roofs(rates: Mapping[tuple[str, str], Row], marks: Sequence[Row]) -> list[dict[str, Any]]:
    """Corners of a roof for each precision in which the models multiply; none where rates are not known."""
    roofs: dict[str, tuple[float, float]] = {}
    for model in dict.fromkeys(mark["candidate"] for mark in marks):
        rate, bandwidth = (rates.get((model, metric)) for metric in _RATES)
        if rate is not None and bandwidth is not None:
            products = rate["note"] or f"products in {rate['precision'] or 'one precision'}"
            roofs[products] = bandwidth["value"], rate["value"]
    places = [*(mark["x"] for mark in marks), *(rate / bandwidth for bandwidth, rate in roofs.values())]
    low, high = min(places) / _ROOM, max(places) * _ROOM
    return [
        {
            "roof": products,
            "x": encoding.short(place),
            "roof_y": encoding.short(min(bandwidth * place, rate)),
            "label": label,
            "side": side,
        }
        for products, (bandwidth, rate) in roofs.items()
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
        title="FLOPs per byte moved",
        scale=alt.Scale(type="log", nice=False, padding=8),
        axis=alt.Axis(values=encoding.logarithmic_ticks(widths), grid=False, format="~g"),
    )
    scale = alt.Scale(type="log", nice=False, padding=16)
    axis = encoding.metric_axis(_ACHIEVED, encoding.logarithmic_ticks(heights))
    y = alt.Y("y:Q", title="achieved FLOP/s · better ↑", scale=scale, axis=axis)
    base = alt.Chart(encoding.ROWS)
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
    color = encoding.color_of(order)
    tooltip = [
        alt.Tooltip("candidate:N", title="model"),
        alt.Tooltip("point:N"),
        alt.Tooltip("y_text:N", title="achieved"),
        alt.Tooltip("share:N", title="of the roofline"),
        alt.Tooltip("limit:N", title="limit"),
        alt.Tooltip("time:N"),
        alt.Tooltip("flops:N", title="FLOPs"),
        alt.Tooltip("moved:N", title="bytes moved"),
    ]
    chart = alt.layer(
        roof,
        *labels,
        spread.encode(x=x, y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q", color=color),
        points.encode(x=x, y=y, color=color, shape=encoding.shape_of(order), tooltip=tooltip),
    ).add_params(alt.param(name="muted", value="#888"))
    return encoding.with_rows(encoding.finish(chart, height=360), [*roofs, *marks])
