"""Interleaved rounds, medians and their intervals."""

import math

import pytest

from trilemma.profiling.timing import Run, interleave, median


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
