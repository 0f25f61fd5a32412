"""From answers to the records of axes P and R."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trilemma.analysis.answers import ATTACKS, CLEAN, COLUMNS, AnswerMatrix, answer_matrices
from trilemma.analysis.baselines import seeds_without_skill
from trilemma.analysis.candidates import Candidate, candidates
from trilemma.analysis.scores.averages import averages, leaderboard_score
from trilemma.analysis.scores.by_set import scores_on
from trilemma.analysis.scores.context import Context
from trilemma.analysis.seed_noise import SeedNoise
from trilemma.records import Record
from trilemma.tasks.task import Task

__all__ = ["leaderboard_score", "score"]


def score(
    items: pa.Table, tasks: Mapping[str, Task], *, partial: Mapping[tuple[str, str], bool] | None = None
) -> list[Record]:
    """All records of axes P and R.

    Args:
        items: the items table (:data:`trilemma.records.ITEMS`) of one study.
        tasks: its tasks by name.
        partial: by (task, set), whether rows are missing against the official split.

    Returns:
        For each candidate (model and adaptation): the official metrics of every clean split, every
        adversarial set by level and method, baselines, and aggregates over tasks; by seed and over
        seeds (seed None), with 95% intervals. What could not be measured has no value and a reason.
        Columns that answers do not tell (parameters, hardware, kernel, versions) are empty.
    """
    frame = items.select(["study", "arch", *COLUMNS]).to_pandas()
    if frame.empty:
        return []
    everyone, seeds = answer_matrices(frame), len(set(frame["seed"].dropna())) or 1
    noise = SeedNoise(everyone)
    records: list[Record] = []
    for candidate in candidates(frame):
        own = [matrix.columns(columns) for matrix in everyone if (columns := matrix.of(candidate.name))]
        lacking = _without_skill([one for one in own if len(one.gold)], candidate, tasks, noise)
        study = str(frame["study"].iloc[0])
        context = Context(study, tasks, partial or {}, seeds, candidate, lacking, noise)
        records += _of_candidate(everyone, own, context)
    return records


def _of_candidate(
    everyone: Sequence[AnswerMatrix], own: Sequence[AnswerMatrix], context: Context
) -> Iterator[Record]:
    for matrix in own:
        if matrix.benchmark == ATTACKS:  # the average over them follows
            continue
        if len(matrix.gold):
            yield from scores_on(matrix, context)
        else:
            clean = matrix.benchmark == CLEAN
            metric = context.tasks[matrix.task].metrics[0] if clean else "robust_accuracy"
            where = context.on_set(matrix.task, matrix.set, CLEAN if clean else "all")
            yield context.record(None, "no item was answered by all seeds", **where, metric=metric, seed=None)
    yield from averages(everyone, [matrix for matrix in own if len(matrix.gold)], context)


def _without_skill(
    own: Sequence[AnswerMatrix], candidate: Candidate, tasks: Mapping[str, Task], noise: SeedNoise
) -> Mapping[str, set[int | None]]:
    """By task the seeds (None: all together) for which no skill was shown."""
    known = [one for one in own if one.benchmark == CLEAN and not np.isnan(one.gold).all()]
    return {
        task: seeds_without_skill(
            [one for one in known if one.task == task], candidate.name, tasks[task].metrics, noise
        )
        for task in dict.fromkeys(one.task for one in known)
    }
