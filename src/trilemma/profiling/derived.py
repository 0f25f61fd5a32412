"""What follows from measured times: energy at a given power, and shares of the roofline."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS
from trilemma.operating_point import OperatingPoint
from trilemma.records import Record

Seconds = Callable[[float, OperatingPoint], float]
"""Seconds of an example or token, from a metric's value at a point."""

ESTIMATED: dict[tuple[str, str], tuple[str, Seconds]] = {
    ("latency_ms", "classify"): ("energy_j_per_example", lambda value, at: value / 1e3 / at.batch),
    ("latency_ms", "generate"): ("energy_j_per_example", lambda value, at: value / 1e3 / at.batch),
    ("ttft_ms", "prefill"): ("energy_j_per_token", lambda value, at: value / 1e3 / at.tokens),
    ("tpot_ms", "decode"): ("energy_j_per_token", lambda value, at: value / 1e3 / at.batch),
    ("examples_per_s", "train"): ("energy_j_per_example", lambda value, at: 1 / value),
}
"""The energy that is estimated from a metric in a phase."""

TIMES = {"classify": "latency_ms", "prefill": "ttft_ms", "decode": "latency_ms"}
"""The measured time that the roofline's least time of a phase is compared with."""


def energy_estimates(records: Iterable[Record], watts: float) -> Iterator[Record]:
    """Energy estimated as a given power times the measured time: records whose basis is ``estimated``.

    Args:
        records: measured times; of others there is no estimate.
        watts: active power, for instance the thermal design power (TDP), as the user gives it.

    Raises:
        TrilemmaError: where ``watts`` is not a positive number.
    """
    if not 0 < watts < math.inf:
        raise TrilemmaError(f"{watts:g} W is not a power; give the device's watts under load, for example 65")
    for record in records:
        found = ESTIMATED.get((record.metric, record.phase))
        if found is None or record.basis != "measured" or record.batch is None or record.length is None:
            continue
        metric, seconds = found
        point = OperatingPoint(record.batch, record.length, record.decode or 0)
        rounds = tuple(watts * seconds(one, point) for one in record.rounds)
        ends = [watts * seconds(one, point) for one in (record.low, record.high) if one is not None]
        low, high = sorted(ends) if len(ends) == 2 else (None, None)
        note = f"estimate: {watts:g} W, as given, times the measured {METRICS[record.metric].title}"
        yield replace(
            record,
            metric=metric,
            unit="J",
            value=None if record.value is None else watts * seconds(record.value, point),
            low=low,
            high=high,
            rounds=rounds,
            basis="estimated",
            note="; ".join(filter(None, (note, record.note))) if record.value is not None else record.note,
        )


def roofline_shares(records: Iterable[Record]) -> Iterator[Record]:
    """The least time under the roofline over the measured one, of every pass of which there are both.

    Where one of them is not known, neither is the share, for the same reason.
    """
    kept = list(records)
    timed = [one for one in kept if TIMES.get(one.phase) == one.metric and one.basis == "measured"]
    times = {_place(one): one for one in timed}
    for least in kept:
        time = times.get(_place(least)) if least.metric == "roofline_ms" else None
        if time is None:
            continue
        share = replace(time, metric="roofline_share", unit="fraction", note="")
        if time.value is None:
            yield share
        elif least.value is None:
            yield share.without_value(least.reason, least.status, verdict="", drift=None, drift_p=None)
        else:
            value = least.value / time.value
            low, high = (None if end is None else least.value / end for end in (time.high, time.low))
            above = "above 1: part of what is read is in the caches, or less is computed than counted"
            note = "; ".join([least.note, *([above] if value > 1 else [])])
            rounds = tuple(least.value / one for one in time.rounds)
            yield share.with_value(value, low, high, note=note, rounds=rounds)


def _place(record: Record) -> tuple[Any, ...]:
    form = (record.model, record.precision, record.attention, record.compiled)
    return (*form, record.phase, record.batch, record.length, record.decode)
