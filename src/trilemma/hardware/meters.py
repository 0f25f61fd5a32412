"""Meters of energy: counters that the hardware keeps, and sums over samples where it reports only a power.

Which of them a machine has is found in :mod:`trilemma.hardware.meter_sources`.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trilemma.errors import TrilemmaError

SAMPLE_SECONDS = 0.05
"""Between samples of a power: several per update of the slowest sensor."""

MOST_WATTS = 10_000.0
"""No component draws more: a step beyond it is a counter that began anew, as after a suspend, not a wrap."""

WATCH_SECONDS = 10.0
"""Between readings of counters that wrap; the smallest range holds a minute at 1 kW."""


class MeterError(TrilemmaError):
    """A meter that can no longer be read."""


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
        every: seconds between readings that nobody asks for; infinite where none are needed.
    """

    component: str
    joules: Callable[[], float]
    wraps: float = math.inf
    every: float = math.inf


class Meter:
    """Adds up the energy of one or more components, each read often enough that no round of it is missed.

    Args:
        counters: of different components.
        source: what is read, e.g. ``RAPL counters of package-0 and dram-0``.
        shortest: seconds of the shortest window whose energy is to be trusted.
        clock: seconds, monotonic.

    Attributes:
        counters, source, shortest: as given.
    """

    def __init__(
        self,
        counters: Sequence[Counter],
        source: str,
        shortest: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters, self.source, self.shortest = list(counters), source, shortest
        self._lock, self._clock = threading.Lock(), clock
        self._read_at = dict.fromkeys((counter.component for counter in counters), clock())
        self._last = {counter.component: counter.joules() for counter in counters}
        self._total = dict.fromkeys(self._last, 0.0)
        every = min(counter.every for counter in counters)
        self._watch = Repeating(every, self.read) if math.isfinite(every) else None

    def read(self) -> Mapping[str, float]:
        """Joules by component since the meter was opened; a window's energy is the difference of two reads.

        Raises:
            MeterError: where it can no longer be read.
        """
        with self._lock:
            for counter in self.counters:
                now = counter.joules()
                step = now - self._last[counter.component]
                at = self._clock()
                most = MOST_WATTS * (at - self._read_at[counter.component] + 1)
                if step < 0:
                    step += counter.wraps
                    most = min(most, counter.wraps)
                if not 0 <= step <= most:
                    # The next read begins from here.
                    self._last[counter.component], self._read_at[counter.component] = now, at
                    raise MeterError(f"the energy counter of {counter.component} was reset; measure again")
                self._last[counter.component], self._read_at[counter.component] = now, at
                self._total[counter.component] += step
            return dict(self._total)

    def close(self) -> None:
        """End the thread that reads in the background."""
        if self._watch is not None:
            self._watch.stop()


def sampled(
    component: str,
    watts: Callable[[], float],
    *,
    every: float = SAMPLE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Counter:
    """A power that is sampled as a counter of energy: the trapezoid rule, each read being a sample.

    Args:
        component: whose power it is.
        watts: reads the momentary power.
        every: seconds between samples.
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

    return Counter(component, joules, every=every)


def joined(one: Meter, other: Meter) -> Meter:
    """Both as one meter, which takes their place."""
    one.close()
    other.close()
    counters, source = [*one.counters, *other.counters], f"{one.source}, {other.source}"
    return Meter(counters, source, max(one.shortest, other.shortest))
