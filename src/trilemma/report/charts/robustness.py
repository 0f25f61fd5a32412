"""The charts of axis R: accuracy by level of attack, and the heat maps of methods and of transfer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from trilemma.analysis.answers import CLEAN, LEVELS, within
from trilemma.analysis.candidates import Candidate, candidate_names, candidates, of_candidate, rows_of
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import Estimate, attack_rows, estimate_of
from trilemma.metrics import METRICS
from trilemma.records import AVERAGE
from trilemma.report.charts import encoding
from trilemma.report.charts.heat_map import heat_map
from trilemma.units import format_value

ORDER = (CLEAN, *LEVELS)
"""Levels from the left."""


def levels_figure(evidence: Evidence) -> encoding.Figure:
    """Accuracy on clean text and at each attack level with intervals, for all tasks and each."""
    records = evidence.records
    everyone = candidates(records)
    variants: encoding.Variants = {}
    for task in (AVERAGE, *encoding.tasks_of(records)):
        rows = _level_rows(evidence, everyone, task)
        if rows:
            label = "mean over tasks" if task == AVERAGE else task
            # A mean of F1 or correlations is not an accuracy: no line of accuracies belongs beside it.
            accuracies = task != AVERAGE or set(evidence.official.values()) <= {("accuracy",)}
            majority = _majority_rows(records, evidence.benchmark, task, rows) if accuracies else []
            axis = "accuracy" if accuracies else "mean of the tasks' own metrics"
            variants[label,] = _levels_chart(rows, majority, [c.name for c in everyone], axis)
    return encoding.Figure("levels", ("Task",), variants)


def _level_rows(evidence: Evidence, everyone: Sequence[Candidate], task: str) -> list[dict[str, Any]]:
    by_task = evidence.records[evidence.records["seed"].isna() & (evidence.records["task"] == task)]
    by_task = by_task[by_task["method"] == ""]
    rows = []
    for candidate in everyone:
        own = of_candidate(by_task, candidate)
        for level in ORDER:
            metric = METRICS["accuracy" if level == CLEAN else "robust_accuracy"]
            if task == AVERAGE:
                rows += _level_row(candidate, level, evidence.estimate(metric, candidate, level), "")
                continue
            for row in rows_of(own[(own["metric"] == metric.name) & (own["level"] == level)]):
                rows += _level_row(candidate, level, estimate_of(row), row["set"])
    return rows


def _level_row(candidate: Candidate, level: str, value: Estimate, name: str) -> list[dict[str, Any]]:
    """A mark, under its level; MNLI's two splits are apart. Nothing where there is no value."""
    if value.value is None:
        return []
    label = f"{level}, {name.rsplit('_', 1)[-1]}" if name.endswith("matched") else level
    shown = f"{name} (partial split)" if value.partial else name
    mark = {"candidate": candidate.name, "level": label, "of": level, "set": shown}
    return [mark | encoding.columns("y", value, "fraction")]


