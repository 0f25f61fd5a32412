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

from trilemma.analysis.candidates import Candidate
from trilemma.analysis.lookup import Estimate
from trilemma.metrics import Metric
from trilemma.records import AVERAGE

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


def kind_of(index: int) -> tuple[int, int]:
    """Numbers of a candidate's colour and shape: no two of 64 candidates have both alike."""
    count = len(SHAPES)
    return index % count, (index + index // count) % count


Variants = dict[tuple[str, ...], dict[str, Any]]
"""A reader's choices to the Vega-Lite specification that is then shown."""


@dataclass(frozen=True)
class Figure:
    """One chart and the choices a reader has.

    Attributes:
        name: id in the page.
        choices: label of each choice (``Metric``, ``Batch``), in the order of the variants' keys.
        variants: key (one entry for each choice) to Vega-Lite specification.
    """

    name: str
    choices: tuple[str, ...]
    variants: Variants


def models_at(everyone: Sequence[Candidate]) -> dict[str, int]:
    """The models, each with the number of its first candidate, whose colour and shape it has."""
    found: dict[str, int] = {}
    for index, candidate in enumerate(everyone):
        found.setdefault(candidate.model, index)
    return found


def models_in_order(everyone: Sequence[Candidate]) -> list[str]:
    """Names in the order of the candidates; the first candidate of each model has the model's own name."""
    models = models_at(everyone)
    return [c.model if models[c.model] == index else c.name for index, c in enumerate(everyone)]


def tasks_of(records: pd.DataFrame) -> list[str]:
    """The tasks that have records, aggregates left out."""
    return [task for task in dict.fromkeys(records["task"]) if task not in ("", AVERAGE)]


def columns(name: str, value: Estimate, unit: str) -> dict[str, Any]:
    """Number, limits (None where there are none: nothing is drawn), n and tooltip text of one value."""
    assert value.value is not None
    bounded = not absent(value.low) and not absent(value.high)
    return {
        name: short(value.value),
        f"{name}_low": short(value.low) if bounded else None,
        f"{name}_high": short(value.high) if bounded else None,
        f"{name}_n": None if absent(value.n) else int(value.n or 0),
        f"{name}_text": value.text(unit),
    }


def absent(number: float | None) -> bool:
    """Whether there is no number: None, NaN as pandas has it, or an infinity."""
    return number is None or not math.isfinite(number)


def short(number: float | None) -> float:
    """Six significant digits: enough for a chart."""
    assert number is not None
    return float(f"{number:.6g}")


def cost_scale(rows: Sequence[dict[str, Any]]) -> alt.Scale:
    """Linear near each other, logarithmic where candidates lie more than a factor of 20 apart.

    A linear scale never shows costs below zero.
    """
    values = [row["x"] for row in rows]
    limits = [row[name] for row in rows for name in ("x_low", "x_high") if row[name] is not None]
    if min(values) > 0 and max(values) > 20 * min(values):
        positive = [number for number in (*values, *limits) if number > 0]
        return alt.Scale(
            type="log", domain=[min(positive) / 1.5, max(positive) * 1.5], nice=False, clamp=True
        )
    low, high = min([*values, *limits]), max([*values, *limits])
    room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    return alt.Scale(domain=[max(0.0, low - room), high + room], nice=False, clamp=True)


def metric_axis(metric: Metric, values: Sequence[float] | None = None) -> alt.Axis:
    """Ticks in the unit a person reads; the tick values themselves stay in the metric's unit."""
    label = "format(datum.value, '.3~s')"
    if metric.unit == "bytes":
        label = f"replace({label}, regexp('([kMGT]?)$'), ' $1B')"
    elif metric.unit in ("J", "W"):
        label = f"replace({label}, regexp('([a-zA-Zµ]?)$'), ' $1{metric.unit}')"
    elif metric.unit in ("count", "FLOPs"):
        label = f"replace({label}, 'G', 'B')"
    elif metric.unit in ("ms", "s"):
        label = f"format(datum.value, '.3~r') + ' {metric.unit}'"
    ticks: dict[str, Any] = {"values": list(values)} if values else {"tickCount": 6}
    return alt.Axis(labelExpr=label, labelOverlap="greedy", **ticks)


def logarithmic_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten around the positive values; more where they are within one power."""
    shown = [value for value in values if value > 0 and not absent(value)] or [1.0]
    low, high = math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))
    steps = (1, 2, 5) if max(shown) > 10 * min(shown) else (1, 1.5, 2, 3, 4, 5, 6, 8)
    return [step * 10.0**power for power in range(low, high + 1) for step in steps]


def color_of(order: Sequence[str]) -> alt.Color:
    """The candidates' colours, the same in every chart."""
    return alt.Color("candidate:N", scale=alt.Scale(domain=list(order)), legend=None)


def shape_of(order: Sequence[str]) -> alt.Shape:
    """The candidates' shapes, the same in every chart."""
    shapes = [SHAPES[kind_of(index)[1]] for index in range(len(order))]
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
