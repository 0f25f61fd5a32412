"""The adversarial examples a report carries: all of them, or a stratified sample that fits its size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trilemma.analysis.candidates import Candidate, rows_of

BUDGET = 1_200_000
"""Bytes that a report spends on examples."""


@dataclass(frozen=True)
class ExampleSet:
    """Examples ready for JSON.

    Attributes:
        shown: how many are here.
        total: how many there are in the items table.
        tasks: task name to its labels (empty for a regression).
        examples: one mapping for each item: ``task`` ``set`` ``level`` ``method`` ``original`` (texts, or
            None) ``shown`` (texts) ``gold`` ``answers``: one list for each candidate (in the order of
            ``candidates``) of ``[answer, confidence, original answer, original confidence]`` a seed.
    """

    shown: int
    total: int
    tasks: dict[str, list[str]]
    examples: list[dict[str, Any]]


def collect(items: pd.DataFrame, candidates: Sequence[Candidate], budget: int = BUDGET) -> ExampleSet:
    """The adversarial items with every candidate's answers.

    Where they would take more than about ``budget`` bytes, an equal share of each task, level and
    method is taken (at least one, evenly spaced, so the choice does not depend on the answers).
    """
    adversarial = items[items["level"] != "clean"]
    if adversarial.empty:
        return ExampleSet(0, 0, {}, [])
    # An attack makes another text of an item for every candidate and seed: each is an example of its own.
    adversarial = adversarial.assign(text=[repr(_texts(shown)) for shown in adversarial["shown"]])
    key = ["task", "set", "id", "text"]
    unique = adversarial.drop_duplicates(key)
    probe = unique.iloc[:: max(1, len(unique) // 500)]
    texts = sum(_length(row.shown) + _length(row.original) for row in probe.itertuples()) / len(probe)
    answers = len(adversarial) / len(unique)
    keep = max(1, int(budget / (texts + 26 * answers + 120)))
    chosen = unique if len(unique) <= keep else _stratified(unique, keep)
    labels = {str(row.task): _texts(row.labels) or [] for row in unique.drop_duplicates("task").itertuples()}
    index = {(c.model, c.adaptation): i for i, c in enumerate(candidates)}
    wanted = adversarial.merge(chosen[key], on=key)
    lists: dict[tuple[Any, ...], list[list[list[float | None]]]] = {}
    for row in rows_of(wanted.sort_values("seed", kind="stable")):
        own = lists.setdefault(tuple(row[name] for name in key), [[] for _ in candidates])
        own[index[row["model"], row["adaptation"]]].append(
            [
                _number(row["answer"]),
                _confidence(row["probabilities"]),
                _number(row["original_answer"]),
                _confidence(row["original_probabilities"]),
            ]
        )
    examples = [
        {
            **{name: row[name] for name in ("task", "set", "level", "method")},
            "original": _texts(row["original"]),
            "shown": _texts(row["shown"]),
            "gold": _number(row["gold"]),
            "answers": lists[tuple(row[name] for name in key)],
        }
        for row in rows_of(chosen)
    ]
    return ExampleSet(len(chosen), len(unique), labels, examples)


def _stratified(unique: pd.DataFrame, keep: int) -> pd.DataFrame:
    strata = unique.groupby(["task", "level", "method"], sort=False)
    share = keep / len(unique)
    positions = []
    for _, rows in strata.indices.items():
        count = max(1, round(share * len(rows)))
        positions.append(np.asarray(rows)[np.linspace(0, len(rows) - 1, count).round().astype(int)])
    return unique.iloc[np.sort(np.concatenate(positions))]


def _length(texts: Any) -> int:
    return sum(len(text.encode()) for text in _texts(texts) or [])


def _texts(texts: Any) -> list[str] | None:
    """A list column's cell: an array, a list, or nothing (None or NaN)."""
    return [str(text) for text in texts] if hasattr(texts, "__len__") else None


def _number(value: float) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else round(float(value), 3)


def _confidence(probabilities: Any) -> float | None:
    """Probability of the answer given: the largest; None for a regression or where there is no answer."""
    if not hasattr(probabilities, "__len__") or len(probabilities) < 2:
        return None
    return _number(float(max(probabilities)))
