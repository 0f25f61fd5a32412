"""Repetitions, peaks and costs as the values of a profile: medians with interval, trend and verdict."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trilemma.profiling.exchange import ABSENT, Value
from trilemma.profiling.measurements.memory import Peak
from trilemma.profiling.measurements.work import Cost
from trilemma.profiling.stability import Drift, drift, verdict
from trilemma.profiling.timing import Median, median

_UNDRIFTING = Drift(0.0, 1.0)


class Timed(NamedTuple):
    """A time in seconds, with what its repetitions say of it."""

    middle: Median
    trend: Drift | None

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Timed":
        """From repetitions in the order in which they were taken."""
        return cls(median(samples), drift(samples))

    def milliseconds(self) -> Value:
        """The time itself."""
        middle = self.middle
        low, high = (None if end is None else 1e3 * end for end in (middle.low, middle.high))
        return self._value(1e3 * middle.value, "ms", low, high)

    def per_second(self, work: float, unit: str, note: str = "") -> Value:
        """``work`` over the time; the interval's ends change places."""
        middle = self.middle
        low, high = (None if end is None else work / end for end in (middle.high, middle.low))
        return self._value(work / middle.value, unit, low, high, note)

    def _value(self, value: float, unit: str, low: float | None, high: float | None, note: str = "") -> Value:
        return Value(
            value=value,
            unit=unit,
            low=low,
            high=high,
            n=self.middle.n,
            verdict=verdict(self.middle, self.trend),
            drift=None if self.trend is None else self.trend.change,
            drift_p=None if self.trend is None else self.trend.p,
            note=note,
        )


def absent(units: Mapping[str, str], reason: str) -> dict[str, Value]:
    """Metrics (name to unit) without a value."""
    note = f"{ABSENT}{reason}"[:1000]
    return {name: Value(value=None, unit=unit, note=note) for name, unit in units.items()}


def counted(value: float, unit: str, note: str = "") -> Value:
    """A number without uncertainty."""
    return Value(value=float(value), unit=unit, note=note)


def memory(peak: Peak, parts: Mapping[str, str], rest: str) -> dict[str, Value]:
    """A peak and what it consists of.

    Args:
        peak: as measured.
        parts: metric to the peak's part.
        rest: metric of what is in none of them.
    """
    middle = Median(peak.bytes, peak.low, peak.high, peak.n)
    values = {
        "peak_memory_bytes": Value(
            value=peak.bytes,
            unit="bytes",
            low=peak.low,
            high=peak.high,
            n=peak.n,
            verdict=verdict(middle, _UNDRIFTING),
            note=peak.note,
        )
    }
    known = {metric: peak.parts[name] for metric, name in parts.items() if name in peak.parts}
    values |= {metric: counted(size, "bytes") for metric, size in known.items()}
    lacking = dict.fromkeys((metric for metric in parts if metric not in known), "bytes")
    values |= absent(lacking, "the model returned no cache whose layers could be counted")
    left = max(0.0, peak.bytes - sum(known.values()))
    return values | {rest: counted(left, "bytes", f"the peak less {', '.join(known)}")}


def costs(phase: str, cost: Cost) -> dict[str, Value]:
    """FLOPs and bytes of ``prefill`` or ``decode``."""
    values = {f"{phase}_flops": counted(cost.flops, "FLOPs")}
    if cost.bytes is None:
        return values | absent({f"{phase}_bytes": "bytes"}, cost.note)
    return values | {f"{phase}_bytes": counted(cost.bytes, "bytes")}


def roofline_share(phase: str, cost: Cost, timed: Timed) -> dict[str, Value]:
    """The least time under the roofline over the measured one."""
    name = f"{phase}_roofline_share"
    if cost.least_seconds is None:
        return absent({name: "fraction"}, cost.note)
    share = timed.per_second(cost.least_seconds, "fraction")
    note = cost.note
    if share.value is not None and share.value > 1:
        note += "; above 1: part of what is read lies in the caches, or less is computed than counted"
    return {name: share.model_copy(update={"note": note})}
