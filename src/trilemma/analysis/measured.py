"""Whether two measured values differ: by the rounds in which they took turns, or by their intervals."""

import math

from trilemma.analysis.lookup import Estimate
from trilemma.statistics.paired_tests import rounds_test

FEWEST_ROUNDS = 6
"""Rounds from which measurements that took turns are tested round by round."""


def p_of_measurements(a: Estimate, b: Estimate, *, exact: bool = False) -> float | None:
    """Two-sided p that two measured values are equal.

    What took turns is tested round by round, which a drift of the machine does not blur
    (:func:`trilemma.statistics.paired_tests.rounds_test`); else it is a normal test on the (logarithmic)
    intervals.

    Args:
        a: a value with its interval.
        b: the other.
        exact: whether values without an interval are exact; they simply differ.

    Returns:
        None where a value, or the interval of one that is not exact, is not known.
    """
    if any(one.value is None or (one.low is None and not exact) for one in (a, b)):
        return None
    if len(a.rounds) == len(b.rounds) >= FEWEST_ROUNDS:
        return rounds_test(a.rounds, b.rounds)[-1]
    (x, x_spread, x_log), (y, y_spread, y_log) = (spread_of(one) for one in (a, b))
    if x_log != y_log:
        x, y = a.value or 0.0, b.value or 0.0
    spread = math.hypot(x_spread, y_spread)
    if spread == 0:
        return 1.0 if x == y else 0.0
    return math.erfc(abs(x - y) / spread / math.sqrt(2))


def spread_of(one: Estimate) -> tuple[float, float, bool]:
    """Centre and standard deviation of a measured value, and whether they are logarithms."""
    from scipy.special import ndtri

    point, low, high = one.value or 0.0, one.low, one.high
    if low is None or high is None or low == high:
        return (math.log(point), 0.0, True) if point > 0 else (point, 0.0, False)
    wide = 2 * float(ndtri(0.5 + (one.confidence or 0.95) / 2))
    if point > 0 and 0 < low < high:
        return math.log(point), math.log(high / low) / wide, True
    return point, abs(high - low) / wide, False
