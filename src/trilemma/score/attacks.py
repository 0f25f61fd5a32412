"""Axis R beyond answers: what attacks on the models themselves took, and where their examples work too."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from trilemma.records import Record
from trilemma.statistics import Array, hierarchical_bootstrap, ratio
from trilemma.statistics.intervals import Shape

TRANSFER = "transfer_success_rate"

Row = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True)
class AttackRun:
    """One attack on one adapted model.

    Attributes:
        record: the columns that all its records share: model, task, set, level, method, seed.
        examples: rows of the attack's examples (``id``, ``attacked``, ``success``, ``queries``,
            ``words_changed``, ``similarity``).
        budget: queries that an item was allowed.
        unmeasured: why similarity was not measured, or "".
    """

    record: Record
    examples: Sequence[Row]
    budget: int
    unmeasured: str = ""


@dataclass(frozen=True)
class TransferRun:
    """One attack's successful examples, shown to another model.

    Attributes:
        record: the columns that all its records share; ``set`` names the attack and the source.
        answers: rows of ``id``, ``gold``, ``original_answer`` and ``answer``.
    """

    record: Record
    answers: Sequence[Row]


def attack_records(runs: Sequence[AttackRun]) -> Iterator[Record]:
    """What each attack took and how far it went, by seed and over seeds.

    - ``words_changed``: mean share of words changed, of successes;
    - ``queries_per_item`` of those attacked, ``queries_per_success`` of those on which it succeeded;
    - ``similarity``: mean cosine of successes and their originals.
    """
    for record, members in _by_seed([(run.record, run) for run in runs]):
        attacked = [[row for row in run.examples if row["attacked"]] for run in members]
        won = [[row for row in rows if row["success"]] for rows in attacked]
        scale = float(max(run.budget for run in members))
        none = "no success" if any(attacked) else "no item was answered correctly"
        yield _mean(record, "words_changed", "fraction", won, "words_changed", none, "difference")
        for metric, rows in (("queries_per_item", attacked), ("queries_per_success", won)):
            yield _mean(record, metric, "queries", rows, "queries", none, "difference", most=scale)
        unmeasured = next((run.unmeasured for run in members if run.unmeasured), "")
        known = [] if unmeasured else won
        yield _mean(record, "similarity", "cosine", known, "similarity", unmeasured or none, "difference")


def transfer_records(runs: Sequence[TransferRun]) -> Iterator[Record]:
    """How often examples that worked on one model work on another, by seed and over seeds.

    Of those whose original the other model answers correctly: a model that is wrong without an attack tells
    nothing of how the attack carries over.
    """
    none = "no successful example whose original this model answers correctly"
    for record, members in _by_seed([(run.record, run) for run in runs]):
        wrong = [
            [
                {"id": row["id"], "wrong": row["answer"] != row["gold"]}
                for row in run.answers
                if row["original_answer"] == row["gold"]
            ]
            for run in members
        ]
        yield _mean(record, TRANSFER, "fraction", wrong, "wrong", none, "proportion")


def _by_seed(runs: Sequence[tuple[Record, T]]) -> Iterator[tuple[Record, list[T]]]:
    """Each run by itself, then those that differ by their seed alone, together (seed None)."""
    groups: dict[Record, list[T]] = {}
    for record, run in runs:
        yield record, [run]
        groups.setdefault(replace(record, seed=None), []).append(run)
    yield from groups.items()


def _mean(
    record: Record,
    metric: str,
    unit: str,
    by_seed: Sequence[Sequence[Row]],
    column: str,
    none: str,
    shape: Shape,
    most: float = 1.0,
) -> Record:
    """The mean over seeds of each seed's mean, with its interval over items and seeds.

    Args:
        record: the shared columns.
        metric: what it is.
        unit: of the value.
        by_seed: each seed's rows; those without a value are left out.
        column: the value's.
        none: why there may be none.
        shape: for the interval of ``value / most``: ``proportion`` of rows, or ``difference``, any number.
        most: the largest possible value.
    """
    known = [[row for row in rows if row[column] is not None] for rows in by_seed]
    columns = [{str(row["id"]): _number(row[column]) for row in rows} for rows in known if rows]
    record = replace(record, metric=metric, unit=unit)
    if not columns:
        return replace(record, note="; ".join(filter(None, (record.note, f"not measured: {none}"))))
    ids = sorted({one for values in columns for one in values})
    contributions = np.array(
        [[(values.get(one, 0.0) / most, float(one in values)) for values in columns] for one in ids]
    )
    value: Array = ratio(contributions.sum(axis=0))
    low, high = hierarchical_bootstrap(contributions, np.arange(len(ids)), shape=shape)
    counted = sum(map(len, columns))
    return replace(
        record, value=float(value.mean()) * most, low=max(low, 0.0) * most, high=high * most, n=counted
    )


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
