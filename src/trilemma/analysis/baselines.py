"""What an answer without skill would reach, and whether a model is distinguishable from it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trilemma.analysis.answers import CLEAN, AnswerMatrix, align
from trilemma.analysis.comparisons import SIGNIFICANCE
from trilemma.analysis.item_metrics import ITEM_METRICS, ClusterSums, ItemMetric
from trilemma.analysis.seed_noise import SeedNoise
from trilemma.statistics.intervals import Interval, wilson
from trilemma.statistics.paired_tests import sign_flip_permutation
from trilemma.statistics.seeds import NOTHING_KNOWN, SeedVariance


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


def seeds_without_skill(
    sets: Sequence[AnswerMatrix], candidate: str, official: Sequence[str], noise: SeedNoise
) -> set[int | None]:
    """The seeds (None: all together) for which no skill at a task was shown.

    Skill is shown where one of the task's official metrics is distinguishably above what answers reach that
    do not depend on the text: accuracy of the majority class, F1 of always answering the positive class, 0
    for a correlation. With several metrics each may spend its share of the error. All seeds together have
    shown skill, too, where each has alone: seeds that differ in how much they have learnt have all learnt.

    Args:
        sets: a task's clean splits with known labels.
        candidate: its name.
        official: names of the task's official metrics.
        noise: what a training seed adds.
    """
    aligned, _ = align(sets, [candidate])
    metrics = [ITEM_METRICS[name] for name in official]
    metrics = [one for one in metrics if not any(one.missing(matrix) for matrix in aligned)]
    if not metrics or not all(len(matrix.gold) for matrix in aligned):
        return set()
    seeds = [int(seed) for seed in aligned[0].seed]
    level = SIGNIFICANCE / len(metrics)
    own, shown = range(len(seeds)), set[int | None]()
    for metric in metrics:
        known = noise.everywhere(metric, CLEAN, CLEAN)
        groups: dict[int | None, tuple[Sequence[int], SeedVariance]] = {
            **{seed: ([column], NOTHING_KNOWN) for column, seed in enumerate(seeds)},
            None: (own, known),
        }
        for seed, (columns, variance) in groups.items():
            if _p_above_constant(aligned, metric, columns, variance) < level:
                shown.add(seed)
    if shown >= set(seeds):
        shown.add(None)
    return {None, *seeds} - shown


def _p_above_constant(
    sets: Sequence[AnswerMatrix], metric: ItemMetric, columns: Sequence[int], noise: SeedVariance
) -> float:
    """Two-sided p that some seeds' mean is that of answers without skill; 1 where it is not above it."""
    constant = [_with_constant(matrix.columns(columns), metric) for matrix in sets]
    sums = ClusterSums.of(constant, [metric])
    first, second = sums.samples([range(len(columns)), [len(columns)]], noise)
    difference = first if metric.kind == "correlation" else first - second
    if not difference.value > 0:
        return 1.0
    if metric.linear and len(sets) == 1:
        shares = sums.sums[:, :, 0, 0]
        p = sign_flip_permutation(shares[:, : len(columns)].mean(axis=1) - shares[:, -1])
        return max(p, difference.p()) if noise.degrees else p
    return difference.p()


def _with_constant(matrix: AnswerMatrix, metric: ItemMetric) -> AnswerMatrix:
    """The matrix with one more column: always the majority class, or the positive one for an F1."""
    classes, counts = np.unique(matrix.gold, return_counts=True)
    answer = np.full((len(matrix.gold), 1), 1.0 if metric.positive else classes[counts.argmax()])
    return replace(
        matrix,
        answer=np.concatenate([matrix.answer, answer], axis=1),
        original=np.concatenate([matrix.original, np.full_like(answer, np.nan)], axis=1),
        candidate=np.append(matrix.candidate, "constant"),
        seed=np.append(matrix.seed, 0),
    )
