"""The chart of what a phase takes at each clock frequency: its time against its energy."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from trilemma.metrics import Metric
from trilemma.report.charts import encoding

CHOICES = ("Model", "Batch", "Length", "Phase")
"""What a reader chooses."""

STANDINGS = _FRONT, _CHOSEN, _BEATEN = ("on the Pareto front", "chosen", "beaten by another")
"""What a frequency can be; each has a mark of its own."""

_TIME = Metric("time", "E", "lower", "ms", "time")
_HEIGHT, _WIDTH = 360.0, 640.0
"""Pixels: height of the chart, and the least width at which all labels are shown."""
_LETTER, _LINE, _RADIUS = 7.0, 15.0, 8.0
"""Pixels: width of a letter, height of a label, half of a mark."""
_SIDES = {
    "right": ("left", 12, 0),
    "above": ("center", 0, -16),
    "left": ("right", -12, 0),
    "below": ("center", 0, 17),
}
"""Where a label may stand: its alignment and its distance from the mark, in pixels."""


class Mark(NamedTuple):
    """One frequency.

    Attributes:
        mhz: clock frequency.
        milliseconds, joules: time and energy of the phase.
        time, energy: the same with their intervals, as text.
        front: whether it is on the Pareto front.
        chosen: whether it is what the phase should run at.
        estimate: whether time and energy are from a model and not measured.
    """

    mhz: float
    milliseconds: float
    joules: float
    time: str
    energy: str
    front: bool
    chosen: bool
    estimate: bool


def clocks_figure(marks: Mapping[tuple[str, str, str, str], Sequence[Mark]]) -> encoding.Figure:
    """Energy against time at each frequency, with the Pareto front and what was chosen.

    Args:
        marks: by the values of :data:`CHOICES`; at least one mark each.
    """
    variants: encoding.Variants = {key: _chart(own, phase=key[-1]) for key, own in marks.items()}
    return encoding.Figure("clocks", CHOICES, variants)


def _chart(marks: Sequence[Mark], phase: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "candidate": _CHOSEN if mark.chosen else _FRONT if mark.front else _BEATEN,
            "front": mark.front,
            "frequency": f"{mark.mhz:g} MHz",
            "x": encoding.short(mark.milliseconds),
            "y": encoding.short(mark.joules),
            "time": mark.time,
            "energy": mark.energy,
        }
        for mark in marks
    ]
    across, up = (_domain([row[axis] for row in rows]) for axis in ("x", "y"))
    sides = _label_sides(rows, across, up)
    for row, side in zip(rows, sides, strict=True):
        row["side"] = side
    what = "energy, estimate," if any(mark.estimate for mark in marks) else "energy"
    x = alt.X(
        "x:Q",
        title=f"time of {phase} (ms) · ← better",
        scale=alt.Scale(domain=across, nice=False),
        axis=encoding.metric_axis(_TIME),
    )
    joules = "replace(format(datum.value, '.3~s'), regexp('([a-zA-Zµ]?)$'), ' $1J')"
    y = alt.Y(
        "y:Q",
        title=f"{what} of {phase} (J) · better ↓",
        scale=alt.Scale(domain=up, nice=False),
        axis=alt.Axis(labelExpr=joules, tickCount=6),
    )
    base = alt.Chart(encoding.ROWS).encode(x=x, y=y)
    line = (
        base.transform_filter("datum.front")
        .mark_line(strokeWidth=1.5, opacity=0.6, color=alt.expr("muted"))
        .encode(order="x:Q")
    )
    points = base.mark_point(filled=True, opacity=1).encode(
        color=encoding.color_of(STANDINGS),
        shape=encoding.shape_of(STANDINGS),
        size=alt.condition(f"datum.candidate === '{_CHOSEN}'", alt.value(170), alt.value(80)),
        tooltip=[
            alt.Tooltip("frequency:N", title="clock"),
            alt.Tooltip("time:N"),
            alt.Tooltip("energy:N", title=what.rstrip(",")),
            alt.Tooltip("candidate:N", title="standing"),
        ],
    )
    wide_enough = f"width >= {_WIDTH:g} || datum.candidate === '{_CHOSEN}'"
    labels = [
        base.transform_filter(f"datum.side === '{side}'")
        .mark_text(align=align, baseline="middle", dx=dx, dy=dy, fontSize=12)
        .encode(text="frequency:N", opacity=alt.condition(wide_enough, alt.value(1), alt.value(0)))
        for side, (align, dx, dy) in _SIDES.items()
    ]
    chart = alt.layer(line, points, *labels).add_params(alt.param(name="muted", value="#888"))
    return encoding.with_rows(encoding.finish(chart, height=_HEIGHT), rows)


def _domain(values: Sequence[float]) -> list[float]:
    """The values with room around them, so wide that the ticks differ in three digits."""
    low, high = min(values), max(values)
    room = max(0.1 * (high - low), 0.04 * high)
    return [max(0.0, low - room), high + room]


Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


def _label_sides(
    rows: Sequence[Mapping[str, Any]], across: Sequence[float], up: Sequence[float]
) -> list[str | None]:
    """The side of each mark on which its label covers nothing; None where there is none.

    What was chosen is labelled first, then the front.
    """
    places = [
        (
            _WIDTH * (row["x"] - across[0]) / (across[1] - across[0]),
            _HEIGHT * (up[1] - row["y"]) / (up[1] - up[0]),
        )
        for row in rows
    ]
    taken: list[Box] = [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in places]
    sides: list[str | None] = [None] * len(rows)
    order = (_CHOSEN, _FRONT, _BEATEN)
    for index in sorted(range(len(rows)), key=lambda index: order.index(rows[index]["candidate"])):
        wide = _LETTER * len(rows[index]["frequency"])
        for side, (align, dx, dy) in _SIDES.items():
            x, y = places[index][0] + dx, places[index][1] + dy
            left = {"left": x, "center": x - wide / 2, "right": x - wide}[align]
            box = (left, y - _LINE / 2, left + wide, y + _LINE / 2)
            if left >= 0 and left + wide <= _WIDTH and not _covers(box, taken):
                sides[index] = side
                taken.append(box)
                break
    return sides


def _covers(box: Box, others: Iterable[Box]) -> bool:
    return any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in others
    )
