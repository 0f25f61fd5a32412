"""Aggregates over tasks by the leaderboards' rule, with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trilemma.analysis.comparisons import AVERAGE
from trilemma.analysis.measures import MEASURES, Measure, defined, scored_by
from trilemma.analysis.panels import ADVGLUE, CLEAN, LEVELS, Candidate, Panel
from trilemma.analysis.scores.cells import Cell, cells
from trilemma.analysis.scores.context import Context
from trilemma.analysis.scores.leaderboard import leaderboard_score
from trilemma.records import Record
from trilemma.statistics import Sample

RATES = ("robust_accuracy", "attack_success_rate", "accuracy_drop", "flip_rate", "paired_clean_accuracy")
"""Metrics whose mean over tasks is recorded for each adversarial benchmark and level."""

Notes = Mapping[str, Mapping[int | None, str]]
"""By task and seed, that robustness is meaningless."""


@dataclass(frozen=True)
class _Score:
    """One aggregate: its name, what each task contributes, and where it stands in the records.

    ``notes`` says which tasks contribute less than the rule's metrics.
    """

    metric: str
    measures: Mapping[str, Sequence[Measure]]
    benchmark: str
    level: str
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, object]:
        clean = self.benchmark == CLEAN
        return {
            "task": AVERAGE,
            "set": "" if clean else self.benchmark,
            "axis": "P" if clean else "R",
            "level": self.level,
            "metric": self.metric,
        }


def averages(
    everyone: Sequence[Panel],
    own: Sequence[Panel],
    candidate: Candidate,
    context: Context,
    notes: Notes,
) -> Iterator[Record]:
    """A candidate's aggregates: ``glue_score``, ``advglue_score``, and the rates' means over tasks.

    Args:
        everyone: all panels of the study: which tasks and levels there are.
        own: the panels the candidate answered, with its columns.
        candidate: whose.
        context: what all records share.
        notes: where the candidate's robustness is meaningless.
    """
    for benchmark in dict.fromkeys(panel.benchmark for panel in everyone):
        here = [panel for panel in everyone if panel.benchmark == benchmark]
        mine = [panel for panel in own if panel.benchmark == benchmark]
        tasks = list(dict.fromkeys(panel.task for panel in here))
        present = {level for panel in here for level in panel.levels}
        for level in [level for level in (CLEAN, "all", *LEVELS) if level in present]:
            at_level = [panel.at(level) for panel in here]
            for score in _scores(
                benchmark, level, tasks, [one for one in at_level if len(one.gold)], context
            ):
                yield from _records(score, here, mine, candidate, context, notes)


def _scores(
    benchmark: str, level: str, tasks: Sequence[str], at_level: Sequence[Panel], context: Context
) -> Iterator[_Score]:
    official = {task: context.tasks[task].metrics for task in tasks}
    leading = MEASURES["accuracy" if benchmark == CLEAN else "robust_accuracy"]
    rule = {task: scored_by(leading, benchmark, official[task]) for task in tasks}
    if benchmark == CLEAN or benchmark.startswith(ADVGLUE):
        measures, notes = {}, []
        for task, (_, parts) in rule.items():
            sets = [panel for panel in at_level if panel.task == task]
            measures[task] = defined(parts, sets)
            if len(measures[task]) < len(parts):
                n = sum(len(panel.gold) for panel in sets)
                kept = " and ".join(one.name.removeprefix("robust_") for one in measures[task])
                notes.append(f"{kept} alone for {task}: no item of the positive class among {n}")
        yield _Score(rule[tasks[0]][0], measures, benchmark, level, tuple(notes))
    if benchmark != CLEAN:
        for name in RATES:
            yield _Score(name, {key: [MEASURES[name]] for key in tasks}, benchmark, level)


def _records(
    score: _Score,
    here: Sequence[Panel],
    mine: Sequence[Panel],
    candidate: Candidate,
    context: Context,
    notes: Notes,
) -> Iterator[Record]:
    """One aggregate over seeds, and for the seeds that all tasks have."""
    tasks, reason = _measurable(score, here)
    lacking = [task for task in tasks if len(_sets(score, mine, task)) < len(_sets(score, here, task))]
    if lacking or not tasks:
        note = f"not measured: {'no answers for ' + ', '.join(lacking) if lacking else reason}"
        columns = {**score.columns, "seed": None, "unit": "fraction"}
        yield context.record(candidate, **columns, notes=(note,))
        return
    by_task: dict[str, Cell] = {}
    for task in tasks:
        (by_task[task],) = cells(_sets(score, mine, task), candidate.name, [score.measures[task]])
    common = set.intersection(*(set(cell.rows) for cell in by_task.values()))
    others = sorted({panel.task for panel in here} - set(tasks))
    partial = any(context.is_partial(panel.task, panel.set) for panel in here if panel.task in tasks)
    for seed in [*sorted(common - {None}, key=lambda one: one or 0), None]:
        flagged = [task for task in tasks if seed in notes.get(task, {})] if score.benchmark != CLEAN else []
        undefined = [task for task, cell in by_task.items() if cell.value(seed) is None]
        fewest = min(len(cell.seeds) for cell in by_task.values())
        yield context.record(
            candidate,
            **score.columns,
            **_numbers(by_task, seed),
            partial=partial,
            notes=(
                f"not measured: undefined for the answers on {', '.join(undefined)}" if undefined else "",
                *score.notes,
                f"mean over {', '.join(tasks)}; nothing to measure for {', '.join(others)}" if others else "",
                f"{fewest} of {context.seeds} seeds for some tasks"
                if seed is None and fewest < context.seeds
                else "",
                f"robustness is meaningless for {', '.join(flagged)}" if flagged else "",
            ),
        )


def _measurable(score: _Score, here: Sequence[Panel]) -> tuple[list[str], str]:
    """The tasks that have the score at its level, and for want of any the reason."""
    tasks = [task for task in score.measures if _sets(score, here, task)]
    at_level = [panel.at(score.level) for panel in here]
    reasons = [m.missing(panel) for panel in at_level if len(panel.gold) for m in score.measures[panel.task]]
    return tasks, next((reason for reason in reasons if reason), "no items")


def _sets(score: _Score, panels: Sequence[Panel], task: str) -> list[Panel]:
    """The task's sets at the score's level on which all its measures are defined."""
    own = [panel.at(score.level) for panel in panels if panel.task == task]
    return [
        panel
        for panel in own
        if len(panel.gold) and not any(measure.missing(panel) for measure in score.measures[task])
    ]


def _numbers(by_task: Mapping[str, Cell], seed: int | None) -> dict[str, object]:
    parts = list(by_task.values())
    n = sum(cell.counts[seed] for cell in parts)
    columns: dict[str, object] = {"seed": seed, "n": n, "unit": "fraction"}
    if any(cell.value(seed) is None for cell in parts):
        return columns
    values = {
        task: cell.values.mean(axis=0) if seed is None else cell.values[cell.seeds.index(seed)]
        for task, cell in by_task.items()
    }
    low, high = Sample.mean([cell.samples[seed] for cell in parts]).interval()
    return {**columns, "value": leaderboard_score(values), "low": low, "high": high}
