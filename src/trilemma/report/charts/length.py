"""The chart of efficiency against length and batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from trilemma.analysis.candidates import candidate_names, candidates, name_of, rows_of
from trilemma.analysis.lookup import Estimate, here, preferred
from trilemma.metrics import METRICS, Metric
from trilemma.report.charts import encoding
from trilemma.report.contents import CONTENTS

_TITLES = {"length": "length (tokens)", "batch": "batch (items)"}


def length_figure(records: pd.DataFrame) -> encoding.Figure | None:
    """Each efficiency metric against length for each batch, and the other way round; None without any."""
    everyone = candidates(records)
    order = encoding.models_in_order(everyone)
    names = candidate_names(records)
    variants: encoding.Variants = {}
    measured = records[(records["value"] > 0) & records["length"].notna()]
    if (measured["basis"] != "forecast").any():
        measured = preferred(here(measured))
    for metric in (one for name in CONTENTS["length"] for one in METRICS[name].in_phases):
        rows = measured[(measured["metric"] == metric.name) & (measured["phase"] == metric.phase)]
        trained = bool((rows["adaptation"] != "").any())
        own_order = [c.name for c in everyone] if trained else order
        for across, fixed in (("length", "batch"), ("batch", "length")):
            if rows.empty or (across == "batch" and rows["batch"].nunique() < 2):
                continue
            chart = _grid_chart(metric, rows, own_order, across)
            for value in sorted(rows[fixed].dropna().unique()) or [None]:
                own = rows if value is None else rows[rows[fixed] == value]
                label = f"any {fixed}" if value is None else f"{fixed} {int(value)}"
                variants[metric.title, across, label] = encoding.with_rows(
                    chart, [_grid_row(row, metric, names, across) for row in rows_of(own)]
                )
    return encoding.Figure("length", ("Measure", "Against", "At"), variants) if variants else None


def _grid_row(
    row: dict[str, Any], metric: Metric, names: Mapping[tuple[str, str], str], across: str
) -> dict[str, Any]:
    # An axis of logarithms has no place for an interval that reaches 0, as net energies' may.
    bounded = row["low"] is not None and row["low"] > 0
    low, high = (row["low"], row["high"]) if bounded else (None, None)
    value = Estimate(row["value"], low, high, row["n"])
    return {
        # Only what training takes depends on the adaptation.
        "candidate": name_of(row, names),
        across: int(row[across]),
        "kernel": row["kernel"],
        **encoding.columns("y", value, metric.unit),
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
    y_ticks = encoding.logarithmic_ticks(list(records["value"]))
    y = alt.Y(
        "y:Q", title=f"{metric.title} · {arrow}", scale=scale, axis=encoding.metric_axis(metric, y_ticks)
    )
    base = alt.Chart(encoding.ROWS).encode(x=x, color=encoding.color_of(order))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q")
    if len(ticks) == 1:  # where an area has no width
        band = base.mark_rule(opacity=0.45, strokeWidth=1.5).encode(
            y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q"
        )
        band = band.transform_filter("isValid(datum.y_low)")
    lines = base.mark_line(strokeWidth=2).encode(y=y)
    points = base.mark_point(filled=True, opacity=1, size=60).encode(
        y=y,
        shape=encoding.shape_of(order),
        tooltip=[
            alt.Tooltip("candidate:N", title="model"),
            alt.Tooltip(f"{across}:Q", title=_TITLES[across]),
            alt.Tooltip("y_text:N", title=metric.title),
            alt.Tooltip("y_n:Q", title="repetitions"),
            alt.Tooltip("kernel:N"),
        ],
    )
    return encoding.finish(alt.layer(band, lines, points), height=320)
