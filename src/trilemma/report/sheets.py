"""Tables about one thing each: attacks, fine-tuning, how far forecasts were off, a comparison."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from trilemma.analysis.candidates import candidates, of_candidate, rows_of
from trilemma.analysis.cautions import FLAG_SENTENCES
from trilemma.analysis.comparisons import format_p
from trilemma.analysis.lookup import attack_rows, here
from trilemma.metrics import METRICS, recorded_metric
from trilemma.records import AVERAGE, MEANINGLESS
from trilemma.report.contents import CONTENTS
from trilemma.report.layout import Notes, Sheet
from trilemma.units import format_value

_ATTACK_TITLES: dict[str, str] = CONTENTS["attacks"]
"""Metrics of the table of attacks and their short titles."""


def attack_sheet(records: pd.DataFrame) -> Sheet | None:
    """What each attack did to each candidate; None where none ran."""
    rows = attack_rows(records)
    rows = rows[(rows["made_on"] == rows["model"]) & rows["metric"].isin(list(_ATTACK_TITLES))]
    if rows.empty:
        return None
    shown, notes = [], []
    keys = ["task", "method", "candidate"]
    for name in keys[:-1]:  # candidates beside one another, the rest in the order of the study
        rows[name] = pd.Categorical(rows[name], categories=list(dict.fromkeys(rows[name])))
    rows = rows.sort_values(keys[:-1], kind="stable")
    for key, group in rows.groupby(keys, sort=False, observed=True):
        found = {str(row["metric"]): row for row in rows_of(group)}
        shown.append((*map(str, key), *(_cell(found.get(name), name) for name in _ATTACK_TITLES)))
        notes += [f"not measured: {row['reason']}" for row in found.values() if pd.isna(row["value"])]
        if any(MEANINGLESS in row["flags"] for row in found.values()):
            notes.append(f"{key[2]} on {key[0]}: {FLAG_SENTENCES[MEANINGLESS]}")
    tasks = list(dict.fromkeys(task for task, *_ in shown))
    title = "Attacks on the models themselves"
    columns: tuple[str, ...] = ("Task", "Attack", "Candidate")
    if len(tasks) == 1:  # leaves room for what differs
        title, columns = f"{title}, {tasks[0]}", columns[1:]
        shown = [row[1:] for row in shown]
    titles = (name[:1].upper() + name[1:] for name in _ATTACK_TITLES.values())
    return Sheet(title, (*columns, *titles), tuple(shown), tuple(dict.fromkeys(notes)))


def _cell(row: Mapping[str, Any] | None, name: str) -> str:
    if row is None:
        return "–"
    return format_value(row["value"], METRICS[name].unit, row["low"], row["high"])


def training_sheet(records: pd.DataFrame) -> Sheet | None:
    """A column for each task: rows and epochs of fine-tuning, then the learning rate of each candidate."""
    known = records[records["value"].notna()]
    names = ("training_rows", "training_epochs", "learning_rate")
    counted, lasted, rates = (known[known["metric"] == name] for name in names)
    if counted.empty:
        return None
    notes = Notes()

    def cells(rows: pd.DataFrame) -> Iterator[str]:
        for task in tasks:
            own = rows[rows["task"] == task]
            note = "; ".join(dict.fromkeys(note for note in own["note"] if note))
            shown = " / ".join(dict.fromkeys(f"{value:,g}" for value in own["value"]))
            yield (shown or "–") + notes.mark(note)

    tasks = [str(task) for task in dict.fromkeys(counted["task"])]
    rows = [("rows", *cells(counted)), ("epochs", *cells(lasted))]
    rows += [(one.name, *cells(of_candidate(rates, one))) for one in candidates(records)]
    title = "Fine-tuning: rows, epochs and the learning rate of each candidate"
    return Sheet(title, ("", *tasks), tuple(rows), notes.lines())


def forecast_sheet(records: pd.DataFrame) -> Sheet | None:
    """A row for each metric: absolute percentage errors, and how often the interval held the measured value.

    A study forecasts each model from the others, at the points where it measured it. Models of one
    measurement under several names count once. None without forecasts.
    """
    notes, point = Notes(), ["batch", "length"]
    rows: list[tuple[str, ...]] = []
    asked = records[(records["basis"] == "forecast") & records["machine"].isin(["", "here"])]
    measured = here(records)
    measured = measured[measured["value"] > 0]
    for (metric, phase), own in asked.groupby(["metric", "phase"], sort=False):
        title = recorded_metric(str(metric), str(phase)).title
        mark = notes.mark("; ".join(dict.fromkeys(own.loc[own["value"].isna(), "reason"])))
        values = measured[(measured["metric"] == metric) & (measured["phase"] == phase)]
        both = own[own["value"].notna()].merge(
            values[["model", *point, "value"]], on=["model", *point], suffixes=("", "_measured")
        )
        both = both.drop_duplicates([*point, "value", "value_measured"])
        if both.empty:
            rows.append((title, "0", "–", "–", f"–{mark}", "0"))
            continue
        errors = np.abs(both["value"] / both["value_measured"] - 1)
        known = both[both["low"].notna()]
        held = (known["low"] <= known["value_measured"]) & (known["value_measured"] <= known["high"])
        shares = (np.median(errors), np.quantile(errors, 0.9), held.mean() if len(known) else None)
        shown = (format_value(None if share is None else float(share), "fraction") for share in shares)
        rows.append((title, f"{len(both):,}{mark}", *shown, f"{len(known):,}"))
    header = ("", "points", "median error", "90th percentile", "within the interval", "with an interval")
    return Sheet("Forecasts against measurements", header, tuple(rows), notes.lines()) if rows else None


_BETTER = {"a better": "first", "b better": "second"}


def comparison_sheet(comparison: pd.DataFrame) -> Sheet:
    """The rows of :meth:`trilemma.Result.compare`: a line for each task, set and level."""
    first, largest = comparison.iloc[0], comparison["family"].max()
    tests = "one test" if largest == 1 else f"all {largest} tests of the study"
    return Sheet(
        title=f"{first['metric'].replace('_', ' ')}: {first['a']} (first) against {first['b']} (second)",
        header=("task", "level", "n", "first", "second", "difference [95%]", "p (Holm)", "better"),
        rows=tuple(_comparison_row(row) for row in rows_of(comparison)),
        notes=(
            f"Paired tests on the same items; p after Holm over {tests}; the intervals are not adjusted.",
        ),
        fixed=2,
    )


def _comparison_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    task = row["task"] if row["set"] in ("clean", "advglue") else f"{row['task']} {row['set']}"
    metric = METRICS[row["metric"]]
    if row["task"] == AVERAGE and metric.average == metric.name:  # of the tasks' own metrics
        task = f"{task} score"
    better = _BETTER.get(row["verdict"], row["verdict"])
    if better == "not distinguishable" and not pd.isna(row["detectable"]):
        better += f" (below {100 * row['detectable']:.1f} points)"
    if row["no_worse"]:
        who = {"a": "first", "b": "second"}[row["no_worse"]]
        better += f"; the {who} is no worse by more than {100 * row['margin']:g} points"
    return (
        task,
        row["level"],
        f"{row['n']:,}",
        format_value(row["a_value"], "fraction"),
        format_value(row["b_value"], "fraction"),
        format_value(row["difference"], "fraction", row["low"], row["high"]),
        format_p(row["p_adjusted"]),
        f"{better}: {row['reason']}" if row["reason"] else better,
    )
