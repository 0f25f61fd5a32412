"""A paired comparison as one table for the terminal."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from trilemma.analysis.apart import format_p
from trilemma.analysis.metrics import format_value
from trilemma.report.layout import Sheet

HEADER = ("task", "level", "n", "first", "second", "difference [95%]", "p (Holm)", "better")


_WORDS = {"a better": "first", "b better": "second", "not distinguishable": "tie"}


def compared(comparison: pd.DataFrame) -> Sheet:
    """The rows of :meth:`trilemma.Result.compare`, a line a task, set and level."""
    first = comparison.iloc[0]
    rows = tuple(_line(row) for row in comparison.to_dict("records"))
    return Sheet(
        title=f"{first['metric'].replace('_', ' ')}: {first['a']} (first) against {first['b']} (second)",
        header=HEADER,
        rows=rows,
        notes=(
            f"Paired tests on the same items; Holm over at most {comparison['family'].max()} tests a family.",
        ),
        fixed=2,
    )


def _line(row: Mapping[Any, Any]) -> tuple[str, ...]:
    task = row["task"] if row["set"] in ("clean", "advglue") else f"{row['task']} {row['set']}"
    if row["metric"].endswith("_score"):  # an average of the tasks' own metrics
        task = f"{task} score"
    p = row["p_adjusted"]
    return (
        task,
        row["level"],
        f"{row['n']:,}",
        _fraction(row["a_value"]),
        _fraction(row["b_value"]),
        _fraction(row["difference"], row["low"], row["high"]),
        "–" if p is None or pd.isna(p) else format_p(p).removeprefix("p ").removeprefix("= "),
        _WORDS.get(row["verdict"], row["verdict"]),
    )


def _fraction(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None or pd.isna(value):
        return "–"
    return format_value(value, "fraction", low, high)
