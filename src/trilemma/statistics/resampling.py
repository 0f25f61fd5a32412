"""Resampling clusters with replacement, in bounded memory."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trilemma.statistics.sums import Array

DRAWS = 2000
"""Resamples behind an interval, by default."""

FRONT_DRAWS = 1000
"""Resamples behind a probability of being dominated: fewer, since each costs the square of the candidates,
and a probability is read to two digits."""

BLOCK = 2**18
"""Entries of a block of resamples: bounds memory, and fits a cache."""


def cluster_sums(contributions: Array, clusters: npt.NDArray[Any]) -> Array:
    """Sum contributions [n, ...] over clusters (n labels of any kind): [C, ...], in order of the labels."""
    _, code = np.unique(clusters, return_inverse=True)
    count = int(code.max(initial=-1)) + 1
    flat = np.ascontiguousarray(contributions, dtype=float).reshape(
        len(contributions), math.prod(contributions.shape[1:])
    )
    sums = np.empty((count, flat.shape[1]))
    for place, column in enumerate(flat.T):
        sums[:, place] = np.bincount(code, column, count)
    return np.asarray(sums.reshape(count, *contributions.shape[1:]), dtype=float)


def bootstrap_counts(clusters: int, draws: int = DRAWS, seed: int = 0) -> Iterator[Array]:
    """How often each cluster is drawn when all are resampled with replacement: blocks [b, clusters].

    The blocks have ``draws`` rows together; memory is bounded whatever the number of clusters.
    """
    random = np.random.default_rng(seed)
    block = max(1, BLOCK // max(clusters, 1))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = random.integers(0, clusters, (rows, clusters), dtype=np.int32).astype(np.intp)
        drawn += clusters * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(float)


def bootstrap_totals(sums: Array, draws: int = DRAWS, seed: int = 0) -> Array:
    """Totals of resampled clusters, paired across all trailing columns.

    Clusters with equal sums are drawn together, as a multinomial over the distinct ones: the same
    distribution, at a cost that does not grow with the number of items.

    Args:
        sums: [C, ...], see :func:`cluster_sums`.
        draws: number of resamples.
        seed: of the random numbers.

    Returns:
        [draws, ...].
    """
    flat = sums.reshape(len(sums), math.prod(sums.shape[1:]))
    distinct, count = distinct_rows(flat)
    if len(distinct) * 10 < len(flat):
        weights = np.random.default_rng(seed).multinomial(len(flat), count / len(flat), size=draws)
        totals = weights @ distinct
    else:
        totals = np.concatenate([counts @ flat for counts in bootstrap_counts(len(flat), draws, seed)])
    return np.asarray(totals, dtype=float).reshape(draws, *sums.shape[1:])


def distinct_rows(rows: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Distinct rows of [n, k] and how often each occurs."""
    rows = np.ascontiguousarray(rows + 0.0)  # turns -0.0 into 0.0, which has other bytes
    whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, count = np.unique(whole, return_index=True, return_counts=True)
    return rows[first], count.astype(np.int64)
