"""From answers to the records of axes P and R."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from trilemma.analysis.answers import CLEAN, COLUMNS, AnswerMatrix, answer_matrices
from trilemma.analysis.baselines import seeds_without_skill
from trilemma.analysis.candidates import Candidate, candidates
from trilemma.analysis.item_metrics import ITEM_METRICS
from trilemma.analysis.scores.averages import averages, leaderboard_score
from trilemma.analysis.scores.by_set import scores_on
from trilemma.analysis.scores.context import Context
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
    records: list[Record] = []
    for candidate in candidates(frame):
        own = [matrix.columns(columns) for matrix in everyone if (columns := matrix.of(candidate.name))]
        lacking = _without_skill([matrix for matrix in own if len(matrix.gold)], candidate)
        study = str(frame["study"].iloc[0])
        context = Context(study, tasks, partial or {}, seeds, candidate, lacking)
        records += _of_candidate(everyone, own, context)
    return records


def _of_candidate(
    everyone: Sequence[AnswerMatrix], own: Sequence[AnswerMatrix], context: Context
) -> Iterator[Record]:
    for matrix in own:
        if len(matrix.gold):
            yield from scores_on(matrix, context)
        else:
            clean = matrix.benchmark == CLEAN
            metric = context.tasks[matrix.task].metrics[0] if clean else "robust_accuracy"
            where = context.on_set(matrix.task, matrix.set, CLEAN if clean else "all")
            yield context.record(None, "no item was answered by all seeds", **where, metric=metric, seed=None)
    yield from averages(everyone, [matrix for matrix in own if len(matrix.gold)], context)


def _without_skill(own: Sequence[AnswerMatrix], candidate: Candidate) -> Mapping[str, set[int | None]]:
    """By task the seeds (None: all together) with which the candidate has not learnt it."""
    accuracy = ITEM_METRICS["accuracy"]
    known = [matrix for matrix in own if matrix.benchmark == CLEAN and not accuracy.missing(matrix)]
    return {
        task: seeds_without_skill([matrix for matrix in known if matrix.task == task], candidate.name)
        for task in dict.fromkeys(matrix.task for matrix in known)
    }
