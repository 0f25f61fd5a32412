"""Timing several models side by side, and what their repetitions say.

One round runs every model once, and the order rotates from round to round, so a drift of the machine
(clock, heat, a neighbour) hits every model alike. What was run before a model leaves its data in the
caches; short operations are therefore run once untimed right before they are timed.

A time counts once it has settled, and is judged by its interval and its trend. Two numbers that are told
apart should differ by more than both intervals are wide, and a choice between models is made on differences
of a tenth; so an interval may reach 5% to either side, and a trend of 5% over the repetitions matters.

On a CPU shared with other work, spinning OpenMP threads can make a short operation many times slower;
``OMP_WAIT_POLICY=passive`` in the environment avoids it.
"""

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from trilemma.records import Steadiness

Sample = Mapping[str, float]
"""Seconds of the named parts of one repetition."""

Run = Callable[[], Sample]
"""Does the work once; returns the seconds of each of its named, synchronised parts."""

Key = TypeVar("Key", bound=Hashable)

FEWEST_ROUNDS = 6
"""The fewest that define a 95% interval for a median."""

FEWEST_SLOW_ROUNDS = 3
"""Where more would take far longer than asked for."""

SLOW_FACTOR = 4.0
"""For an interval, this many times the seconds asked for may be taken."""

WIDE_FACTOR = 2.0
"""This many times the seconds asked for may be spent while an interval is wide."""

CACHE_SENSITIVE_SECONDS = 0.1
"""Longer operations do not depend on what the caches held before."""

AGREEMENT = 0.05
"""Share by which two warm-up runs in a row may differ: first runs, in which memory is new and caches are
cold, take half as long again or many times as long, and are over after a few."""

MOST_WARM_UPS = 10
"""Work that is still not settled scatters, which its interval then shows."""

STEADY = 0.05
"""Largest half width of an interval over its median."""

DRIFT = 0.05
"""Smallest trend that matters: its change from the first repetition to the last, over the median."""

DRIFT_LEVEL = 0.01
"""Largest p-value of a trend that is called one; a profile tests many numbers."""


class Median(NamedTuple):
    """A median, or another quantile, with its 95% interval; without one where there are too few samples."""

    value: float
    low: float | None
    high: float | None
    n: int


class Drift(NamedTuple):
    """A trend of times over the rounds.

    Attributes:
        change: from the first round to the last, as a share of the median.
        p: probability of a trend as clear as this in repetitions that have none.
    """

    change: float
    p: float


@dataclass(frozen=True)
class Quantity:
    """A number that was found, with what is known of its certainty.

    Attributes:
        value: the number.
        low, high: 95% interval, where there is one.
        n: repetitions behind it, where it was repeated.
        verdict: what the repetitions of a time say of it.
        drift, drift_p: trend of that time over its repetitions.
        counted: whether it has no uncertainty.
        note: what a person should know beside it.
        rounds: the number of each repetition, in the order taken, where it is a time or follows from one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    verdict: Steadiness = ""
    drift: float | None = None
    drift_p: float | None = None
    counted: bool = False
    note: str = ""
    rounds: tuple[float, ...] = ()

    @classmethod
    def of_times(cls, samples: Sequence[float]) -> "Quantity":
        """The median of repeated times, in the order in which they were taken, with verdict and trend."""
        middle, trend = median(samples), drift(samples)
        change, p = trend or (None, None)
        return cls(*middle, verdict=verdict(middle, trend), drift=change, drift_p=p, rounds=tuple(samples))

    def times(self, factor: float) -> "Quantity":
        """So many times the number; of a rate per unit, the rate of all units."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        rounds = tuple(factor * one for one in self.rounds)
        return replace(self, value=factor * self.value, low=low, high=high, rounds=rounds)

    def rate(self, work: float) -> "Quantity":
        """``work`` over the number; the interval's ends change places."""
        low, high = (None if end is None else work / end for end in (self.high, self.low))
        rounds = tuple(work / one for one in self.rounds)
        return replace(self, value=work / self.value, low=low, high=high, rounds=rounds)


def median(samples: Sequence[float], confidence: float = 0.95) -> Median:
    """The median with its interval, for which six samples are needed; see :func:`quantile`."""
    return quantile(samples, 0.5, confidence)


