"""GLUE's official metrics, computed by scikit-learn and SciPy; a :class:`Task` names those it has."""

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

POSITIVE_CLASS = 1
"""F1 is that of this class, of two."""

CLASSIFICATION = ("accuracy", "f1", "macro_f1", "matthews")
"""Metrics of classes; the first is the default."""

REGRESSION = ("pearson", "spearman")
"""Metrics of scores; the first is the default."""


def refused(name: str, classes: int) -> str:
    """Why a metric is not one for a task of so many classes, 0 for a regression, and what is; "" if it is."""
    known: tuple[str, ...] = CLASSIFICATION if classes else REGRESSION
    if classes > 2:
        known = tuple(one for one in known if one != "f1")
    if name in known:
        return ""
    if name == "f1" and classes > 2:
        why = f"f1 is that of class {POSITIVE_CLASS} of two, and there are {classes} classes"
    else:
        why = f"{name!r} is not for {'classes' if classes else 'a regression (no labels)'}"
    return f"{why}; expected {', '.join(known)}"


def compute(name: str, gold: Sequence[float], answer: Sequence[float]) -> float:
    """One metric over all items.

    Degenerate input is treated as by the official evaluation's functions: F1 without a positive item or
    answer is 0, and so is the Matthews coefficient of a constant; a correlation with a constant is NaN
    (undefined), and so is every metric of no items.

    Args:
        name: ``accuracy``, ``f1`` (of class 1, two classes only), ``macro_f1``, ``matthews``, ``pearson``,
            ``spearman``.
        gold: class indices, or scores for a regression; n values.
        answer: the model's class indices or scores; n values.

    Returns:
        A fraction (accuracy, F1) or a coefficient in -1..1, or NaN.

    Raises:
        ValueError: for an unknown name or columns of different lengths.
    """
    if name not in _METRICS:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(_METRICS)}")
    if len(gold) != len(answer):
        raise ValueError(f"{len(gold)} gold labels but {len(answer)} answers")
    if not len(gold) or (name in REGRESSION and any(len(set(values)) == 1 for values in (gold, answer))):
        return math.nan
    module, function, options = _METRICS[name]
    found = getattr(importlib.import_module(module), function)(gold, answer, **options)
    return float(found.statistic if name in REGRESSION else found)


_METRICS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "accuracy": ("sklearn.metrics", "accuracy_score", {}),
    "f1": (
        "sklearn.metrics",
        "f1_score",
        {"labels": [0.0, 1.0], "pos_label": float(POSITIVE_CLASS), "zero_division": 0.0},
    ),
    "macro_f1": ("sklearn.metrics", "f1_score", {"average": "macro", "zero_division": 0.0}),
    "matthews": ("sklearn.metrics", "matthews_corrcoef", {}),
    "pearson": ("scipy.stats", "pearsonr", {}),
    "spearman": ("scipy.stats", "spearmanr", {}),
}
"""Module, function and options of each metric; imported at the first use, since the modules are heavy."""
