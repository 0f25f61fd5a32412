"""GLUE's official metrics, computed by scikit-learn and SciPy; a :class:`Task` names those it has."""

import math
from collections.abc import Callable, Sequence
from functools import partial

POSITIVE_CLASS = 1
"""F1 is that of this class, of two."""

CLASSIFICATION = ("accuracy", "f1", "matthews")
"""Metrics of classes; the first is the default."""

REGRESSION = ("pearson", "spearman")
"""Metrics of scores; the first is the default."""


def compute(name: str, gold: Sequence[float], answer: Sequence[float]) -> float:
    """One metric over all items.

    Degenerate input is treated as by the official evaluation's functions: F1 without a positive item or
    answer is 0, and so is the Matthews coefficient of a constant; a correlation with a constant is NaN
    (undefined), and so is every metric of no items.

    Args:
        name: ``accuracy``, ``f1`` (of class 1, two classes only), ``matthews``, ``pearson``, ``spearman``.
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
    return _METRICS[name](gold, answer) if len(gold) else math.nan


def _accuracy(gold: Sequence[float], answer: Sequence[float]) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(gold, answer))


def _f1(gold: Sequence[float], answer: Sequence[float]) -> float:
    from sklearn.metrics import f1_score

    return float(
        f1_score(gold, answer, labels=[0.0, 1.0], pos_label=float(POSITIVE_CLASS), zero_division=0.0)
    )


def _matthews(gold: Sequence[float], answer: Sequence[float]) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(gold, answer))


def _correlation(function: str, gold: Sequence[float], answer: Sequence[float]) -> float:
    if _constant(gold) or _constant(answer):
        return math.nan
    from scipy import stats

    return float(getattr(stats, function)(gold, answer).statistic)


def _constant(values: Sequence[float]) -> bool:
    return all(value == values[0] for value in values)


_METRICS: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
    "pearson": partial(_correlation, "pearsonr"),
    "spearman": partial(_correlation, "spearmanr"),
}
