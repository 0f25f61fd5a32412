"""Whether repeated times can be believed: settled before they count, without a trend, close together.

The thresholds stand here alone. Two numbers that are told apart should differ by more than both intervals
are wide, and differences of a tenth are what a choice between models is made on; so an interval may reach
5% to either side, and a trend of 5% over the repetitions is one that matters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from trilemma.profiling.timing import FEWEST_ROUNDS, Median

Verdict = Literal["", "steady", "noisy", "drifting", "undecided"]
"""``undecided``: too few repetitions for an interval; "" for what is counted instead of timed."""

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


class Drift(NamedTuple):
    """A trend of times over the rounds.

    Attributes:
        change: from the first round to the last, as a share of the median.
        p: probability of a trend as clear as this in repetitions that have none.
    """

    change: float
    p: float


def warm_up(run: Callable[[], Mapping[str, float]], seconds: float) -> float:
    """Repeat work, untimed, until it has settled.

    That is when two repetitions in a row agree within :data:`AGREEMENT`. It also ends after
    :data:`MOST_WARM_UPS`, and once ``seconds`` have gone into it.

    Args:
        run: does the work once; returns the seconds of each of its parts.
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


def verdict(middle: Median, trend: Drift | None) -> Verdict:
    """What is to be thought of a time.

    Args:
        middle: the median of its repetitions, with the interval.
        trend: of the same repetitions.
    """
    if middle.low is None or middle.high is None or trend is None:
        return "undecided"
    if trend.p < DRIFT_LEVEL and abs(trend.change) > DRIFT:
        return "drifting"
    half = (middle.high - middle.low) / 2
    return "steady" if half <= STEADY * middle.value else "noisy"
