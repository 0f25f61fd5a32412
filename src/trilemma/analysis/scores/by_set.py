"""One candidate's scores on one split or adversarial set: official metrics, rates under attack, baselines."""

from collections.abc import Iterator, Sequence
from typing import Any

from trilemma.analysis.answers import CLEAN, AnswerMatrix
from trilemma.analysis.baselines import chance_f1, constant_f1, majority
from trilemma.analysis.item_metrics import ITEM_METRICS, ItemMetric
from trilemma.analysis.scores.context import Context
from trilemma.analysis.scores.seed_scores import seed_scores
from trilemma.records import Record

RATES = ("robust_accuracy", "attack_success_rate", "accuracy_drop", "flip_rate", "paired_clean_accuracy")
"""Metrics under attack that are recorded for each set and level, and on average over tasks."""

BY_METHOD = ("robust_accuracy", "attack_success_rate")


def scores_on(matrix: AnswerMatrix, context: Context) -> Iterator[Record]:
    """The records of a set with one candidate's columns: each level's, with baselines, and each method's."""
    official = context.tasks[matrix.task].metrics
    names = official if matrix.benchmark == CLEAN else ("robust_accuracy", "robust_f1", *RATES[1:])
    known = (ITEM_METRICS[name].on(matrix.benchmark) for name in names)
    by_level = [one for one in known if one.belongs_to(official)]
    by_method = [ITEM_METRICS[name] for name in BY_METHOD]
    for level in matrix.levels:
        own, where = matrix.at(level), context.on_set(matrix.task, matrix.set, level)
        yield from _scores(own, by_level, context, where)
        yield from _baselines(own, context, where)
        methods = sorted({str(method) for method in own.method if method}) if level != "all" else []
        for method in methods:
            where = context.on_set(matrix.task, matrix.set, level, method)
            yield from _scores(matrix.at(level, method), by_method, context, where)


def _scores(
    matrix: AnswerMatrix, metrics: Sequence[ItemMetric], context: Context, where: dict[str, Any]
) -> Iterator[Record]:
    lacking = context.lacking.get(matrix.task, set()) if matrix.benchmark != CLEAN else set()
    for one in metrics:
        if reason := one.missing(matrix):
            yield context.record(None, reason, **where, metric=one.name, seed=None)
            continue
        noise = context.noise.everywhere(one, matrix.benchmark, where["level"], where["method"])
        scores = seed_scores([matrix], context.candidate.name, [one], noise)
        few = len(scores.seeds)
        for seed in scores.rows:
            value = scores.value(seed)
            low, high = (None, None) if value is None else scores.samples[seed].interval()
            yield context.record(
                value,
                "undefined for these answers",
                **where,
                metric=one.name,
                meaningless=seed in lacking,
                seed=seed,
                n=scores.counts[seed],
                low=low,
                high=high,
                note=f"{few} of {context.seeds} seeds" if seed is None and few < context.seeds else "",
            )


def _baselines(matrix: AnswerMatrix, context: Context, where: dict[str, Any]) -> Iterator[Record]:
    """What answers without skill reach on a set's items; nothing for a regression or hidden labels.

    Accuracy of the majority class and of chance, and F1 of always answering the positive class and of
    chance where F1 is one of the task's official metrics.
    """
    if ITEM_METRICS["accuracy"].missing(matrix):
        return
    share, (low, high), n = majority(matrix)
    common = {**where, "seed": None, "n": n}
    yield context.record(share, **common, metric="majority_accuracy", low=low, high=high)
    yield context.record(1 / matrix.classes, **common, metric="chance_accuracy")
    if "f1" in context.tasks[matrix.task].metrics and not ITEM_METRICS["f1"].missing(matrix):
        yield context.record(constant_f1(matrix), **common, metric="constant_f1")
        yield context.record(chance_f1(matrix), **common, metric="chance_f1")
