"""Metrics as functions of sums over items, so that a resample costs one matrix product."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Sums of contributions [..., k] to the metric's values [...]; NaN where it is undefined."""


def ratio(sums: Array) -> Array:
    """First over second sum: a mean, a share, a conditional rate; NaN where the second is 0."""
    top, bottom = sums[..., 0], sums[..., 1]
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0))


def f1(sums: Array) -> Array:
    """Binary F1 from (2 TP, 2 TP + FP + FN); 0 where there is neither a positive item nor answer."""
    return np.nan_to_num(ratio(sums))


def macro_f1(sums: Array) -> Array:
    """Mean F1 over the classes that are gold or answered, from the sums of a flattened confusion matrix.

    As scikit-learn's: a class that is neither has no part in it.
    """
    classes = math.isqrt(sums.shape[-1])
    confusion = sums.reshape(*sums.shape[:-1], classes, classes)
    seen = confusion.sum(-1) + confusion.sum(-2)
    right = 2 * np.diagonal(confusion, axis1=-2, axis2=-1)
    each = np.divide(right, seen, out=np.zeros(seen.shape), where=seen > 0)
    return ratio(np.stack([each.sum(-1), (seen > 0).sum(-1)], axis=-1))


def matthews(sums: Array) -> Array:
    """Matthews correlation from the sums of a flattened confusion matrix [..., K * K], rows gold.

    For more than two classes Gorodkin's R_K (Comput. Biol. Chem. 2004); 0 where the gold labels or the
    answers are constant, as in scikit-learn.
    """
    classes = math.isqrt(sums.shape[-1])
    confusion = sums.reshape(*sums.shape[:-1], classes, classes)
    gold, answered, n = confusion.sum(-1), confusion.sum(-2), sums.sum(-1)
    covariance = n * np.trace(confusion, axis1=-2, axis2=-1) - (gold * answered).sum(-1)
    scale = np.sqrt((n**2 - (gold**2).sum(-1)) * (n**2 - (answered**2).sum(-1)))
    return np.asarray(np.divide(covariance, scale, out=np.zeros(n.shape), where=scale > 0))


def pearson(sums: Array) -> Array:
    """Pearson correlation from the sums of (1, x, y, x^2, y^2, x y), x and y centred beforehand."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    scale = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    constant = scale <= 1e-12 * n * n
    return np.asarray(np.divide(n * xy - x * y, scale, out=np.full(n.shape, np.nan), where=~constant))


def spearman_contributions(x: Array, y: Array) -> Array:
    """Contributions [n, 2] whose :func:`ratio` is Spearman's correlation of x and y.

    Ranks change with the resample, so items are represented by their influence on the correlation
    (von Mises expansion), whose mean is the correlation itself.
    """
    from scipy.stats import rankdata

    n = len(x)
    u, v = ((rankdata(column) - 0.5) / n - 0.5 for column in (x, y))
    scale = math.sqrt(float(u @ u) * float(v @ v)) / n
    if scale < 1e-12:
        return np.stack([np.full(n, np.nan), np.ones(n)], axis=-1)
    product = u * v + _mean_above(x, v) + _mean_above(y, u)
    value = float(u @ v) / n / scale
    return np.stack([value + (product - product.mean()) / scale, np.ones(n)], axis=-1)


def _mean_above(x: Array, weights: Array) -> Array:
    """For each i the mean over j of weight_j where x_j > x_i, and half of it where they are equal."""
    _, code = np.unique(x, return_inverse=True)
    totals = np.bincount(code, weights)
    return np.asarray((totals[::-1].cumsum()[::-1] - totals / 2)[code] / len(x))
