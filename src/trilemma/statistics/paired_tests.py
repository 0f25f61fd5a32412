"""Tests of two models on the same items."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trilemma.statistics.resampling import BLOCK, cluster_sums, distinct_rows
from trilemma.statistics.sums import Array, Statistic

PERMUTATIONS = 9999
"""Random sign patterns, by default: the smallest p is 1 / 10,000."""

_MOST_ENUMERATED = 13  # clusters up to which all sign patterns are tried
_ENOUGH_HITS = 200  # hits after which a p is known well enough
_BLOCK_ROWS = 1000  # random patterns drawn at a time
_MOST_LATTICE_STEPS = 20_000  # steps up to which the exact distribution is convolved
_ROUNDING = 1e-9  # share of the largest difference below which a cluster's sum is rounding, and taken as 0


def mcnemar_exact(a_right: npt.ArrayLike, b_right: npt.ArrayLike) -> float:
    """Exact two-sided McNemar test of two models' right answers on the same n items (n booleans each)."""
    from scipy.special import bdtr

    a, b = np.asarray(a_right, dtype=bool), np.asarray(b_right, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def sign_flip_permutation(
    differences: npt.ArrayLike,
    clusters: npt.NDArray[Any] | None = None,
    *,
    draws: int = PERMUTATIONS,
    seed: int = 0,
) -> float:
    """Two-sided p of the summed differences when each cluster's sign is exchangeable.

    Exact where the clusters' differences are multiples of a common step (right answers, averaged over
    seeds, are) or where few clusters differ; else Monte Carlo with (1 + hits) / (1 + draws) (Phipson &
    Smyth 2010). For right answers of single seeds without clusters it is the exact McNemar test.

    Args:
        differences: n numbers, a's minus b's.
        clusters: n labels; None where every item stands alone.
        draws: number of random sign patterns.
        seed: of the random numbers.
    """
    d = np.asarray(differences, dtype=float)
    sums = d if clusters is None else cluster_sums(d, clusters)
    sums = np.where(np.abs(sums) > _ROUNDING * np.abs(d).max(initial=0.0), sums, 0.0)
    steps = _on_lattice(sums[sums != 0])
    if steps is not None:
        return _lattice_p(steps)
    both = np.stack([np.stack([sums, np.zeros_like(sums)]), np.ones((2, len(sums)))], axis=-1)
    return swap_permutation(both[0], both[1], lambda totals: totals[..., 0], draws=draws, seed=seed)


def _on_lattice(sums: Array) -> npt.NDArray[np.int64] | None:
    """The sums in whole steps of a common size; None where there is none or the steps are too many."""
    for scale in range(1, 61):
        steps = np.round(sums * scale)
        if np.all(steps != 0) and np.allclose(sums * scale, steps, atol=1e-7, rtol=0):
            return steps.astype(np.int64) if np.abs(steps).sum() <= _MOST_LATTICE_STEPS else None
    return None


def _lattice_p(steps: npt.NDArray[np.int64]) -> float:
    """Exact p of |sum of +-steps| by convolving one binomial for each size of step."""
    from scipy.special import gammaln

    chances = np.ones(1)
    for step, times in zip(*np.unique(np.abs(steps), return_counts=True), strict=True):
        k = np.arange(times + 1)
        binomial = np.zeros(step * times + 1)
        binomial[::step] = np.exp(
            gammaln(times + 1) - gammaln(k + 1) - gammaln(times - k + 1) - times * np.log(2)
        )
        chances = np.convolve(chances, binomial)
    sums = 2 * np.arange(len(chances)) - np.abs(steps).sum()
    return min(1.0, float(chances[np.abs(sums) >= abs(steps.sum())].sum()))


def swap_permutation(
    a: Array, b: Array, statistic: Statistic, *, draws: int = PERMUTATIONS, seed: int = 0
) -> float:
    """Two-sided p of ``statistic(a) - statistic(b)`` when the models are swapped cluster by cluster.

    The sign-flip test for metrics that are not means (F1, conditional rates, means over tasks). All
    patterns are enumerated where at most 13 clusters differ, else it is Monte Carlo that ends early where
    p is clearly not small: at the 200th hit p is hits / draws so far, else (1 + hits) / (1 + draws); both are
    valid (Besag & Clifford, Biometrika 1991).

    Args:
        a: cluster sums of one model's contributions, [C, k], averaged over its seeds.
        b: the other's on the same clusters.
        statistic: of totals [..., k] to values [...].
        draws: number of random swaps.
        seed: of the random numbers.
    """
    middle, half = (a + b).sum(0) / 2, (a - b) / 2
    patterns, times = distinct_rows(_upright(half[np.any(half != 0, axis=1)]))
    if times.sum() == 0:
        return 1.0
    observed = abs(float(statistic(a.sum(0)) - statistic(b.sum(0))))
    if math.isnan(observed):
        return math.nan
    if times.sum() <= _MOST_ENUMERATED:
        signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * int(times.sum()))).reshape(int(times.sum()), -1).T
        shift = signs @ np.repeat(patterns, times, axis=0)
        return float(_hits(middle, shift, statistic, observed).mean())
    if times.sum() < 10 * len(times):  # drawing single signs is then the faster way
        patterns, times = np.repeat(patterns, times, axis=0), np.ones(int(times.sum()), dtype=np.int64)
    block, random, hits = min(_BLOCK_ROWS, max(1, BLOCK // len(patterns))), np.random.default_rng(seed), 0
    for start in range(0, draws, block):
        signs = _net_signs(random, times, min(block, draws - start))
        hit = _hits(middle, signs @ patterns, statistic, observed)
        if hits + hit.sum() >= _ENOUGH_HITS:
            return _ENOUGH_HITS / (start + int(np.flatnonzero(hit)[_ENOUGH_HITS - hits - 1]) + 1)
        hits += int(hit.sum())
    return (1 + hits) / (1 + draws)


def _upright(rows: Array) -> Array:
    """Rows with the sign that makes their first entry other than 0 positive: the sign is random anyway."""
    first = rows[np.arange(len(rows)), (rows != 0).argmax(axis=1)] if len(rows) else np.ones(0)
    return np.asarray(rows * np.sign(first)[:, None])


def _net_signs(random: np.random.Generator, times: npt.NDArray[np.int64], rows: int) -> Array:
    """Sums of ``times`` random signs for each pattern: [rows, patterns]."""
    if (times == 1).all():
        bits = random.integers(0, 256, (rows, -(-len(times) // 8)), dtype=np.uint8)
        return np.asarray(2.0 * np.unpackbits(bits, axis=1)[:, : len(times)] - 1.0)
    return np.asarray(2 * random.binomial(times, 0.5, (rows, len(times))) - times, dtype=float)


def _hits(middle: Array, shift: Array, statistic: Statistic, observed: float) -> npt.NDArray[np.bool_]:
    difference = np.abs(statistic(middle + shift) - statistic(middle - shift))
    return np.asarray(~(difference < observed - 1e-9))


def holm(p_values: Sequence[float] | Array, weights: Sequence[float] | Array | None = None) -> Array:
    """Holm's step-down adjustment (Scand. J. Stat. 1979), in the order given.

    NaN stays NaN and is not counted.

    Args:
        p_values: of the tests.
        weights: the share of the error that each test may spend (Holm's section 4); equal by default.
    """
    p = np.asarray(p_values, dtype=float)
    share = np.ones_like(p) if weights is None else np.asarray(weights, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested] / share[tested], kind="stable")]
    left = np.cumsum(share[order][::-1])[::-1]  # of the tests that are not rejected yet
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] / share[order] * left), 1.0)
    return adjusted


def rounds_test(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float, float, float]:
    """Two models timed in turns, round by round: how much longer the first takes, and whether it does.

    What a machine does to a round it does to both, so the logarithms of the ratios by round are tested
    (Student's t), which finds smaller differences than the two medians' intervals do.

    Args:
        first: [rounds] positive times of one.
        second: of the other, in the same rounds; at least two.

    Returns:
        Ratio, its lower and upper 95% limit, and the two-sided p that it is 1.
    """
    from scipy.special import stdtr, stdtrit

    ratios = np.log(np.asarray(first, dtype=float) / np.asarray(second, dtype=float))
    mean, degrees = float(ratios.mean()), len(ratios) - 1
    deviation = float(ratios.std(ddof=1)) / math.sqrt(len(ratios))
    half = float(stdtrit(degrees, 0.975)) * deviation
    p = float(2 * stdtr(degrees, -abs(mean) / deviation)) if deviation > 0 else float(mean == 0)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half), p
