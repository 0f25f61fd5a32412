"""From answers to the records of axes P and R."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from trilemma.analysis.measures import MEASURES
from trilemma.analysis.panels import CLEAN, COLUMNS, Candidate, Panel, candidates, panels
from trilemma.analysis.scores.averages import averages
from trilemma.analysis.scores.baselines import without_skill
from trilemma.analysis.scores.context import Context
from trilemma.analysis.scores.leaderboard import leaderboard_score
from trilemma.analysis.scores.performance import performance
from trilemma.analysis.scores.robustness import robustness
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
        seeds (seed None), with 95% intervals. A value that could not be measured is None and its note
        says why. Columns that answers do not tell (parameters, hardware, kernel, versions) are empty.
    """
    frame = items.select(["study", "arch", *COLUMNS]).to_pandas()
    if frame.empty:
        return []
    context = Context(
        study=str(frame["study"].iloc[0]),
        tasks=tasks,
        arch=dict(frame[["model", "arch"]].drop_duplicates("model").itertuples(index=False)),
        partial=partial or {},
        seeds=len(set(frame["seed"].dropna())) or 1,
    )
    everyone = panels(frame)
    return [record for candidate in candidates(frame) for record in _candidate(candidate, everyone, context)]


def _candidate(candidate: Candidate, everyone: Sequence[Panel], context: Context) -> Iterator[Record]:
    own = [panel.columns(columns) for panel in everyone if (columns := panel.of(candidate.name))]
    shared = [panel for panel in own if len(panel.gold)]
    notes = _without_skill([panel for panel in shared if panel.benchmark == CLEAN], candidate)
    for panel in own:
        if panel not in shared:
            yield _nothing_shared(panel, candidate, context)
        elif panel.benchmark == CLEAN:
            yield from performance(panel, candidate, context)
        else:
            yield from robustness(panel, candidate, context, notes.get(panel.task, {}))
    yield from averages(everyone, shared, candidate, context, notes)


def _nothing_shared(panel: Panel, candidate: Candidate, context: Context) -> Record:
    clean = panel.benchmark == CLEAN
    return context.record(
        candidate,
        task=panel.task,
        set=panel.set,
        axis="P" if clean else "R",
        level=CLEAN if clean else "all",
        metric=context.tasks[panel.task].metrics[0] if clean else "robust_accuracy",
        seed=None,
        notes=("not measured: no item was answered by all seeds",),
    )


def _without_skill(clean: Sequence[Panel], candidate: Candidate) -> Mapping[str, Mapping[int | None, str]]:
    known = [panel for panel in clean if not MEASURES["accuracy"].missing(panel)]
    return {
        task: without_skill([panel for panel in known if panel.task == task], candidate.name)
        for task in dict.fromkeys(panel.task for panel in known)
    }
