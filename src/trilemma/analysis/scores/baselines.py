"""What no skill at all would reach, and whether a model is distinguishable from it."""

from collections.abc import Sequence

import numpy as np

from trilemma.analysis.comparisons import SIGNIFICANCE
from trilemma.analysis.panels import Panel, align
from trilemma.statistics import Array, Interval, paired_difference, sign_flip_permutation, wilson


def majority(panel: Panel) -> tuple[float, Interval, int]:
    """Share of the most frequent class among the items, its Wilson interval, and the items."""
    counts = np.unique(panel.gold[~np.isnan(panel.gold)], return_counts=True)[1]
    return float(counts.max() / counts.sum()), wilson(counts.max(), counts.sum()), int(counts.sum())


def constant_f1(panel: Panel) -> float:
    """F1 of always answering the positive class, the best that an answer without skill is sure to reach."""
    share = _positive(panel)
    return 2 * share / (1 + share)


def chance_f1(panel: Panel) -> float:
    """F1 of tossing a fair coin, its numerator and denominator in expectation."""
    share = _positive(panel)
    return share / (share + 0.5)


def _positive(panel: Panel) -> float:
    return float(np.mean(panel.gold[~np.isnan(panel.gold)] == 1))


def without_skill(sets: Sequence[Panel], candidate: str) -> dict[int | None, str]:
    """Where a candidate's clean accuracy is not distinguishable from the majority class.

    Every seed by the exact McNemar test against the constant answer on the same items; all seeds
    together by the sign-flip test of their mean and, where there are several, Welch's test over seeds,
    unless every seed alone is above it: seeds that differ in how much they have learnt have all learnt.

    Args:
        sets: a task's clean splits, with classes and known labels.
        candidate: its name.

    Returns:
        By seed (None for all seeds) the note for the records; only where it is not above the majority.
    """
    aligned, _ = align(sets, [candidate])
    right = np.concatenate([panel.answer == panel.gold[:, None] for panel in aligned]).astype(float)
    constant = np.concatenate([_majority_right(panel) for panel in aligned])
    if len(right) == 0:
        return {}
    difference = right - constant[:, None]
    notes: dict[int | None, str] = {}
    seeds: list[tuple[int | None, Array]] = [
        (int(s), difference[:, [i]]) for i, s in enumerate(aligned[0].seed)
    ]
    for seed, columns in [*seeds, (None, difference)]:
        mean = float(columns.mean())
        if seed is None and not notes:
            continue
        if mean <= 0 or _p(columns) >= SIGNIFICANCE:
            accuracy, share = mean + float(constant.mean()), float(constant.mean())
            notes[seed] = (
                f"robustness is meaningless: clean accuracy {accuracy:.3f} is not distinguishably above the "
                f"majority class ({share:.3f})"
            )
    return notes


def _p(difference: Array) -> float:
    """Two-sided p that the mean difference over items [n] and seeds [S] is 0."""
    p = sign_flip_permutation(difference.mean(axis=1))
    if difference.shape[1] == 1:
        return p
    over_seeds = paired_difference(difference, np.zeros((len(difference), 1)), np.arange(len(difference)))
    return max(p, over_seeds.p_over_seeds())


def _majority_right(panel: Panel) -> Array:
    classes, counts = np.unique(panel.gold, return_counts=True)
    return np.asarray(panel.gold == classes[counts.argmax()], dtype=float)
