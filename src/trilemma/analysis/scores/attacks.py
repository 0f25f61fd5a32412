"""What attacks on the study's own models took, and on which other models their examples work too."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from trilemma.metrics import METRICS
from trilemma.records import ATTACK, SUSPECT, Record
from trilemma.statistics.intervals import ValueKind, hierarchical_bootstrap, paired_difference
from trilemma.statistics.sums import Array, ratio

Row = Mapping[str, Any]

FEWEST = 5
"""Items below which the mean of an amount has no interval."""


@dataclass(frozen=True)
class AttackOutcome:
    """One attack on one adapted model.

    Attributes:
        record: what all its records share (model, task, set, level, method, made_on, seed); its value is not
            read.
        examples: rows of the attack's examples (``id``, ``attacked``, ``success``, ``queries``,
            ``words_changed``, ``similarity``, ``perplexity_ratio``).
        unmeasured: why similarity was not measured, or "".
    """

    record: Record
    examples: Sequence[Row]
    unmeasured: str = ""


@dataclass(frozen=True)
class TransferRun:
    """One attack's successful examples, shown to another model.

    Attributes:
        record: what all its records share; ``set`` names the attack and ``made_on`` the model that its
            examples were made on.
        answers: rows of ``id``, ``gold``, ``original_answer`` and ``answer``.
    """

    record: Record
    answers: Sequence[Row]


def attack_records(runs: Sequence[AttackOutcome]) -> Iterator[Record]:
    """What each attack took and how far it went, by seed and over seeds.

    - ``words_changed``: mean share of words changed, of successes;
    - ``queries_per_item`` of those attacked, ``queries_per_success`` of those on which it succeeded;
    - ``similarity``: mean cosine of successes and their originals;
    - ``perplexity_ratio``: mean perplexity of successes over that of their originals.
    """
    for record, members in _by_seed(runs):
        attacked = [[row for row in run.examples if row["attacked"]] for run in members]
        won = [[row for row in rows if row["success"]] for rows in attacked]
        none = "no success" if any(attacked) else "no item was answered correctly"
        unmeasured = next((run.unmeasured for run in members if run.unmeasured), "")
        unnamed = "no language model was named, by the setting `language_model`" if any(won) else none
        yield _mean(record, "words_changed", won, "words_changed", none)
        yield _mean(record, "queries_per_item", attacked, "queries", none)
        yield _mean(record, "queries_per_success", won, "queries", none)
        alike = [] if unmeasured else won
        yield _mean(record, "similarity", alike, "similarity", unmeasured or none, "difference")
        yield _mean(record, "perplexity_ratio", won, "perplexity_ratio", unnamed)


def gap_records(runs: Sequence[AttackOutcome], white_box: Collection[str]) -> Iterator[Record]:
    """How much more often a black-box attack succeeds than a white-box one of its level, on the same items.

    An attack that sees the gradients should not find less. If it does, the gradients mislead (Athalye et al.
    2018, arXiv 1802.00420, section 3.1), as those that pass straight through the rounding of a quantised
    model may. It is a sign and no proof. One record per pair, over seeds, with the paired interval:
    ``method`` is the white-box attack, ``set`` the black-box one that it is held against. Where the gap is
    distinguishable from 0 it is flagged as suspect.

    Args:
        runs: all attacks of a study.
        white_box: names of those that see gradients.
    """
    attacked: dict[Record, dict[str, dict[int | None, AttackOutcome]]] = {}
    for run in runs:
        alike = run.record.without_value("not yet", set="", method="", seed=None, note="")
        attacked.setdefault(alike, {}).setdefault(run.record.method, {})[run.record.seed] = run
    for alike, attacks in attacked.items():
        for white in [name for name in attacks if name in white_box]:
            for black in [name for name in attacks if name not in white_box]:
                seeds = [seed for seed in attacks[white] if seed in attacks[black]]
                first, second = (
                    np.array([_successes(attacks[name][seed]) for seed in seeds]).T for name in (black, white)
                )
                gap = paired_difference(first, second, np.arange(len(first)))
                low, high = gap.interval()
                yield alike.with_value(
                    gap.value,
                    low,
                    high,
                    set=f"{ATTACK}{black}",
                    method=white,
                    metric="white_box_gap",
                    unit="fraction",
                    n=first.size,
                    flags=(*alike.flags, *[SUSPECT] * (low > 0)),
                )


def _successes(run: AttackOutcome) -> list[float]:
    """By item, in the order of their names: the same items in every run."""
    return [float(bool(row["success"])) for row in sorted(run.examples, key=lambda row: str(row["id"]))]


def transfer_records(runs: Sequence[TransferRun]) -> Iterator[Record]:
    """How often examples that worked on one model work on another, by seed and over seeds.

    Of those whose original the other model answers correctly: a model that is wrong without an attack says
    nothing about how the attack carries over.
    """
    none = "no successful example whose original this model answers correctly"
    for record, members in _by_seed(runs):
        wrong = [
            [
                {"id": row["id"], "wrong": row["answer"] != row["gold"]}
                for row in run.answers
                if row["original_answer"] == row["gold"]
            ]
            for run in members
        ]
        yield _mean(record, "transfer_success_rate", wrong, "wrong", none, "proportion")


Run = TypeVar("Run", AttackOutcome, TransferRun)


def _by_seed(runs: Sequence[Run]) -> Iterator[tuple[Record, list[Run]]]:
    """Each run by itself, then those that differ by their seed alone, together (seed None)."""
    groups: dict[Record, list[Run]] = {}
    for run in runs:
        yield run.record, [run]
        groups.setdefault(replace(run.record, seed=None), []).append(run)
    yield from groups.items()


def _mean(
    record: Record,
    metric: str,
    by_seed: Sequence[Sequence[Row]],
    column: str,
    none: str,
    kind: ValueKind = "amount",
) -> Record:
    """The mean over seeds of each seed's mean, with its interval over items and seeds.

    Fewer than five items say too little about a skewed amount for an interval.

    Args:
        record: the shared columns.
        metric: what it is.
        by_seed: each seed's rows; those without a value are left out.
        column: the value's.
        none: why there may be none.
        kind: ``proportion`` of rows, ``amount`` (from 0 up), or ``difference`` (in -1..1).
    """
    known = [[row for row in rows if row[column] is not None] for rows in by_seed]
    columns = [{str(row["id"]): float(row[column]) for row in rows} for rows in known if rows]
    record = replace(record, metric=metric, unit=METRICS[metric].unit)
    if not columns:
        return record.without_value(none)
    ids = sorted({one for values in columns for one in values})
    contributions = np.array(
        [[(values.get(one, 0.0), float(one in values)) for values in columns] for one in ids]
    )
    value: Array = ratio(contributions.sum(axis=0))
    note = f"{len(columns)} of {len(by_seed)} seeds" if len(columns) < len(by_seed) else ""
    known_limits = kind == "proportion" or len(ids) >= FEWEST
    low, high = (
        hierarchical_bootstrap(contributions, np.arange(len(ids)), kind=kind)
        if known_limits
        else (None, None)
    )
    if not known_limits:
        few = f"no interval: {len(ids)} items, it takes {FEWEST}"
        note = "; ".join(filter(None, (note, few)))
    if high is not None and record.unit == "fraction":
        high = min(high, 1.0)
    return record.with_value(float(value.mean()), low, high, n=sum(map(len, columns)), note=note)
