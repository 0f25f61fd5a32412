"""Items tables with chosen answers, for tests of scoring and comparison."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from trilemma.records import ITEMS


def answered(
    task: str,
    name: str,
    gold: Sequence[float | None],
    answers: dict[tuple[str, int | None], Sequence[float]],
    *,
    labels: Sequence[str] | None = ("no", "yes"),
    levels: Sequence[str] | str = "clean",
    methods: Sequence[str] | str = "",
    origins: Sequence[str] | None = None,
    originals: dict[tuple[str, int | None], Sequence[float | None]] | None = None,
    adaptation: str = "full",
) -> pa.Table:
    """One set as answered by models: ``answers[model, seed]`` has one entry an item."""
    n = len(gold)
    rows: list[dict[str, Any]] = []
    for (model, seed), column in answers.items():
        before = originals[model, seed] if originals else [None] * n
        for i in range(n):
            rows.append(
                {
                    "study": "test",
                    "model": model,
                    "arch": "gla",
                    "adaptation": adaptation,
                    "seed": seed,
                    "task": task,
                    "set": name,
                    "id": str(i),
                    "level": levels if isinstance(levels, str) else levels[i],
                    "method": methods if isinstance(methods, str) else methods[i],
                    "origin": origins[i] if origins else str(i),
                    "labels": None if labels is None else list(labels),
                    "gold": gold[i],
                    "answer": float(column[i]),
                    "original_answer": before[i],
                }
            )
    return pa.Table.from_pylist(rows, schema=ITEMS)


def skilled(random: np.random.Generator, gold: np.ndarray, accuracy: float, classes: int = 2) -> np.ndarray:
    """Answers that are right with probability ``accuracy``, independently."""
    return np.where(random.random(len(gold)) < accuracy, gold, (gold + 1) % classes).astype(float)
