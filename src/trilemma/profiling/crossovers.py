"""At which length one model overtakes another, as far as the intervals of their measurements tell."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from typing import NamedTuple

from trilemma.profiling.exchange import ModelProfile, Profile, Value
from trilemma.profiling.stability import STEADY

METRICS = ("ttft_ms", "tpot_ms", "batch_latency_ms", "peak_memory_bytes")
"""In which models are compared; less is better in each."""


class Lead(NamedTuple):
    """A model that needs less than the other.

    Attributes:
        model: its name.
        lengths: the measured ones at which the two are told apart, ascending, until the other leads.
    """

    model: str
    lengths: tuple[int, ...]

    @property
    def first(self) -> int:
        """The shortest."""
        return self.lengths[0]

    @property
    def last(self) -> int:
        """The longest."""
        return self.lengths[-1]


class Crossing(NamedTuple):
    """Where the lead changes.

    Attributes:
        model: that leads from here on.
        length: tokens at which both need the same, between the measured lengths on a straight line of
            logarithms.
        low, high: last length at which the other one led, and first at which this one does.
    """

    model: str
    length: float
    low: int
    high: int


class Race(NamedTuple):
    """Two models in one metric at one batch.

    Attributes:
        models: their names.
        batch: sequences.
        metric: of :data:`METRICS`.
        lengths: at which both were measured, ascending.
        leads: one after the other, by different models; lengths at which the two are not told apart lie
            within or between them.
        crossings: between the leads.
    """

    models: tuple[str, str]
    batch: int
    metric: str
    lengths: tuple[int, ...]
    leads: tuple[Lead, ...]
    crossings: tuple[Crossing, ...]


def races(profile: Profile) -> Iterator[Race]:
    """Every two models in every metric at every batch where both were measured at two lengths or more.

    What is compared is the same work: of an encoder and a model that generates, nothing is.
    """
    known = {model.name: _values(model) for model in profile.models}
    for one, other in combinations(profile.models, 2):
        if one.causal != other.causal:
            continue
        for batch, metric in known[one.name]:
            a, b = known[one.name][batch, metric], known[other.name].get((batch, metric), {})
            lengths = tuple(sorted(set(a) & set(b)))
            if len(lengths) > 1:
                leads, crossings = _run((one.name, other.name), lengths, a, b)
                yield Race((one.name, other.name), batch, metric, lengths, leads, crossings)


def _values(model: ModelProfile) -> dict[tuple[int, str], dict[int, Value]]:
    """By batch and metric, the values by length."""
    batches = sorted({point.batch for point in model.points})
    found: dict[tuple[int, str], dict[int, Value]] = {
        (batch, metric): {} for batch in batches for metric in METRICS
    }
    for point in model.points:
        for metric in METRICS:
            value = point.values.get(metric)
            if (
                point.phase == "inference"
                and value is not None
                and value.value is not None
                and value.value > 0
            ):
                found[point.batch, metric][point.length] = value
    return found


def _run(
    names: tuple[str, str], lengths: tuple[int, ...], a: Mapping[int, Value], b: Mapping[int, Value]
) -> tuple[tuple[Lead, ...], tuple[Crossing, ...]]:
    leads: list[Lead] = []
    for length in lengths:
        ahead = _ahead(a[length], b[length])
        if ahead is None:
            continue
        name = names[ahead]
        if leads and leads[-1].model == name:
            leads[-1] = Lead(name, (*leads[-1].lengths, length))
        else:
            leads.append(Lead(name, (length,)))
    crossings = []
    for before, after in pairwise(leads):
        between = [length for length in lengths if before.last <= length <= after.first]
        crossings.append(Crossing(after.model, _equal_at(between, a, b), before.last, after.first))
    return tuple(leads), tuple(crossings)


def _ahead(a: Value, b: Value) -> int | None:
    """Which of the two needs less: 0, 1, or None where their intervals overlap."""
    (a_low, a_high), (b_low, b_high) = _ends(a), _ends(b)
    if a_high < b_low:
        return 0
    return 1 if b_high < a_low else None


def _ends(value: Value) -> tuple[float, float]:
    """The interval; where there is none, as far as a steady one may reach."""
    assert value.value is not None
    if value.low is None or value.high is None:
        return value.value * (1 - STEADY), value.value * (1 + STEADY)
    return value.low, value.high


def _equal_at(lengths: list[int], a: Mapping[int, Value], b: Mapping[int, Value]) -> float:
    """Tokens at which the logarithm of the ratio first passes 0; its sign differs at the ends."""
    ratios = [math.log((a[length].value or 0.0) / (b[length].value or 1.0)) for length in lengths]
    for (left, before), (right, after) in pairwise(zip(lengths, ratios, strict=True)):
        if before * after <= 0 and before != after:
            share = before / (before - after)
            return math.exp(math.log(left) + share * math.log(right / left))
    raise AssertionError("the two lead at different ends")
