"""Aggregates over tasks by the leaderboards' rule, with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trilemma.analysis.answers import CLEAN, LEADERBOARDS, LEVELS, AnswerMatrix
from trilemma.analysis.item_metrics import ITEM_METRICS, ItemMetric, scored_by, usable
from trilemma.analysis.scores.by_set import RATES
from trilemma.analysis.scores.context import Context
from trilemma.analysis.scores.seed_scores import SeedScores, seed_scores
from trilemma.records import AVERAGE, Record
from trilemma.statistics.intervals import Interval, Sample
from trilemma.statistics.sums import Array


def leaderboard_score(tasks: Mapping[str, Sequence[Sequence[float]] | Array]) -> float:
    """Mean over tasks of each task's score, GLUE's and AdvGLUE's rule.

    A task's score is the mean over its sets (MNLI: matched and mismatched) and over its official metrics
    (QQP: accuracy and F1).

    Args:
        tasks: by task, [sets, metrics] values in any one unit.

    Source: AdvGLUE's ``evaluate.py`` (Wang et al., NeurIPS 2021 Datasets and Benchmarks).
    """
    return float(np.mean([np.mean(values) for values in tasks.values()]))


@dataclass(frozen=True)
class _Aggregate:
    """One aggregate: its name, the metrics that each task contributes, and where it is in the records.

    ``notes`` says which tasks contribute less than the rule's metrics.
    """

    metric: str
    parts: Mapping[str, Sequence[ItemMetric]]
    benchmark: str
    level: str
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, Any]:
        shown = "" if self.benchmark == CLEAN else self.benchmark
        return {"task": AVERAGE, "set": shown, "level": self.level, "metric": self.metric}

    def sets(self, matrices: Sequence[AnswerMatrix], task: str) -> list[AnswerMatrix]:
        """The task's sets at the aggregate's level on which all its metrics are defined."""
        own = [matrix.at(self.level) for matrix in matrices if matrix.task == task]
        return usable([matrix for matrix in own if len(matrix.gold)], self.parts[task])


def averages(
    everyone: Sequence[AnswerMatrix], own: Sequence[AnswerMatrix], context: Context
) -> Iterator[Record]:
    """A candidate's aggregates: ``glue_score``, ``advglue_score``, and the rates' means over tasks.

    All sets of the study say which tasks and levels there are; its own are those that the candidate answered.
    """
    for benchmark in dict.fromkeys(matrix.benchmark for matrix in everyone):
        here = [matrix for matrix in everyone if matrix.benchmark == benchmark]
        mine = [matrix for matrix in own if matrix.benchmark == benchmark]
        present = {level for matrix in here for level in matrix.levels}
        for level in [level for level in (CLEAN, "all", *LEVELS) if level in present]:
            for aggregate in _aggregates(benchmark, level, here, context):
                yield from _records(aggregate, here, mine, context)


def _aggregates(
    benchmark: str, level: str, here: Sequence[AnswerMatrix], context: Context
) -> Iterator[_Aggregate]:
    tasks = list(dict.fromkeys(matrix.task for matrix in here))
    at_level = [one for one in (matrix.at(level) for matrix in here) if len(one.gold)]
    leading = ITEM_METRICS["accuracy" if benchmark == CLEAN else "robust_accuracy"]
    if benchmark == CLEAN or benchmark in LEADERBOARDS:
        parts, notes = {}, []
        for task in tasks:
            official = context.tasks[task].metrics
            sets = [matrix for matrix in at_level if matrix.task == task]
            parts[task] = scored_by(leading, benchmark, official, sets)[1]
            if len(parts[task]) < len(scored_by(leading, benchmark, official, [])[1]):
                n = sum(len(matrix.gold) for matrix in sets)
                kept = " and ".join(one.official for one in parts[task])
                notes.append(f"{kept} alone for {task}: no item of the positive class among {n}")
        yield _Aggregate(leading.metric.average, parts, benchmark, level, tuple(notes))
    if benchmark != CLEAN:
        for name in RATES:
            yield _Aggregate(
                name, {task: [ITEM_METRICS[name].on(benchmark)] for task in tasks}, benchmark, level
            )


def _records(
    aggregate: _Aggregate, here: Sequence[AnswerMatrix], mine: Sequence[AnswerMatrix], context: Context
) -> Iterator[Record]:
    """One aggregate over seeds, and for the seeds that all tasks have."""
    sets, own = (
        {task: aggregate.sets(matrices, task) for task in aggregate.parts} for matrices in (here, mine)
    )
    tasks = [task for task in aggregate.parts if sets[task]]
    lacking = [task for task in tasks if len(own[task]) < len(sets[task])]
    if lacking or not tasks:
        reason = f"no answers for {', '.join(lacking)}" if lacking else _why_not(aggregate, here)
        yield context.record(None, reason, **aggregate.columns, seed=None)
        return
    name = context.candidate.name
    noise = context.noise.of(aggregate.parts, aggregate.benchmark, aggregate.level)
    by_task = {task: seed_scores(own[task], name, aggregate.parts[task], noise) for task in tasks}
    parts = list(by_task.values())
    common = set.intersection(*(set(scores.rows) for scores in parts))
    others = sorted({matrix.task for matrix in here} - set(tasks))
    partial = any(context.partial.get((m.task, m.set), False) for m in here if m.task in tasks)
    fewest = min(len(scores.seeds) for scores in parts)
    for seed in [*sorted(common - {None}, key=lambda one: one or 0), None]:
        undefined = [task for task, scores in by_task.items() if scores.value(seed) is None]
        value, (low, high) = (None, (None, None)) if undefined else _average(by_task, seed)
        robust = aggregate.benchmark != CLEAN
        short = seed is None and fewest < context.seeds
        notes = (
            *aggregate.notes,
            f"mean over {', '.join(tasks)}; nothing to measure for {', '.join(others)}" if others else "",
            f"{fewest} of {context.seeds} seeds for some tasks" if short else "",
        )
        yield context.record(
            value,
            f"undefined for the answers on {', '.join(undefined)}",
            **aggregate.columns,
            seed=seed,
            n=sum(scores.counts[seed] for scores in parts),
            low=low,
            high=high,
            partial=partial,
            meaningless=robust and any(seed in context.lacking.get(task, set()) for task in tasks),
            note="; ".join(filter(None, notes)),
        )


def _why_not(aggregate: _Aggregate, here: Sequence[AnswerMatrix]) -> str:
    """Why no task has the aggregate at its level."""
    at_level = [one for one in (matrix.at(aggregate.level) for matrix in here) if len(one.gold)]
    reasons = (one.missing(matrix) for matrix in at_level for one in aggregate.parts[matrix.task])
    return next((reason for reason in reasons if reason), "no items")


def _average(by_task: Mapping[str, SeedScores], seed: int | None) -> tuple[float, Interval]:
    values = {
        task: scores.values.mean(axis=0) if seed is None else scores.values[scores.seeds.index(seed)]
        for task, scores in by_task.items()
    }
    interval = Sample.mean([scores.samples[seed] for scores in by_task.values()]).interval()
    return leaderboard_score(values), interval
