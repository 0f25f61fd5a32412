"""Interleaved rounds, medians and their intervals; warm-up, trends and verdicts of repeated times."""

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from trilemma.profiling.timing import (
    Drift,
    Median,
    Quantity,
    Run,
    drift,
    interleave,
    median,
    quantile,
    verdict,
    warm_up,
)


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (9, 2), (12, 3), (20, 6), (50, 18)])
def test_interval_of_the_median_is_the_tabulated_pair_of_order_statistics(n: int, rank: int) -> None:
    middle = median([float(value) for value in range(1, n + 1)][::-1])
    assert (middle.low, middle.high, middle.n) == (rank, n + 1 - rank, n)
    assert middle.value == (n + 1) / 2


@pytest.mark.parametrize("n", range(6, 60))
def test_interval_covers_at_least_95_percent_and_no_wider_than_needed(n: int) -> None:
    low = int(median([float(value) for value in range(1, n + 1)]).low or 0)

    def missed(rank: int) -> float:
        return 2 * sum(math.comb(n, below) for below in range(rank)) / 2**n

    assert missed(low) <= 0.05 < missed(low + 1)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_too_few_samples_have_no_interval(n: int) -> None:
    assert median([1.0] * n) == (1.0, None, None, n)


@pytest.mark.parametrize(
    ("n", "low", "high"), [(72, 64, 72), (100, 90, 100), (200, 184, 197), (71, None, None), (20, None, None)]
)
def test_interval_of_the_95th_percentile_is_between_order_statistics(
    n: int, low: int | None, high: int | None
) -> None:
    found = quantile([float(value) for value in range(1, n + 1)], 0.95)
    assert (found.low, found.high, found.n) == (low, high, n)
    assert found.value == pytest.approx(1 + 0.95 * (n - 1))


@pytest.mark.parametrize("n", [72, 73, 100, 200, 400])
def test_either_limit_of_the_95th_percentile_misses_at_most_half(n: int) -> None:
    found = quantile([float(value) for value in range(1, n + 1)], 0.95)
    assert found.low is not None and found.high is not None

    def below(most: float) -> float:
        """That of n repetitions at most so many lie below the quantile."""
        return sum(math.comb(n, k) * 0.95**k * 0.05 ** (n - k) for k in range(int(most) + 1))

    assert below(found.low - 1) <= 0.025 < below(found.low)
    assert 1 - below(found.high - 1) <= 0.025 < 1 - below(found.high - 2)


def test_a_time_keeps_its_rounds_in_order_and_what_follows_from_it_scales_them() -> None:
    time = Quantity.of_times([4.0, 1.0, 2.0])
    assert time.rounds == (4.0, 1.0, 2.0)
    assert time.times(10).rounds == (40.0, 10.0, 20.0)
    assert time.rate(8).rounds == (2.0, 8.0, 4.0)
    assert Quantity(3.0).times(2).rounds == ()


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (0.001, 50),  # quick: as many as allowed
        (0.125, 8),  # fills a second a model
        (0.5, 6),  # an interval is worth three times the time
        (1.0, 4),  # but no more than four times
        (5.0, 3),
    ],
)
def test_rounds_fill_the_time_but_stay_within_bounds(turn: float, expected: int) -> None:
    now = 0.0

    def run() -> dict[str, float]:
        nonlocal now
        now += turn
        return {"part": turn}

    samples = interleave({"a": run, "b": run}, most=50, seconds=1.0, clock=lambda: now)
    assert len(samples["a"]) == len(samples["b"]) == expected


def test_every_round_runs_every_model_in_rotating_order() -> None:
    called: list[str] = []

    def run_of(name: str) -> Run:
        def run() -> dict[str, float]:
            called.append(name)
            return {"part": float(len(called))}

        return run

    samples = interleave({name: run_of(name) for name in "abc"}, most=4)
    assert "".join(called) == "abc" + "bca" + "cab" + "abc"
    assert [sample["part"] for sample in samples["b"]] == [2, 4, 9, 11]


def test_an_untimed_run_comes_right_before_the_timed_one() -> None:
    called: list[str] = []

    def run_of(name: str) -> Run:
        def run() -> dict[str, float]:
            called.append(name)
            return {"part": float(len(called))}

        return run

    samples = interleave({name: run_of(name) for name in "ab"}, most=2, untimed=frozenset("a"))
    assert "".join(called) == "aab" + "baa"
    assert [sample["part"] for sample in samples["a"]] == [2, 6]


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


def test_a_time_knows_what_its_repetitions_say() -> None:
    time = Quantity.of_times([1.0, 1.01, 0.99, 1.0, 1.02, 0.98])
    assert (time.value, time.low, time.high, time.n) == (1.0, 0.98, 1.02, 6)
    assert time.verdict == "steady" and time.drift is not None and time.drift_p is not None
    assert time.times(1e3).low == pytest.approx(980) and time.times(1e3).verdict == "steady"
    rate = time.rate(2.0)  # the shortest time is the highest rate
    assert (rate.value, rate.low, rate.high) == pytest.approx((2.0, 2 / 1.02, 2 / 0.98))
    few = Quantity.of_times([1.0, 2.0])
    assert (few.low, few.high, few.drift, few.verdict) == (None, None, None, "undecided")
    assert few.rate(3.0).low is None
