"""The chart of how an answer's time divides into prefill and decoding."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from trilemma.analysis.candidates import candidates, rows_of
from trilemma.metrics import METRICS
from trilemma.report.charts import encoding
from trilemma.units import format_value

_BAR = 18
"""Pixels of a bar with the gap after it."""

_PARTS = (("ttft_ms", "prefill"), ("latency_ms", "decode"))
"""Metric and phase of the first and the second part of a bar."""


def phases_figure(records: pd.DataFrame) -> encoding.Figure | None:
    """Bars of TTFT and decoding time by length and model, for each batch; None where nothing generated."""
    everyone = candidates(records)
    order, models = encoding.models_in_order(everyone), encoding.models_at(everyone)
    rows = without_forecasts(records)
    rows = rows[rows["value"].notna()]
    rows = rows[[kind in _PARTS for kind in zip(rows["metric"], rows["phase"], strict=True)]]
    variants: encoding.Variants = {}
    for batch in sorted(rows["batch"].dropna().unique()):
        parts = {
            (row["model"], int(row["length"]), row["phase"]): row
            for row in rows_of(rows[rows["batch"] == batch])
        }
        bars = [
            bar
            for model, length, phase in parts
            if phase == "prefill" and (model, length, "decode") in parts
            for bar in _bars(parts[model, length, "prefill"], parts[model, length, "decode"])
        ]
        if bars:
            # Bars stand in the order of the legend.
            bars.sort(key=lambda bar: (bar["length"], models[bar["candidate"]], bar["start"]))
            variants[str(int(batch)),] = _chart(bars, order)
    return encoding.Figure("phases", ("Batch",), variants) if variants else None


def without_forecasts(records: pd.DataFrame) -> pd.DataFrame:
    """What was measured, counted or estimated; forecasts where there is nothing else."""
    known = records[records["basis"] != "forecast"]
    return known if len(known) else records


def _bars(prefill: dict[str, Any], decoding: dict[str, Any]) -> list[dict[str, Any]]:
    """Both parts of one answer, the second after the first; the end of the second names the whole."""
    whole = prefill["value"] + decoding["value"]
    common = {"candidate": prefill["model"], "length": int(prefill["length"])}
    common["share"] = f"prefill takes {format_value(prefill['value'] / whole, 'fraction')}"
    common["tokens"] = _further(decoding["decode"])
    return [
        common
        | {
            "phase": phase,
            "what": METRICS["ttft_ms"].title if row is prefill else f"decoding, {common['tokens']}",
            "start": encoding.short(start),
            "end": encoding.short(start + row["value"]),
            "text": format_value(row["value"], "ms", row["low"], row["high"]),
            "n": None if encoding.absent(row["n"]) else int(row["n"]),
            "whole": format_value(whole, "ms") if row is decoding else None,
        }
        for phase, row, start in (("prefill", prefill, 0.0), ("decoding", decoding, prefill["value"]))
    ]


def _further(decode: float | None) -> str:
    """How many tokens are decoded after the first."""
    if encoding.absent(decode) or not decode:
        return "all further tokens"
    count = int(decode) - 1
    return f"{count} further token{'s' * (count > 1)}"


def _whole(bars: Sequence[dict[str, Any]]) -> str:
    """What the bars are the time of."""
    tokens = {bar["tokens"] for bar in bars}
    return f"prefill, {tokens.pop()}" if len(tokens) == 1 else "prefill, all further tokens"


def _chart(bars: list[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    drawn = [name for name in order if any(bar["candidate"] == name for bar in bars)]
    lengths = sorted({bar["length"] for bar in bars})
    base = alt.Chart(encoding.ROWS).encode(
        y=alt.Y("length:O", title="length of the prompt (tokens)", scale=alt.Scale(paddingInner=0.3)),
        yOffset=alt.YOffset("candidate:N", sort=drawn, scale=alt.Scale(domain=drawn, paddingInner=0.15)),
        color=encoding.color_of(order),
    )
    x = alt.X(
        "end:Q",
        title=f"{_whole(bars)} (ms) · ← better",
        scale=alt.Scale(domainMin=0, domainMax=1.12 * max(bar["end"] for bar in bars), nice=False),
        axis=alt.Axis(tickCount=6, grid=False),
    )
    parts = base.mark_bar().encode(
        x=alt.X("start:Q"),
        x2="end:Q",
        opacity=alt.condition("datum.phase === 'prefill'", alt.value(1), alt.value(0.45)),
        tooltip=[
            alt.Tooltip("candidate:N", title="model"),
            alt.Tooltip("length:Q", title="length (tokens)"),
            alt.Tooltip("what:N", title="part"),
            alt.Tooltip("text:N", title="time"),
            alt.Tooltip("n:Q", title="repetitions"),
            alt.Tooltip("share:N", title="of the answer"),
        ],
    )
    names = (
        base.transform_filter("isValid(datum.whole)")
        .mark_text(align="left", dx=5, fontSize=11.5, opacity=alt.expr("width < 420 ? 0 : 1"))
        .encode(x=x, text="whole:N")
    )
    height = len(lengths) * (_BAR * len(drawn) + 14)
    return encoding.with_rows(encoding.finish(alt.layer(parts, names), height=height), bars)
