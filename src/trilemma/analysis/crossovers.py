"""Who leads at which length: by the intervals of records, and by the tests of a study."""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import combinations, groupby, pairwise
from typing import NamedTuple, TypeVar

import pandas as pd

from trilemma.analysis.candidates import Candidate, rows_of
from trilemma.analysis.evidence import Evidence
from trilemma.metrics import METRICS
from trilemma.operating_point import OperatingPoint
from trilemma.units import join

COMPARED = (
    *(("ttft_ms", "prefill"), ("tpot_ms", "decode"), ("latency_ms", "generate"), ("latency_ms", "classify")),
    *(("peak_memory_bytes", "generate"), ("peak_memory_bytes", "classify")),
)
"""Metrics and phases in which models are compared; less is better in each."""

Led = TypeVar("Led", bound=Hashable)


def runs(lengths: Sequence[int], leader: Callable[[int], Led | None]) -> list[tuple[Led, tuple[int, ...]]]:
    """Who leads one after the other, each with the lengths at which it does.

    Args:
        lengths: ascending.
        leader: who leads at a length; lengths at which it is None are within or between the runs.
    """
    led = [(first, length) for length in lengths if (first := leader(length)) is not None]
    return [(first, tuple(length for _, length in own)) for first, own in groupby(led, lambda one: one[0])]