def _majority_rows(
    records: pd.DataFrame, benchmark: str, task: str, rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What always answering the most frequent class would reach at each level (the mean over tasks)."""
    own = records[
        (records["metric"] == "majority_accuracy") & records["value"].notna() & (records["method"] == "")
    ]
    if task == AVERAGE:  # the mean is that of one benchmark
        own = own[
            (own["axis"] == "P") | own["set"].map(lambda name: within(str(name), benchmark)).astype(bool)
        ]
    else:
        own = own[own["task"] == task]
    means = (
        own.drop_duplicates(["task", "set", "level"])
        .groupby(["level", "task"])["value"]
        .mean()
        .groupby("level")
        .mean()
    )
    return [
        {
            "level": label,
            "majority": encoding.short(means[level]),
            "text": format_value(means[level], "fraction"),
        }
        for label, level in {row["level"]: row["of"] for row in rows}.items()
        if level in means.index
    ]


def _levels_chart(
    rows: list[dict[str, Any]], majority: list[dict[str, Any]], order: Sequence[str], title: str
) -> dict[str, Any]:
    labels = list(dict.fromkeys(r["level"] for r in sorted(rows, key=lambda r: ORDER.index(r["of"]))))
    x = alt.X(
        "level:N",
        sort=labels,
        title=None,
        axis=alt.Axis(labelAngle=0, labelFontSize=13, domain=False, ticks=False, grid=False),
    )
    scale = alt.Scale(domain=[0, 1])
    offset = alt.XOffset("candidate:N", sort=list(order), scale=alt.Scale(paddingOuter=0.35))
    y = alt.Y("y:Q", title=title, scale=scale, axis=alt.Axis(format=".0%", tickCount=5))
    tip = [alt.Tooltip("level:N"), alt.Tooltip("text:N", title="always the majority class")]
    line = (
        alt.Chart(encoding.ROWS)
        .transform_filter("isValid(datum.majority)")
        .add_params(alt.param(name="muted", value="#888"))
    )
    long = alt.expr(f"0.62 * width / {len(labels)}")
    ticks = line.mark_tick(thickness=1.5, size=long, color=alt.expr("muted"), opacity=0.75)
    baseline = ticks.encode(x=x, y=alt.Y("majority:Q", scale=scale), tooltip=tip)
    base = (
        alt.Chart(encoding.ROWS)
        .transform_filter("isValid(datum.y)")
        .encode(x=x, xOffset=offset, color=encoding.color_of(order))
    )
    spread = base.mark_rule(strokeWidth=3, opacity=0.4, strokeCap="round").encode(
        y=alt.Y("y_low:Q", scale=scale), y2="y_high:Q"
    )
    points = base.mark_point(filled=True, opacity=1, size=75).encode(
        y=y,
        shape=encoding.shape_of(order),
        tooltip=[
            alt.Tooltip("candidate:N"),
            alt.Tooltip("level:N"),
            alt.Tooltip("y_text:N", title="accuracy"),
            alt.Tooltip("y_n:Q", title="answers"),
            alt.Tooltip("set:N"),
        ],
    )
    return encoding.with_rows(
        encoding.finish(alt.layer(baseline, spread, points), height=320), rows + majority
    )


def methods_figure(evidence: Evidence) -> encoding.Figure | None:
    """Heat map of robust accuracy, attack methods against candidates; None where methods are unknown."""
    records = evidence.records
    names = candidate_names(records)
    rows = records[(records["method"] != "") & records["seed"].isna() & records["value"].notna()]
    rows = rows[rows["metric"] == "robust_accuracy"].copy()
    if rows.empty:
        return None
    rows["candidate"] = [names[key] for key in zip(rows["model"], rows["adaptation"], strict=True)]
    own = {task: rows[rows["task"] == task] for task in encoding.tasks_of(rows)}
    shown = ({"all tasks, pooled": rows} if rows["task"].nunique() > 1 else {}) | own
    variants: encoding.Variants = {
        (label,): _methods_chart(_method_cells(some), list(names.values())) for label, some in shown.items()
    }
    return encoding.Figure("methods", ("Task",), variants)


def _method_cells(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Pooled over the given tasks' items; the interval is the record's where there is one record."""
    cells = []
    for (candidate, level, method), group in rows.groupby(["candidate", "level", "method"], sort=False):
        n = float(group["n"].sum())
        value = float((group["value"] * group["n"]).sum() / n)
        low, high = (group["low"].iloc[0], group["high"].iloc[0]) if len(group) == 1 else (None, None)
        cells.append(
            {
                "candidate": candidate,
                "level": level,
                "method": f"{method} · {level}",
                "value": round(value, 4),
                "n": int(n),
                "text": format_value(value, "fraction", low, high),
            }
        )
    return cells


def _methods_chart(cells: list[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    methods = sorted({(ORDER.index(c["level"]) if c["level"] in ORDER else 9, c["method"]) for c in cells})
    return heat_map(cells, order, [name for _, name in methods], title="robust accuracy")


def transfer_figure(records: pd.DataFrame) -> encoding.Figure | None:
    """Heat map of transfer, by task and attack; None where nothing was transferred."""
    rows = attack_rows(records)
    rows = rows[rows["value"].notna() & rows["metric"].isin(["transfer_success_rate", "attack_success_rate"])]
    if not (rows["made_on"] != rows["model"]).any():
        return None
    names = candidate_names(records)
    order = list(names.values())
    variants: encoding.Variants = {}
    for task in encoding.tasks_of(rows):
        for attack, own in rows[rows["task"] == task].groupby("method", sort=False):
            cells = list(_transfer_cells(own, names))
            sources = [name for name in order if any(cell["source"] == name for cell in cells)]
            variants[task, str(attack)] = heat_map(
                cells, order, sources, title="success rate", row="source", axes=("answered by", "made on")
            )
    return encoding.Figure("transfer", ("Task", "Attack"), variants)


def _transfer_cells(rows: pd.DataFrame, names: Mapping[tuple[str, str], str]) -> Iterator[dict[str, Any]]:
    """Examples are made on models; where a model has several adaptations, both sides have the same one."""
    for row in rows_of(rows):
        own = row["made_on"] == row["model"]
        if own == (row["metric"] == "attack_success_rate"):
            yield {
                "candidate": row["candidate"],
                "source": names.get((row["made_on"], row["adaptation"]), row["made_on"]),
                "value": round(row["value"], 4),
                "n": int(row["n"] or 0),
                "text": format_value(row["value"], "fraction", row["low"], row["high"]),
            }
