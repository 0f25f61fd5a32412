"""Timing several models side by side: interleaved rounds, medians, distribution-free intervals.

One round runs every model once, and the order rotates from round to round, so a drift of the machine
(clock, heat, a neighbour) hits every model alike. What was run before a model leaves its data in the
caches; short operations are therefore run once untimed right before they are timed.

On a CPU shared with other work, spinning OpenMP threads can make a short operation many times slower;
``OMP_WAIT_POLICY=passive`` in the environment avoids it.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Run = Callable[[], Mapping[str, float]]
"""Does the work once; returns the seconds of each of its named, synchronised parts."""

FEWEST_ROUNDS = 6  # the fewest that define a 95% interval for a median
FEWEST_SLOW_ROUNDS = 3  # where more would take far longer than asked for
SLOW_FACTOR = 4.0  # for an interval, this many times the seconds asked for may be taken
CACHE_SENSITIVE_SECONDS = 0.1  # longer operations do not notice what the caches held before


class Median(NamedTuple):
    """A median with its 95% interval; without one where there are fewer than six samples."""

    value: float
    low: float | None
    high: float | None
    n: int


def median(samples: Sequence[float], confidence: float = 0.95) -> Median:
    """The median and its distribution-free interval between two order statistics.

    The interval (x_(k), x_(n+1-k)) misses the median with probability 2 P(Binomial(n, 1/2) < k); k is the
    largest rank for which that stays within 1 - ``confidence`` (David & Nagaraja, Order Statistics, 7.1).
    It assumes independent repetitions, not a distribution.
    """
    ordered = sorted(samples)
    n = len(ordered)
    tail, rank = 0.0, 0
    while rank < n:
        tail += math.comb(n, rank) / 2**n
        if 2 * tail > 1 - confidence:
            break
        rank += 1
    value = float(np.median(ordered))
    if rank == 0:
        return Median(value, None, None, n)
    return Median(value, ordered[rank - 1], ordered[n - rank], n)


def interleave(
    runs: Mapping[str, Run],
    *,
    most: int,
    seconds: float = math.inf,
    untimed: frozenset[str] = frozenset(),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[Mapping[str, float]]]:
    """Run every model once a round, in rotating order, until the time is used up.

    Args:
        runs: by model.
        most: rounds at most.
        seconds: time aimed at, for each model. Six rounds may take four times as long; then three are enough.
        untimed: models that are run once more, untimed, right before each repetition.
        clock: seconds, monotonic.

    Returns:
        By model, one mapping of seconds a round; all models have the same number.
    """
    names = list(runs)
    samples: dict[str, list[Mapping[str, float]]] = {name: [] for name in names}
    start, target = clock(), seconds * len(names)
    for done in range(most):
        elapsed = clock() - start
        fewest = FEWEST_ROUNDS if elapsed < SLOW_FACTOR * target else FEWEST_SLOW_ROUNDS
        if done >= fewest and elapsed >= target:
            break
        shift = done % len(names)
        for name in names[shift:] + names[:shift]:
            if name in untimed:
                runs[name]()
            samples[name].append(runs[name]())
    return samples