def quantile(samples: Sequence[float], share: float, confidence: float = 0.95) -> Median:
    """A quantile and its distribution-free interval between two order statistics.

    Of n repetitions Binomial(n, share) lie below the quantile; its interval (x_(k), x_(l)) has the largest k
    with P(Binomial < k), and the smallest l with P(Binomial >= l), within half of 1 - ``confidence`` (David &
    Nagaraja, Order Statistics, 7.1). It assumes independent repetitions, not a distribution. Where there is
    no such k or l there is no interval: the 95th percentile needs 72 repetitions.
    """
    from scipy.stats import binom

    ordered, tail = sorted(samples), (1 - confidence) / 2
    n = len(ordered)
    value = float(np.quantile(ordered, share))
    below, above = int(binom.ppf(tail, n, share)), int(binom.isf(tail, n, share)) + 1
    if below < 1 or above > n:
        return Median(value, None, None, n)
    return Median(value, ordered[below - 1], ordered[above - 1], n)


def warm_up(run: Run, seconds: float) -> float:
    """Repeat work, untimed, until it has settled.

    That is when two repetitions in a row agree within :data:`AGREEMENT`. It also ends after
    :data:`MOST_WARM_UPS`, and once ``seconds`` have gone into it.

    Args:
        run: does the work once.
        seconds: most that is spent, but for the run in which it is passed.

    Returns:
        Seconds of the last repetition.
    """
    spent = taken = 0.0
    for _ in range(MOST_WARM_UPS):
        before, taken = taken, sum(run().values())
        spent += taken
        if spent > seconds or abs(taken - before) <= AGREEMENT * min(taken, before):
            break
    return taken


def interleave(
    runs: Mapping[Key, Run],
    *,
    most: int,
    seconds: float = math.inf,
    untimed: frozenset[Key] = frozenset(),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Key, list[Sample]]:
    """Run every model once per round, in rotating order, until the time is used up.

    Args:
        runs: by model.
        most: rounds at most.
        seconds: time aimed at, for each model. Six rounds may take four times as long; then three are enough.
            Where a median is still not steady then, up to twice the time is spent.
        untimed: models that are run once more, untimed, right before each repetition.
        clock: seconds, monotonic.

    Returns:
        By model, one sample per round; all models have the same number.
    """
    names = list(runs)
    samples: dict[Key, list[Sample]] = {name: [] for name in names}
    start, target = clock(), seconds * len(names)
    for done in range(most):
        elapsed = clock() - start
        fewest = FEWEST_ROUNDS if elapsed < SLOW_FACTOR * target else FEWEST_SLOW_ROUNDS
        if done >= fewest and elapsed >= target:
            spread = (median([sum(one.values()) for one in taken]) for taken in samples.values())
            if elapsed >= WIDE_FACTOR * target or all(map(is_narrow, spread)):
                break
        shift = done % len(names)
        for name in names[shift:] + names[:shift]:
            if name in untimed:
                runs[name]()
            samples[name].append(runs[name]())
    return samples


def drift(samples: Sequence[float]) -> Drift | None:
    """The trend of times over the rounds in which they were taken, in that order.

    Its p-value is that of the Mann-Kendall test, Kendall's rank correlation of time and round (Mann 1945,
    Econometrica 13; Kendall 1975, Rank Correlation Methods), which assumes no distribution; its size is that
    of the Theil-Sen slope (Sen 1968, Journal of the American Statistical Association 63).

    Returns:
        None for fewer repetitions than an interval needs.
    """
    if len(samples) < FEWEST_ROUNDS:
        return None
    if min(samples) == max(samples):
        return Drift(0.0, 1.0)
    from scipy import stats

    rounds = range(len(samples))
    p = float(stats.kendalltau(rounds, samples).pvalue)
    slope = float(stats.theilslopes(samples, rounds).slope)
    middle = sorted(samples)[len(samples) // 2]
    return Drift(slope * (len(samples) - 1) / middle if middle else 0.0, p)


def verdict(middle: Median, trend: Drift | None) -> Steadiness:
    """What is to be thought of a time.

    Args:
        middle: the median of its repetitions, with the interval.
        trend: of the same repetitions.
    """
    if middle.low is None or middle.high is None or trend is None:
        return "undecided"
    if trend.p < DRIFT_LEVEL and abs(trend.change) > DRIFT:
        return "drifting"
    return "steady" if is_narrow(middle) else "noisy"


def is_narrow(middle: Median) -> bool:
    """Whether a median has an interval of at most :data:`STEADY` to either side."""
    if middle.low is None or middle.high is None:
        return False
    return (middle.high - middle.low) / 2 <= STEADY * middle.value
