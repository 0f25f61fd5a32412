"""What attacks on the study's own models took, and on which other models their examples work too."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from trilemma.metrics import METRICS
from trilemma.records import ATTACK, SUSPECT, Record
from trilemma.statistics.intervals import ValueKind, paired_difference, sample, seed_scatters
from trilemma.statistics.seeds import NOTHING_KNOWN, SeedScatter, SeedVariance
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
    yield from _recorded(_taken(runs))


def _taken(runs: Sequence[AttackOutcome]) -> Iterator["_Mean"]:
    for record, members in _by_seed(runs):
        attacked = [[row for row in run.examples if row["attacked"]] for run in members]
        won = [[row for row in rows if row["success"]] for rows in attacked]
        none = "no success" if any(attacked) else "no item was answered correctly"
        unmeasured = next((run.unmeasured for run in members if run.unmeasured), "")
        unnamed = "no language model was named, by the setting `language_model`" if any(won) else none
        yield _Mean(record, "words_changed", won, "words_changed", none)
        yield _Mean(record, "queries_per_item", attacked, "queries", none)
        yield _Mean(record, "queries_per_success", won, "queries", none)
        alike = [] if unmeasured else won
        yield _Mean(record, "similarity", alike, "similarity", unmeasured or none, "difference")
        yield _Mean(record, "perplexity_ratio", won, "perplexity_ratio", unnamed)


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
    yield from _recorded(_carried(runs))


def _carried(runs: Sequence[TransferRun]) -> Iterator["_Mean"]:
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
        yield _Mean(record, "transfer_success_rate", wrong, "wrong", none, "proportion")


Run = TypeVar("Run", AttackOutcome, TransferRun)


def _by_seed(runs: Sequence[Run]) -> Iterator[tuple[Record, list[Run]]]:
    """Each run by itself, then those that differ by their seed alone, together (seed None)."""
    groups: dict[Record, list[Run]] = {}
    for run in runs:
        yield run.record, [run]
        groups.setdefault(replace(run.record, seed=None), []).append(run)
    yield from groups.items()


@dataclass(frozen=True)
class _Mean:
    """The mean over seeds of each seed's mean of one column, before its interval is known.

    Attributes:
        record: the shared columns.
        metric: what it is.
        by_seed: each seed's rows; those without a value are left out.
        column: the value's.
        none: why there may be none.
        kind: ``proportion`` of rows, ``amount`` (from 0 up), or ``difference`` (in -1..1).
    """

    record: Record
    metric: str
    by_seed: Sequence[Sequence[Row]]
    column: str
    none: str
    kind: ValueKind = "amount"

    @cached_property
    def contributions(self) -> Array:
        """Value and 1 by item and seed, [n, S, 2]; of the seeds that have any."""
        known = [[row for row in rows if row[self.column] is not None] for rows in self.by_seed]
        columns = [{str(row["id"]): float(row[self.column]) for row in rows} for rows in known if rows]
        ids = sorted({one for values in columns for one in values})
        found = [[(values.get(one, 0.0), float(one in values)) for values in columns] for one in ids]
        return np.array(found).reshape(len(ids), len(columns), 2)

    @property
    def scatter(self) -> SeedScatter:
        """How its seeds scatter."""
        (found,) = seed_scatters(
            self.contributions, [range(self.contributions.shape[1])], ratio, kind=self.kind
        )
        return found

    def recorded(self, seeds: SeedVariance) -> Record:
        """The record; fewer than five items say too little about a skewed amount for an interval.

        Args:
            seeds: what a training seed adds, pooled over the study.
        """
        record = replace(self.record, metric=self.metric, unit=METRICS[self.metric].unit)
        items, columns = self.contributions.shape[:2]
        if not items:
            return record.without_value(self.none)
        note = f"{columns} of {len(self.by_seed)} seeds" if columns < len(self.by_seed) else ""
        drawn = sample(self.contributions, [range(columns)], ratio, kind=self.kind, seeds=seeds)[0]
        low, high = drawn.interval()
        if self.kind != "proportion" and items < FEWEST:
            note = "; ".join(filter(None, (note, f"no interval: {items} items, it takes {FEWEST}")))
            return record.with_value(drawn.value, n=int(drawn.answers), note=note)
        high = min(high, 1.0) if record.unit == "fraction" else high
        return record.with_value(drawn.value, low, high, n=int(drawn.answers), note=note)


def _recorded(means: Iterable["_Mean"]) -> Iterator[Record]:
    """The records, with the seed variance of each metric pooled over all its means."""
    everything = list(means)
    cells: dict[str, list[SeedScatter]] = {}
    for one in everything:
        if one.contributions.shape[1] > 1:
            cells.setdefault(one.metric, []).append(one.scatter)
    pooled = {metric: SeedVariance.of(own) for metric, own in cells.items()}
    for one in everything:
        single = len(one.by_seed) == 1
        yield one.recorded(NOTHING_KNOWN if single else pooled.get(one.metric, NOTHING_KNOWN))
