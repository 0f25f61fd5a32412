"""What an answer without skill would reach, and whether a model is distinguishable from it."""

from collections.abc import Sequence

import numpy as np

from trilemma.analysis.answers import AnswerMatrix, align
from trilemma.analysis.comparisons import SIGNIFICANCE
from trilemma.statistics.intervals import Interval, paired_difference, wilson
from trilemma.statistics.paired_tests import sign_flip_permutation
from trilemma.statistics.sums import Array


def majority(matrix: AnswerMatrix) -> tuple[float, Interval, int]:
    """Share of the most frequent class among the items, its Wilson interval, and the items."""
    counts = np.unique(matrix.gold[~np.isnan(matrix.gold)], return_counts=True)[1]
    return float(counts.max() / counts.sum()), wilson(counts.max(), counts.sum()), int(counts.sum())


def constant_f1(matrix: AnswerMatrix) -> float:
    """F1 of always answering the positive class, the best that an answer without skill is sure to reach."""
    share = _positive(matrix)
    return 2 * share / (1 + share)


def chance_f1(matrix: AnswerMatrix) -> float:
    """F1 of tossing a fair coin, its numerator and denominator in expectation."""
    share = _positive(matrix)
    return share / (share + 0.5)


def _positive(matrix: AnswerMatrix) -> float:
    return float(np.mean(matrix.gold[~np.isnan(matrix.gold)] == 1))


def seeds_without_skill(sets: Sequence[AnswerMatrix], candidate: str) -> set[int | None]:
    """The seeds (None: all together) whose clean accuracy is not distinguishable from the majority class.

    Every seed by the exact McNemar test against the constant answer on the same items; all seeds
    together by the sign-flip test of their mean and, where there are several, Welch's test over seeds,
    unless every seed alone is above it: seeds that differ in how much they have learnt have all learnt.

    Args:
        sets: a task's clean splits, with classes and known labels.
        candidate: its name.
    """
    aligned, _ = align(sets, [candidate])
    right = np.concatenate([matrix.answer == matrix.gold[:, None] for matrix in aligned]).astype(float)
    if len(right) == 0:
        return set()
    difference = right - np.concatenate([_majority_right(matrix) for matrix in aligned])[:, None]
    lacking: set[int | None] = {
        int(seed) for i, seed in enumerate(aligned[0].seed) if _without_skill(difference[:, [i]])
    }
    return lacking | {None} if lacking and _without_skill(difference) else lacking


def _without_skill(difference: Array) -> bool:
    """Whether the mean difference from the majority class over items [n] and seeds [S] is not above 0."""
    return float(difference.mean()) <= 0 or _p(difference) >= SIGNIFICANCE


def _p(difference: Array) -> float:
    """Two-sided p that the mean difference over items [n] and seeds [S] is 0."""
    p = sign_flip_permutation(difference.mean(axis=1))
    if difference.shape[1] == 1:
        return p
    over_seeds = paired_difference(difference, np.zeros((len(difference), 1)), np.arange(len(difference)))
    return max(p, over_seeds.p_over_seeds())


def _majority_right(matrix: AnswerMatrix) -> Array:
    classes, counts = np.unique(matrix.gold, return_counts=True)
    return np.asarray(matrix.gold == classes[counts.argmax()], dtype=float)
