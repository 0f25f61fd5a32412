"""How far forecasts were off on the study's own points: each model forecast from the others."""

import numpy as np
import pandas as pd

from trilemma.analysis.metrics import FORECASTS, METRICS, format_value
from trilemma.report.layout import Notes, Sheet


def forecast_sheet(records: pd.DataFrame) -> Sheet | None:
    """A row a metric: absolute percentage errors, and how often the interval held; None without forecasts."""
    notes = Notes()
    rows = [_row(records, metric, notes) for metric, name in FORECASTS.items() if _any(records, name)]
    if not rows:
        return None
    header = ("", "points", "median error", "90th percentile", "within the interval")
    return Sheet("Forecasts against measurements", header, tuple(rows), notes.lines())


def _any(records: pd.DataFrame, name: str) -> bool:
    return bool((records["metric"] == name).any())


_PLACE = ["model", "batch", "length"]


def _row(records: pd.DataFrame, metric: str, notes: Notes) -> tuple[str, ...]:
    """One metric; models of one measurement under several names count once."""
    title = METRICS[metric].title
    asked = records[records["metric"] == FORECASTS[metric]]
    forecast = asked[asked["value"].notna()]
    reasons = [note for note in dict.fromkeys(asked.loc[asked["value"].isna(), "note"]) if note]
    mark = notes.mark("; ".join(reason.split(";")[0] for reason in reasons))
    measured = records.loc[(records["metric"] == metric) & (records["value"] > 0), [*_PLACE, "value"]]
    both = forecast.merge(measured, on=_PLACE, suffixes=("", "_measured"))
    both = both.drop_duplicates(["batch", "length", "value", "value_measured"])
    if both.empty:
        return (title, "0", "–", "–", f"–{mark}")
    errors = np.abs(both["value"] / both["value_measured"] - 1)
    held = (both["low"] <= both["value_measured"]) & (both["value_measured"] <= both["high"])
    shares = (np.median(errors), np.quantile(errors, 0.9), held.mean())
    return (title, f"{len(both):,}{mark}", *(format_value(float(share), "fraction") for share in shares))
