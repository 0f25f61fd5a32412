"""Attacks on the candidates themselves: what they took, and where their examples carry over."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from trilemma.analysis.attack_records import of_attacks
from trilemma.analysis.metrics import METRICS, format_value
from trilemma.analysis.values import candidate_names
from trilemma.report.charts.encoding import Figure, Variants, tasks_of
from trilemma.report.charts.heat_map import heat_map
from trilemma.report.layout import Sheet

COLUMNS = ("robust_accuracy", "attack_success_rate", "words_changed", "similarity", "queries_per_success")


_TITLES = {
    "robust_accuracy": "accuracy under attack",
    "words_changed": "words changed",
    "similarity": "similarity",
    "queries_per_success": "queries",
}
"""Short ones: the section says what they are means over."""


def transfer_figure(records: pd.DataFrame) -> Figure | None:
    """Heat map of transfer, by task and attack; None where nothing was transferred."""
    rows = of_attacks(records)
    rows = rows[rows["value"].notna() & rows["metric"].isin(["transfer_success_rate", "attack_success_rate"])]
    if not (rows["source"] != "").any():
        return None
    order = list(candidate_names(records).values())
    variants: Variants = {}
    for task in tasks_of(rows):
        for attack, own in rows[rows["task"] == task].groupby("method", sort=False):
            cells = list(_cells(own))
            sources = [name for name in order if any(cell["source"] == name for cell in cells)]
            variants[task, str(attack)] = heat_map(
                cells,
                order,
                sources,
                title="success rate",
                row="source",
                axes=("answered by", "made on"),
            )
    return Figure(
        "transfer",
        ("Task", "Attack"),
        variants,
        "Success rate of adversarial examples, by the model they were made on and the model that answers.",
    )


def _cells(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Sources carry model names; where a model has several adaptations, source and target share theirs."""
    for row in rows.to_dict("records"):
        if (row["metric"] == "attack_success_rate") != (row["source"] == ""):
            continue
        source = row["source"] and row["candidate"].replace(row["model"], row["source"], 1)
        yield {
            "candidate": row["candidate"],
            "source": source or row["candidate"],
            "value": round(row["value"], 4),
            "n": int(row["n"] or 0),
            "text": format_value(row["value"], "fraction", row["low"], row["high"]),
        }


def attack_sheet(records: pd.DataFrame) -> Sheet | None:
    """What each attack did to each candidate; None where none ran."""
    rows = of_attacks(records)
    rows = rows[(rows["source"] == "") & rows["metric"].isin(COLUMNS)]
    if rows.empty:
        return None
    shown, notes = [], []
    keys = ["task", "method", "candidate"]
    for name in keys[:-1]:  # candidates beside one another, the rest in the order of the study
        rows[name] = pd.Categorical(rows[name], categories=list(dict.fromkeys(rows[name])))
    rows = rows.sort_values(keys[:-1], kind="stable")
    for key, group in rows.groupby(keys, sort=False, observed=True):
        found = {str(row["metric"]): row for row in group.to_dict("records")}
        shown.append((*map(str, key), *(_cell(found.get(name), name) for name in COLUMNS)))
        notes += [row["note"] for row in found.values() if row["value"] != row["value"]]
    tasks = list(dict.fromkeys(task for task, *_ in shown))
    title = "Attacks on the models themselves"
    columns: tuple[str, ...] = ("Task", "Attack", "Candidate")
    if len(tasks) == 1:  # leaves room for what differs
        title, columns = f"{title}, {tasks[0]}", columns[1:]
        shown = [row[1:] for row in shown]
    return Sheet(
        title,
        (*columns, *(_title(name) for name in COLUMNS)),
        tuple(shown),
        tuple(dict.fromkeys(note for note in notes if note)),
    )


def _cell(row: Mapping[Any, Any] | None, name: str) -> str:
    if row is None or row["value"] is None or row["value"] != row["value"]:
        return "–"
    return format_value(row["value"], METRICS[name].unit, row["low"], row["high"])


def _title(name: str) -> str:
    title = _TITLES.get(name, METRICS[name].title)
    return title[:1].upper() + title[1:]
