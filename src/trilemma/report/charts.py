"""What the charts share: rows, scales, axes, colours and shapes, as Altair objects.

Colours come from the page's theme: the category range follows the order of the candidates.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from trilemma.comparisons import AVERAGE
from trilemma.report.metrics import Metric, format_value
from trilemma.report.values import Value

SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
"""Marks by candidate, so that colour is never alone."""

Variants = dict[tuple[str, ...], dict[str, Any]]
"""A reader's choices to the Vega-Lite specification they show."""


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
    variants: Variants
    description: str


def tasks_of(records: pd.DataFrame) -> list[str]:
    """The tasks that have records, aggregates left out."""
    return [task for task in dict.fromkeys(records["task"]) if task not in ("", AVERAGE)]


def columns(name: str, value: Value, unit: str) -> dict[str, Any]:
    """Number, limits, n and tooltip text of one value; limits are the value itself where there are none."""
    assert value.value is not None
    low = value.value if absent(value.low) else value.low
    high = value.value if absent(value.high) else value.high
    return {
        name: short(value.value),
        f"{name}_low": short(low),
        f"{name}_high": short(high),
        f"{name}_n": None if absent(value.n) else int(value.n or 0),
        f"{name}_text": format_value(value.value, unit, value.low, value.high),
    }


def absent(number: float | None) -> bool:
    """Whether there is no number: None, or NaN as pandas has it."""
    return number is None or math.isnan(number)


def short(number: float | None) -> float:
    """Six significant digits: enough for a chart."""
    assert number is not None
    return float(f"{number:.6g}")


def cost_scale(rows: Sequence[dict[str, Any]]) -> alt.Scale:
    """Linear near each other, logarithmic where candidates lie more than a factor of 20 apart."""
    values = [row["x"] for row in rows if row["x"] > 0]
    if values and max(values) > 20 * min(values):
        return alt.Scale(type="log", padding=40)
    return alt.Scale(zero=False, padding=40)


def metric_axis(metric: Metric, values: Sequence[float] | None = None) -> alt.Axis:
    """Ticks in the unit a person reads; the tick values themselves stay in the metric's unit."""
    label = "format(datum.value, '.3~s')"
    if metric.unit == "bytes":
        label = f"replace({label}, regexp('([kMGT]?)$'), ' $1B')"
    elif metric.unit in ("count", "FLOPs"):
        label = f"replace({label}, 'G', 'B')"
    elif metric.unit in ("ms", "s"):
        label = f"format(datum.value, '.3~r') + ' {metric.unit}'"
    return (
        alt.Axis(labelExpr=label, values=list(values)) if values else alt.Axis(labelExpr=label, tickCount=6)
    )


def logarithmic_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten around the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [step * 10.0**power for power in range(low, high + 1) for step in (1, 2, 5)]


def color_of(order: Sequence[str]) -> alt.Color:
    """The candidates' colours, the same in every chart."""
    return alt.Color("candidate:N", scale=alt.Scale(domain=list(order)), legend=None)


def shape_of(order: Sequence[str]) -> alt.Shape:
    """The candidates' shapes, the same in every chart."""
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(order))]
    return alt.Shape("candidate:N", scale=alt.Scale(domain=list(order), range=shapes), legend=None)


ROWS = alt.NamedData("rows")


def finish(chart: alt.LayerChart, height: Any) -> dict[str, Any]:
    """The specification without rows; Altair validates it in the tests, not in every report."""
    chart = chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec.pop("config", None)
    return spec


def with_rows(spec: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The specification with the rows its :data:`ROWS` stand for.

    Line separators in names become spaces: Vega-Lite writes names into expressions, whose strings
    cannot hold them.
    """
    return {key: _one_line(part) for key, part in (spec | {"datasets": {"rows": rows}}).items()}


def _one_line(part: Any) -> Any:
    if isinstance(part, str):
        return re.sub("[\r\n\u2028\u2029]", " ", part)
    if isinstance(part, list):
        return [_one_line(each) for each in part]
    return {_one_line(key): _one_line(each) for key, each in part.items()} if isinstance(part, dict) else part
