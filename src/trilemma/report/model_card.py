"""Model cards: an adapted checkpoint's own numbers, in Hugging Face ``model-index`` metadata and as text."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from trilemma.analysis.candidates import rows_of
from trilemma.analysis.cautions import FLAG_SENTENCES
from trilemma.analysis.lookup import flagged, here
from trilemma.errors import TrilemmaError
from trilemma.files import write_text
from trilemma.metrics import METRICS, Metric, recorded_metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import MEANINGLESS, PARTIAL
from trilemma.units import format_value

_TYPES = {"pearson": "pearsonr", "spearman": "spearmanr", "matthews": "matthews_correlation"}
"""Hugging Face's names of metrics, where they differ."""


def write_card(
    folder: Path, records: pd.DataFrame, model: str, adaptation: str, task: str, seed: int
) -> Path:
    """Write ``README.md`` into a checkpoint's folder, from the study's records.

    Raises:
        TrilemmaError: when the records hold nothing about this checkpoint.
        StoreError: when the file cannot be written.
    """
    own = here(records)
    own = own[own["model"] == model]
    mine = (own["adaptation"] == adaptation) & (own["task"] == task) & (own["seed"] == seed)
    known = own[mine]
    if known.empty:
        raise TrilemmaError(
            f"the records hold nothing of {model} ({adaptation}) on {task} with seed {seed}; "
            "run the study first"
        )
    shown = own["value"].notna() & own["metric"].isin(list(METRICS))
    scored = own[shown & mine & (own["axis"] != "E") & (own["method"] == "")]
    general = own["adaptation"].isin(["", adaptation]) & (own["task"] == "")
    efficiency = own[shown & general & (own["axis"] == "E")]
    path = folder / "README.md"
    write_text(path, _card(known.iloc[0], scored, efficiency, task))
    return path


def _card(first: "pd.Series[Any]", scored: pd.DataFrame, efficiency: pd.DataFrame, task: str) -> str:
    name = f"{first['model']}-{task}-seed{int(first['seed'])}"
    results = [_result(rows) for _, rows in scored.groupby(["set", "level"], sort=False)]
    metadata = {
        "tags": ["trilemma", first["arch"], "text-classification"],
        "pipeline_tag": "text-classification",
        "model-index": [{"name": name, "results": [*results, *_efficiency_result(efficiency)]}],
    }
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    hardware = efficiency["hardware"].iloc[0] if len(efficiency) else ""
    doubtful = flagged(scored, MEANINGLESS).any()
    doubts = [f"> {FLAG_SENTENCES[MEANINGLESS].capitalize()}.", ""] if doubtful else []
    text = [
        f"---\n{front}---\n",
        f"# {_text(name)}\n",
        f"`{_text(first['model'])}` ({_text(first['arch'])}), adapted to **{_text(task)}** by "
        f"{_text(first['adaptation'])} (seed {int(first['seed'])}) in the study *{_text(first['study'])}*.",
        "Brackets hold 95% intervals, of this one trained model.\n",
        "## Performance and robustness\n",
        *_score_lines(scored),
        "",
        *doubts,
        "## Efficiency\n",
        *_efficiency_lines(efficiency),
        "",
        f"Measured on {_text(hardware)}; kernel {_text(first['kernel'])}; {_text(first['versions'])}.\n"
        if hardware
        else "",
    ]
    return "\n".join(text)


def _result(rows: pd.DataFrame) -> dict[str, Any]:
    """One entry of ``model-index``: one evaluated set at one level."""
    first = rows.iloc[0]
    level = "" if first["level"] in ("clean", "all") else f", {first['level']} level"
    return {
        "task": {"type": "text-classification"},
        "dataset": {
            "name": f"{first['task']} {first['set']}{level}{_partial(rows)}",
            "type": str(first["set"] if first["axis"] == "R" else first["task"]),
            "split": str(first["set"]),
        },
        "metrics": _metrics(rows),
    }


def _efficiency_result(efficiency: pd.DataFrame) -> list[dict[str, Any]]:
    """The entry of axis E: what does not depend on the input, and what was measured at one point."""
    at = OperatingPoint()
    rows = efficiency[efficiency["batch"].isna() | (efficiency["batch"] == at.batch)]
    rows = rows[rows["length"].isna() | (rows["length"] == at.length)]
    if rows.empty:
        return []
    dataset = {"name": f"random tokens, {at}", "type": "efficiency"}
    return [{"task": {"type": "text-classification"}, "dataset": dataset, "metrics": _metrics(rows)}]


def _partial(rows: pd.DataFrame) -> str:
    return " (partial)" if flagged(rows, PARTIAL).any() else ""


def _metrics(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "type": _TYPES.get(row["metric"], metric.key.removesuffix("@classify")),
            "name": metric.title,
            "value": float(f"{row['value']:.6g}"),
        }
        for row in rows_of(rows)
        for metric in [recorded_metric(row["metric"], row["phase"])]
    ]


def _score_lines(scored: pd.DataFrame) -> list[str]:
    if scored.empty:
        return ["Not measured."]
    lines = ["| set | level | metric | value | n |", "|---|---|---|---|---|"]
    for row, partial in zip(rows_of(scored), flagged(scored, PARTIAL), strict=True):
        metric = METRICS[row["metric"]]
        name = f"{row['set']}{' (partial)' if partial else ''}"
        cells = (_text(name), _text(row["level"]), metric.title, _value(row, metric), _count(row["n"]))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _efficiency_lines(efficiency: pd.DataFrame) -> list[str]:
    if efficiency.empty:
        return ["Not measured."]
    lines = ["| metric | batch | length | value |", "|---|---|---|---|"]
    for row in rows_of(efficiency):
        metric = recorded_metric(row["metric"], row["phase"])
        lines.append(
            f"| {metric.title} | {_count(row['batch'])} | {_count(row['length'])} | {_value(row, metric)} |"
        )
    return lines


def _value(row: dict[str, Any], metric: Metric) -> str:
    return format_value(row["value"], metric.unit, row["low"], row["high"])


def _count(number: float) -> str:
    return "" if pd.isna(number) else str(int(number))


def _text(value: object) -> str:
    """Data inside Markdown: no cell, line or markup of its own."""
    text = " ".join(str(value).split())
    for character in "\\|<`*":
        text = text.replace(character, "&lt;" if character == "<" else f"\\{character}")
    return text
