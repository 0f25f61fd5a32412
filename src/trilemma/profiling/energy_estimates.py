"""Estimates of energy: a given power times a measured time."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from trilemma.errors import TrilemmaError
from trilemma.profiling.points import Point
from trilemma.records import Record

ESTIMATED: dict[str, tuple[str, Callable[[float, Point], float]]] = {
    # seconds of an example or token, from the metric's value
    "latency_ms": ("estimated_energy_j_per_example", lambda value, point: value / 1e3 / point.batch),
    "ttft_ms": ("estimated_prefill_energy_j_per_token", lambda value, point: value / 1e3 / point.tokens),
    "tpot_ms": ("estimated_decode_energy_j_per_token", lambda value, point: value / 1e3 / point.batch),
    "training_examples_per_s": ("estimated_training_energy_j_per_example", lambda value, point: 1 / value),
}


def estimates(records: Iterable[Record], watts: float) -> Iterator[Record]:
    """Energy estimated as a given power times the measured time: metrics named ``estimated_...``.

    Args:
        records: measured times; of others there is no estimate.
        watts: active power, for instance the thermal design power (TDP), as the user gives it.

    Raises:
        TrilemmaError: where ``watts`` is no positive number.
    """
    if not 0 < watts < math.inf:
        raise TrilemmaError(f"{watts:g} W is no power; give the device's watts under load, for example 65")
    for record in records:
        if record.metric not in ESTIMATED or record.batch is None or record.length is None:
            continue
        metric, seconds = ESTIMATED[record.metric]
        point = Point(record.batch, record.length)
        ends = [None if end is None else watts * seconds(end, point) for end in (record.low, record.high)]
        low, high = sorted(end for end in ends if end is not None) if None not in ends else (None, None)
        yield replace(
            record,
            metric=metric,
            unit="J",
            value=None if record.value is None else watts * seconds(record.value, point),
            low=low,
            high=high,
            note=record.note if record.value is None else _note(record, watts),
        )


def _note(record: Record, watts: float) -> str:
    said = f"estimate: {watts:g} W, as given, times the measured {record.metric}"
    return f"{said}; {record.note}" if record.note else said
