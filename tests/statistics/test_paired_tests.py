"""Paired tests: exactness against enumeration and SciPy, size under the null, Holm."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trilemma.statistics import paired_tests
from trilemma.statistics.sums import ratio

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(answers)
def test_mcnemar_is_the_binomial_test_and_the_sign_flip_test(rows: list[tuple[bool, bool]]) -> None:
    a, b = np.array(rows).T
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert paired_tests.mcnemar_exact(a, b) == pytest.approx(expected)
    assert paired_tests.mcnemar_exact(b, a) == pytest.approx(expected)
    assert paired_tests.sign_flip_permutation(a.astype(float) - b) == pytest.approx(expected)


def enumerated(sums: np.ndarray) -> float:
    signs = np.array(list(itertools.product([-1, 1], repeat=len(sums))))
    return float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=11), st.sampled_from([1, 2, 3, 6]))
def test_sign_flip_is_exact_on_multiples_of_a_step(steps: list[int], seeds: int) -> None:
    assert paired_tests.sign_flip_permutation(np.array(steps) / seeds) == pytest.approx(
        enumerated(np.array(steps))
    )


def test_sign_flip_by_cluster_is_scipys_on_real_numbers() -> None:
    random = np.random.default_rng(0)
    clusters, differences = np.repeat(np.arange(11), 3), random.normal(0.3, 1, 33)
    sums = np.bincount(clusters, differences)
    expected = stats.permutation_test(
        (sums,), lambda x, axis: x.sum(axis), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert paired_tests.sign_flip_permutation(differences, clusters) == pytest.approx(expected)


def test_monte_carlo_agrees_with_the_exact_test_and_is_never_zero() -> None:
    random = np.random.default_rng(1)
    steps = random.integers(-3, 5, 40)
    exact = paired_tests.sign_flip_permutation(steps)
    drawn = paired_tests.sign_flip_permutation(steps * np.pi + 1e-3 * random.normal(size=40))
    assert drawn == pytest.approx(exact, abs=0.015)
    assert paired_tests.sign_flip_permutation(random.random(60), draws=999) == 1 / 1000


def test_ties_are_counted_whole() -> None:
    assert paired_tests.sign_flip_permutation([1.0, 1.0, 1.0]) == pytest.approx(0.25)
    assert paired_tests.sign_flip_permutation([0.0, 0.0]) == 1.0


def test_differences_that_cancel_within_a_cluster_are_no_difference() -> None:
    assert paired_tests.sign_flip_permutation([0.1, 0.2, -0.3, 1.0], np.array([0, 0, 0, 1])) == 1.0
    assert paired_tests.sign_flip_permutation([0.1, 0.2, -0.3], np.zeros(3)) == 1.0
    tiny = paired_tests.sign_flip_permutation(np.full(8, 1e-9), np.arange(8))
    assert tiny == pytest.approx(2 / 2**8)


def test_large_exact_tests_keep_their_small_p() -> None:
    a = np.ones(4000)
    a[:1500] = 0
    b = np.ones(4000)
    b[1000:3000] = 0
    expected = stats.binomtest(1000, 2500).pvalue
    assert paired_tests.sign_flip_permutation(a - b) == pytest.approx(expected, rel=1e-6)


def test_swapping_a_conditional_rate_is_exact_with_few_clusters() -> None:
    random = np.random.default_rng(2)
    a, b = (
        np.stack([random.integers(0, 3, 8), random.integers(2, 5, 8)], axis=-1).astype(float)
        for _ in range(2)
    )
    observed = abs(a[:, 0].sum() / a[:, 1].sum() - b[:, 0].sum() / b[:, 1].sum())
    hits = 0
    for pattern in itertools.product([False, True], repeat=8):
        swap = np.array(pattern)[:, None]
        one, other = np.where(swap, b, a).sum(0), np.where(swap, a, b).sum(0)
        hits += abs(one[0] / one[1] - other[0] / other[1]) >= observed - 1e-9
    assert paired_tests.swap_permutation(a, b, ratio) == pytest.approx(hits / 256)


def test_the_cluster_test_holds_its_size_where_ignoring_clusters_does_not() -> None:
    random, runs = np.random.default_rng(3), 300
    clusters = np.repeat(np.arange(30), 5)
    by_cluster = by_item = 0
    for _ in range(runs):
        shared = random.normal(0, 1, (30, 2))[clusters] + random.normal(0, 0.3, (150, 2))
        difference = (shared[:, 0] > 0).astype(float) - (shared[:, 1] > 0)
        by_cluster += paired_tests.sign_flip_permutation(difference, clusters) < 0.05
        by_item += paired_tests.sign_flip_permutation(difference) < 0.05
    assert by_cluster / runs < 0.08
    assert by_item / runs > 0.2


def test_holm_on_a_worked_example() -> None:
    assert paired_tests.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = paired_tests.holm([0.02, np.nan, 0.9])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.9]) and np.isnan(adjusted[1])
    assert len(paired_tests.holm([])) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted, p = paired_tests.holm(p_values), np.array(p_values)
    assert (adjusted >= p - 1e-12).all() and (adjusted <= np.minimum(1, len(p) * p) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_rounds_find_what_a_shared_drift_hides_and_nothing_where_nothing_is() -> None:
    random, found, false = np.random.default_rng(11), 0, 0
    for _ in range(300):
        drift = np.exp(np.cumsum(random.normal(0, 0.1, 12)))
        one, same = (drift * np.exp(random.normal(0, 0.02, 12)) for _ in range(2))
        ratio, low, high, p = paired_tests.rounds_test(1.05 * one, same)
        assert low < ratio < high
        found += p < 0.05
        false += paired_tests.rounds_test(one, same)[-1] < 0.05
    assert found / 300 > 0.9 and false / 300 < 0.08
    assert stats.ttest_1samp(np.log(1.05 * one / same), 0).pvalue == pytest.approx(p)
