"""A heat map of shares: rows against columns, each cell with its number."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from trilemma.report.charts.encoding import ROWS, finish, with_rows


def heat_map(
    cells: list[dict[str, Any]],
    columns: Sequence[str],
    rows: Sequence[str],
    *,
    title: str,
    column: str = "candidate",
    row: str = "method",
    axes: tuple[str | None, str | None] = (None, None),
) -> dict[str, Any]:
    """The specification.

    Args:
        cells: each with ``column`` and ``row``, ``value`` (0..1), ``text`` and ``n``.
        columns: their order, from the left.
        rows: their order, from the top.
        title: what the numbers are.
        column: name of the cells' column.
        row: name of the cells' row.
        axes: titles of the axes of columns and rows.
    """
    base = alt.Chart(ROWS).encode(
        x=alt.X(
            f"{column}:N",
            sort=list(columns),
            title=axes[0],
            axis=alt.Axis(orient="top", labelAngle=30 if _slanted(columns) else 0, labelLimit=320),
        ),
        y=alt.Y(f"{row}:N", sort=list(rows), title=axes[1], axis=alt.Axis(labelLimit=320)),
    )
    tooltip = [
        alt.Tooltip(f"{column}:N", title=axes[0] or column),
        alt.Tooltip(f"{row}:N", title=axes[1] or row),
        alt.Tooltip("text:N", title=title),
        alt.Tooltip("n:Q", title="answers"),
    ]
    legend = alt.Legend(
        title=title, format=".0%", orient="bottom", values=[0, 0.25, 0.5, 0.75, 1], gradientLength=240
    )
    tiles = base.mark_rect(stroke=alt.expr("panel"), strokeWidth=2).encode(
        color=alt.Color("value:Q", scale=alt.Scale(domain=[0, 1]), legend=legend),
        tooltip=tooltip,
    )
    numbers = base.mark_text(fontSize=12).encode(
        text=alt.Text("value:Q", format=".0%"),
        color=alt.condition(
            "datum.value > inkAt", alt.value(alt.expr("inkHigh")), alt.value(alt.expr("inkLow"))
        ),
        tooltip=tooltip,
    )
    theme = {"inkHigh": "#fff", "inkLow": "#222", "inkAt": 0.8, "panel": "#fff"}
    chart = alt.layer(tiles, numbers).add_params(
        *(alt.param(name=name, value=value) for name, value in theme.items())
    )
    return with_rows(finish(chart, height=32 * len(rows)), cells)


def columns_width(names: Sequence[str]) -> float:
    """Least width of the columns, in rem."""
    return len(names) * (4.0 if _slanted(names) else max(4.0, 0.5 * max(map(len, names))))


def _slanted(names: Sequence[str]) -> bool:
    """Whether the columns' names do not fit side by side on a page."""
    return len(names) * max(map(len, names)) > 100
