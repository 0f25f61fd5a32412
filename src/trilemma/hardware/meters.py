"""Meters of energy: counters that the hardware keeps, and sums over samples where it reports only a power.

Which of them a machine has is found in :mod:`trilemma.hardware.meter_sources`.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trilemma.errors import TrilemmaError

SAMPLE_SECONDS = 0.05
"""Between samples of a power: several per update of the slowest sensor."""

WATCH_SECONDS = 10.0
"""Between readings of counters that wrap; the smallest range holds a minute at 1 kW."""


class MeterError(TrilemmaError):
    """A meter that can no longer be read."""


class Meter(Protocol):
    """Adds up the energy of one or more components.

    Attributes:
        source: what is read, e.g. ``RAPL counters of package-0 and dram-0``.
        shortest: seconds of the shortest window whose energy is to be trusted.
    """

    source: str
    shortest: float

    def read(self) -> Mapping[str, float]:
        """Joules by component since the meter was opened; a window's energy is the difference of two reads.

        Raises:
            MeterError: where it can no longer be read.
        """

    def close(self) -> None:
        """End what runs in the background."""


class Repeating:
    """Calls a function every so many seconds in a separate thread, until it fails or is stopped."""

    def __init__(self, seconds: float, action: Callable[[], object]) -> None:
        self._seconds, self._action = seconds, action
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._action()
            except TrilemmaError:
                return  # the next reader gets the error

    def stop(self) -> None:
        """End the thread; the function is not called after that."""
        self._ended.set()
        self._thread.join()


@dataclass(frozen=True)
class Counter:
    """A total that the hardware keeps.

    Attributes:
        component: what it counts, e.g. ``package-0``.
        joules: reads it.
        wraps: joules after which it begins at 0 again; infinite where it does not.
    """

    component: str
    joules: Callable[[], float]
    wraps: float = math.inf


class CounterMeter:
    """Adds up counters; those that wrap are read often enough that no round is missed.

    Args:
        counters: of different components.
        source: what a reader calls them.
        shortest: seconds of the shortest window.
        watch: seconds between readings that nobody asks for; by default they are made of counters that wrap.
    """

    def __init__(
        self, counters: Sequence[Counter], source: str, shortest: float, *, watch: float | None = None
    ) -> None:
        self.source, self.shortest = source, shortest
        self._counters = list(counters)
        self._lock = threading.Lock()
        self._last = {counter.component: counter.joules() for counter in counters}
        self._total = dict.fromkeys(self._last, 0.0)
        if watch is None and any(math.isfinite(counter.wraps) for counter in counters):
            watch = WATCH_SECONDS
        self._watch = None if watch is None else Repeating(watch, self.read)

    def read(self) -> Mapping[str, float]:
        """Joules by component since the meter was opened."""
        with self._lock:
            for counter in self._counters:
                now = counter.joules()
                step = now - self._last[counter.component]
                if step < 0:
                    step += counter.wraps
                if not 0 <= step < math.inf:
                    raise MeterError(f"the energy counter of {counter.component} was reset; measure again")
                self._last[counter.component] = now
                self._total[counter.component] += step
            return dict(self._total)

    def close(self) -> None:
        """End the thread that reads in the background."""
        if self._watch is not None:
            self._watch.stop()


def energy_of(watts: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """What reads the joules of a power that is sampled: the trapezoid rule, each read being a sample.

    Args:
        watts: reads the momentary power.
        clock: seconds, monotonic.
    """
    total, before = 0.0, None

    def joules() -> float:
        nonlocal total, before
        now, power = clock(), watts()
        then, last = before or (now, power)
        total += (now - then) * (power + last) / 2
        before = now, power
        return total

    return joules


class JoinedMeter:
    """Several meters as one."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = list(meters)
        self.source = ", ".join(meter.source for meter in meters)
        self.shortest = max(meter.shortest for meter in meters)

    def read(self) -> Mapping[str, float]:
        """Joules by component since the meters were opened."""
        return {name: joules for meter in self._meters for name, joules in meter.read().items()}

    def close(self) -> None:
        """Close all of them."""
        for meter in self._meters:
            meter.close()
