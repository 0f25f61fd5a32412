"""Warm-up, trends and verdicts of repeated times."""

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from trilemma.profiling.stability import Drift, drift, verdict, warm_up
from trilemma.profiling.timing import Median, median


def taking(*seconds: float) -> tuple[Callable[[], Mapping[str, float]], list[float]]:
    """Work whose repetitions take these times, then the last of them; and what was taken."""
    taken: list[float] = []
    rest = itertools.chain(seconds, itertools.repeat(seconds[-1]))

    def run() -> Mapping[str, float]:
        taken.append(next(rest))
        return {"half": taken[-1] / 2, "other": taken[-1] / 2}

    return run, taken


@pytest.mark.parametrize(
    ("seconds", "runs"),
    [
        ((0.01,), 2),  # settled at once
        ((0.09, 0.05, 0.03, 0.0299), 4),  # cold at first
        ((0.01, 0.0104), 2),
        ((0.01, 0.0106, 0.0106), 3),
        (tuple(0.01 * (1 + 0.1 * (i % 2)) for i in range(30)), 10),  # never settles
        ((0.6, 0.3, 0.2), 3),  # the time is used up
        ((5.0,), 1),
    ],
)
def test_warm_up_ends_when_two_repetitions_agree_or_time_is_up(seconds: tuple[float, ...], runs: int) -> None:
    run, taken = taking(*seconds)
    assert warm_up(run, 1.0) == pytest.approx(taken[-1])
    assert len(taken) == runs


def test_a_trend_is_found_with_its_size() -> None:
    found = drift([1.0 + 0.02 * i for i in range(11)])
    assert found is not None
    assert found.change == pytest.approx(0.2 / 1.1)
    assert found.p == pytest.approx(2 / math.factorial(11))


def test_order_matters_to_a_trend() -> None:
    rising = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    up, down = drift(rising), drift(rising[::-1])
    mixed = drift([1.3, 1.1, 1.5, 1.0, 1.4, 1.2])
    assert up is not None and down is not None and mixed is not None
    assert up.change > 0 > down.change and up.p == down.p == pytest.approx(2 / 720)
    assert mixed.p > 0.5


def test_trends_of_repetitions_without_one_are_rare() -> None:
    rng = np.random.default_rng(0)
    level = 0.05
    found = [drift(rng.lognormal(size=12).tolist()) for _ in range(400)]
    share = np.mean([one is not None and one.p < level for one in found])
    assert share < level + 3 * math.sqrt(level * (1 - level) / 400)


def test_few_or_equal_repetitions_have_no_trend() -> None:
    assert drift([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert drift([1.0] * 8) == Drift(0.0, 1.0)


def test_one_outlier_is_no_trend() -> None:
    found = drift([1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.01, 9.0])
    assert found is not None and abs(found.change) < 0.05


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([1.0, 1.01, 0.99, 1.0, 1.02, 0.98], "steady"),
        ([1.0, 1.2, 0.8, 1.1, 0.9, 1.0], "noisy"),
        ([1.0, 1.02, 1.04, 1.06, 1.08, 1.10, 1.12], "drifting"),
        ([1.0, 1.001, 1.002, 1.003, 1.004, 1.005, 1.006], "steady"),  # a trend too small to matter
        ([1.0, 1.0, 1.0], "undecided"),
    ],
)
def test_verdicts(samples: list[float], expected: str) -> None:
    assert verdict(median(samples), drift(samples)) == expected


def test_an_interval_just_within_the_bound_is_steady() -> None:
    assert verdict(Median(1.0, 0.951, 1.049, 9), Drift(0.0, 1.0)) == "steady"
    assert verdict(Median(1.0, 0.949, 1.051, 9), Drift(0.0, 1.0)) == "noisy"
