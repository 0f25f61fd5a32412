"""Axis R: the same tasks under attack, by set, level and method."""

from collections.abc import Iterator, Mapping, Sequence

from trilemma.analysis.measures import MEASURES, Measure
from trilemma.analysis.panels import Candidate, Panel
from trilemma.analysis.scores.cells import cells
from trilemma.analysis.scores.context import Context
from trilemma.analysis.scores.performance import baselines, numbers, seed_notes
from trilemma.records import Record

BY_LEVEL = (
    "robust_accuracy",
    "robust_f1",
    "attack_success_rate",
    "accuracy_drop",
    "flip_rate",
    "paired_clean_accuracy",
)
BY_METHOD = ("robust_accuracy", "attack_success_rate")


def robustness(
    panel: Panel, candidate: Candidate, context: Context, meaningless: Mapping[int | None, str]
) -> Iterator[Record]:
    """A candidate's records on one adversarial set: each level's, then each of its methods'.

    Args:
        panel: the set with the candidate's columns.
        candidate: whose.
        context: what all records share.
        meaningless: by seed (None for all), the note where clean accuracy shows no skill.
    """
    official = context.tasks[panel.task].metrics
    by_level = [MEASURES[name] for name in BY_LEVEL if MEASURES[name].belongs_to(official)]
    by_method = [MEASURES[name] for name in BY_METHOD]
    for level in panel.levels:
        own = panel.at(level)
        yield from _cell_records(own, level, "", by_level, candidate, context, meaningless)
        yield from baselines(own, candidate, context, **_where(own, level, "", context))
        methods = sorted({str(method) for method in own.method if method}) if level != "all" else []
        for method in methods:
            part = panel.at(level, method)
            yield from _cell_records(part, level, method, by_method, candidate, context, meaningless)


def _where(panel: Panel, level: str, method: str, context: Context) -> dict[str, object]:
    partial = context.is_partial(panel.task, panel.set)
    return {
        "task": panel.task,
        "set": panel.set,
        "axis": "R",
        "level": level,
        "method": method,
        "partial": partial,
    }


def _cell_records(
    panel: Panel,
    level: str,
    method: str,
    measures: Sequence[Measure],
    candidate: Candidate,
    context: Context,
    meaningless: Mapping[int | None, str],
) -> Iterator[Record]:
    where = _where(panel, level, method, context)
    measured = [measure for measure in measures if not measure.missing(panel)]
    found = dict(
        zip(measured, cells([panel], candidate.name, [[measure] for measure in measured]), strict=True)
    )
    for measure in measures:
        if measure not in found:
            note = f"not measured: {measure.missing(panel)}"
            yield context.record(candidate, **where, metric=measure.name, seed=None, notes=(note,))
            continue
        cell = found[measure]
        for seed in cell.rows:
            yield context.record(
                candidate,
                **where,
                **numbers(cell, seed, cell.value(seed)),
                metric=measure.name,
                notes=(*seed_notes(cell, seed, context.seeds), meaningless.get(seed, "")),
            )