class Lead(NamedTuple):
    """A model that needs less than the other.

    Attributes:
        model: its name.
        lengths: the measured ones at which the two are told apart, ascending, until the other leads.
    """

    model: str
    lengths: tuple[int, ...]


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
        metric, phase: one of :data:`COMPARED`.
        lengths: at which both were measured, ascending.
        leads: one after the other, by different models; lengths at which the two are not told apart are
            within or between them.
        crossings: between the leads.
        unknown: lengths at which one of the two has no interval, so that who leads is not known.
    """

    models: tuple[str, str]
    batch: int
    metric: str
    phase: str
    lengths: tuple[int, ...]
    leads: tuple[Lead, ...]
    crossings: tuple[Crossing, ...]
    unknown: tuple[int, ...] = ()

    def __str__(self) -> str:
        """``a; b from about 610 [512, 1,024]``."""
        if self.unknown == self.lengths:
            return "not known: no intervals"
        left = f"; not known at {_listed(self.unknown)}: no intervals" if self.unknown else ""
        return self._told() + left

    def _told(self) -> str:
        if not self.leads:
            return "not told apart"
        if self.crossings:
            changes = (
                f"{one.model} from about {min(max(float(f'{one.length:.2g}'), one.low), one.high):,.0f} "
                f"[{one.low:,}, {one.high:,}]"
                for one in self.crossings
            )
            last = self.leads[-1].lengths[-1]
            end = "" if last == self.lengths[-1] else f", told apart to {last:,}"
            return "; ".join([self.leads[0].model, *changes]) + end
        (lead,) = self.leads
        left = [length for length in self.lengths if length not in lead.lengths]
        if not left:
            return f"{lead.model}, at every length"
        if self.unknown:
            return f"{lead.model}, told apart at {_listed(lead.lengths)}"
        if len(left) < len(lead.lengths):
            return f"{lead.model}, at every length but {_listed(left)}"
        return f"{lead.model}, told apart at {_listed(lead.lengths)}"


def _listed(lengths: Sequence[int]) -> str:
    return ", ".join(f"{length:,}" for length in lengths)


def races(records: pd.DataFrame, model: str = "model") -> Iterator[Race]:
    """Every two models in every metric at every batch where both were measured at two lengths or more.

    Where their intervals overlap, or one has none, two models are not told apart; what is counted is exact.
    Forecasts are compared on one machine.

    Args:
        records: of axis E.
        model: column that names what is compared.
    """
    rows = records[(records["value"] > 0) & records["batch"].notna() & records["length"].notna()]
    rows = rows.astype({"value": float, "low": float, "high": float})
    exact = (rows["basis"] == "counted") & rows["high"].isna()
    for limit in ("low", "high"):
        rows[limit] = rows[limit].where(~exact, rows["value"])
    known: dict[tuple[str, str, int], dict[str, dict[int, dict[str, float]]]] = {}
    for row in rows_of(rows):
        key = str(row["metric"]), str(row["phase"]), int(row["batch"])
        known.setdefault(key, {}).setdefault(row[model], {})[int(row["length"])] = row
    forms = records.drop_duplicates([model])
    places = dict(zip(forms[model], zip(forms["machine"], forms["plan"], strict=True), strict=True))
    pairs = [pair for pair in combinations(places, 2) if places[pair[0]] == places[pair[1]]]
    for metric, phase in COMPARED:
        for batch in sorted(key[2] for key in known if key[:2] == (metric, phase)):
            for one, other in pairs:
                a, b = (known[metric, phase, batch].get(name, {}) for name in (one, other))
                lengths = tuple(sorted(set(a) & set(b)))
                if len(lengths) > 1:
                    found = _leads((one, other), lengths, a, b)
                    unknown = tuple(n for n in lengths if math.isnan(a[n]["high"] + b[n]["high"]))
                    yield Race((one, other), batch, metric, phase, lengths, *found, unknown)


Values = Mapping[int, Mapping[str, float]]
"""Records of one model by length."""


def _leads(
    names: tuple[str, str], lengths: tuple[int, ...], a: Values, b: Values
) -> tuple[tuple[Lead, ...], tuple[Crossing, ...]]:
    def leader(length: int) -> str | None:
        if a[length]["high"] < b[length]["low"]:
            return names[0]
        return names[1] if b[length]["high"] < a[length]["low"] else None

    leads = tuple(Lead(name, own) for name, own in runs(lengths, leader))
    crossings = []
    for before, after in pairwise(leads):
        low, high = before.lengths[-1], after.lengths[0]
        between = [length for length in lengths if low <= length <= high]
        crossings.append(Crossing(after.model, _equal_at(between, a, b), low, high))
    return leads, tuple(crossings)


def _equal_at(lengths: list[int], a: Values, b: Values) -> float:
    """Tokens at which the logarithm of the ratio first passes 0; its sign differs at the ends."""
    ratios = [math.log(a[length]["value"] / b[length]["value"]) for length in lengths]
    for (left, before), (right, after) in pairwise(zip(lengths, ratios, strict=True)):
        if before * after <= 0 and before != after:
            share = before / (before - after)
            return math.exp(math.log(left) + share * math.log(right / left))
    raise AssertionError("the two lead at different ends")


def crossovers(evidence: Evidence) -> list[str]:
    """Where the fastest candidate of a study changes with length, at the operating point's batch.

    At each length the fastest is tested against the others as the headline's is; those that cannot be told
    from it are named with it. Candidates without skill are left out.
    """
    records, batch = evidence.records, evidence.at.batch
    rows = records[(records["metric"] == "latency_ms") & (records["phase"] == "classify")]
    rows = rows[(rows["batch"] == batch) & rows["value"].notna()]
    lengths = sorted(int(length) for length in rows["length"].dropna().unique())
    models: dict[str, Candidate] = {}
    for candidate in evidence.with_skill(evidence.candidates):
        models.setdefault(candidate.model, candidate)
    if len(lengths) < 2 or len(models) < 2:
        return []

    def leader(length: int) -> tuple[str, ...] | None:
        # Times need no answers, whose matrices would be formed again at each length.
        at = Evidence(records, evidence.items.iloc[:0], OperatingPoint(batch, length))
        return _fastest(at, list(models.values())) or None

    found = runs(lengths, leader)
    if not found:
        return []
    changes = "; ".join(f"from length {at[0]} {_named(names)}" for names, at in found)
    span = f"at every measured length, from {lengths[0]} to {lengths[-1]}"
    if len(found) == 1:
        names = found[0][0]
        if len(names) == 1:
            return [f"{names[0]} is the fastest model {span}."]
        return [f"{names[0]} is not distinguishably faster than {join(names[1:])} {span}."]
    if len({names[0] for names, _ in found}) == 1:
        return [f"{found[0][0][0]} is the fastest by the point estimate {span}: {changes}."]
    if len({names for names, _ in found if len(names) == 1}) > 1:
        return [f"Who is fastest depends on length: {changes}."]
    return [f"By the point estimate who is fastest changes with the length, which no test shows: {changes}."]


def _named(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]}, not distinguishable from {join(names[1:])}"


def _fastest(at: Evidence, models: list[Candidate]) -> tuple[str, ...]:
    """The fastest model, and those that are not distinguishable from it, in the study's order after it."""
    metric = METRICS["latency_ms"]
    values = {c.model: at.estimate(metric, c).value for c in models}
    known = [c for c in models if values[c.model] is not None]
    if not known:
        return ()
    first = min(known, key=lambda c: values[c.model] or 0.0)
    others = [c for c in known if c != first]
    found = at.distinguish(metric, first, others)
    return first.model, *(c.model for c, one in zip(others, found, strict=True) if not one.apart)
