"""Intervals: agreement with SciPy and scikit-learn, coverage by simulation, no zero width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from trilemma.statistics import intervals, resampling
from trilemma.statistics.sums import f1, macro_f1, matthews, pearson, ratio, spearman_contributions


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (3, 7), (17, 17), (400, 872)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    for confidence in (0.9, 0.95):
        expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
        assert intervals.wilson(successes, n, confidence) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        )


def test_without_clusters_and_seeds_the_cluster_bootstrap_is_wilson() -> None:
    right = np.arange(200) < 130
    assert intervals.hierarchical_bootstrap(right, np.arange(200)) == pytest.approx(
        intervals.wilson(130, 200)
    )


def test_copies_of_an_item_add_no_information() -> None:
    right = np.random.default_rng(0).random(80) < 0.6
    alone = intervals.hierarchical_bootstrap(right, np.arange(80))
    copied = intervals.hierarchical_bootstrap(np.repeat(right, 4), np.repeat(np.arange(80), 4))
    naive = intervals.wilson(4 * right.sum(), 320)
    assert copied == pytest.approx(alone, abs=0.012)
    assert copied.high - copied.low > 1.8 * (naive.high - naive.low)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), min_size=1, max_size=25),
    constant=st.sampled_from([None, 0.0, 1.0]),
)
def test_an_interval_holds_its_value_and_never_collapses(
    rows: list[tuple[bool, bool, int]], constant: float | None
) -> None:
    values = np.array([row[:2] for row in rows], dtype=float)
    if constant is not None:
        values[:] = constant
    clusters = np.array([row[2] for row in rows])
    low, high = intervals.hierarchical_bootstrap(values, clusters, draws=200)
    assert 0 <= low <= values.mean() + 1e-12 and values.mean() <= high + 1e-12 and high <= 1
    assert high - low > 0.01
    low, high = intervals.hierarchical_bootstrap(
        values - values[:, ::-1], clusters, kind="difference", draws=200
    )
    assert -1 <= low <= 0 <= high <= 1 and high - low > 0.01


def clustered(
    random: np.random.Generator, p: float, clusters: int, items: int, seed_sd: float, seeds: int
) -> tuple:
    """Right answers of several seeds on clustered items, by a probit model with mean ``p``."""
    sizes = 1 + random.multinomial(items - clusters, np.full(clusters, 1 / clusters))
    cluster = np.repeat(np.arange(clusters), sizes)
    latent = random.normal(0, 0.7, clusters)[cluster, None] + random.normal(0, 0.7, (items, seeds))
    between = seed_sd / stats.norm.pdf(stats.norm.ppf(p)) * np.sqrt(0.98)
    total = np.sqrt(0.98 + between**2)
    latent = latent + random.normal(0, between, seeds) + stats.norm.ppf(p) * total
    return latent > 0, cluster


@pytest.mark.parametrize(("p", "clusters", "items"), [(0.1, 10, 14), (0.9, 36, 81), (0.4, 87, 131)])
def test_cluster_intervals_cover(p: float, clusters: int, items: int) -> None:
    random, hits, runs = np.random.default_rng(5), 0, 300
    for run in range(runs):
        right, cluster = clustered(random, p, clusters, items, 0.0, 1)
        low, high = intervals.hierarchical_bootstrap(right[:, 0], cluster, draws=300, seed=run)
        hits += low <= p <= high
    assert 0.92 <= hits / runs <= 1


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_over_seeds_cover_where_items_alone_do_not(seeds: int) -> None:
    random, runs, p = np.random.default_rng(6), 250, 0.8
    hits = alone = 0
    for run in range(runs):
        right, cluster = clustered(random, p, 500, 600, 0.03, seeds)
        low, high = intervals.hierarchical_bootstrap(right, cluster, draws=300, seed=run)
        hits += low <= p <= high
        low, high = intervals.hierarchical_bootstrap(right.mean(axis=1), cluster, draws=300, seed=run)
        alone += low <= p <= high
    assert hits / runs >= 0.88
    assert alone < hits - 0.05 * runs


def test_difference_intervals_cover_and_pairing_narrows_them() -> None:
    random, runs, hits = np.random.default_rng(7), 200, 0
    for run in range(runs):
        difficulty = random.normal(0, 1, 60)[np.repeat(np.arange(60), 2), None]
        a, b = (difficulty + random.normal(mean, 0.5, (120, 2)) > 0 for mean in (0.3, 0.3))
        difference = intervals.paired_difference(a, b, np.repeat(np.arange(60), 2), draws=300, seed=run)
        low, high = difference.interval()
        hits += low <= 0 <= high
    assert hits / runs >= 0.92
    one, other = (intervals.hierarchical_bootstrap(x.mean(1), np.repeat(np.arange(60), 2)) for x in (a, b))
    assert high - low < (one.high - one.low) + (other.high - other.low)


def test_seeds_that_agree_add_nothing_and_seeds_that_differ_widen() -> None:
    right = np.random.default_rng(1).random(400) < 0.7
    single = intervals.hierarchical_bootstrap(right, np.arange(400))
    same = intervals.hierarchical_bootstrap(np.stack([right, right], axis=1), np.arange(400))
    assert same == pytest.approx(single, abs=0.006)
    worse = right & (np.arange(400) % 10 > 0)
    apart = intervals.hierarchical_bootstrap(np.stack([right, worse], axis=1), np.arange(400))
    assert apart.high - apart.low > 2 * (single.high - single.low)


def confusion(gold: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    return (gold * classes + answer)[:, None] == np.arange(classes**2)


@pytest.mark.parametrize("classes", [2, 3])
def test_matthews_is_scikit_learns(classes: int) -> None:
    random = np.random.default_rng(2)
    gold = random.integers(0, classes, 90)
    answer = np.where(random.random(90) < 0.6, gold, random.integers(0, classes, 90))
    for given_answer in (answer, np.zeros(90, dtype=int)):
        ours = matthews(confusion(gold, given_answer, classes).sum(0).astype(float))
        assert float(ours) == pytest.approx(matthews_corrcoef(gold, given_answer))


@pytest.mark.parametrize("classes", [2, 4])
def test_macro_f1_is_scikit_learns(classes: int) -> None:
    random = np.random.default_rng(5)
    gold = random.integers(0, classes, 90) % 3
    answer = np.where(random.random(90) < 0.6, gold, random.integers(0, classes, 90))
    for given_answer in (answer, np.zeros(90, dtype=int), gold):
        ours = macro_f1(confusion(gold, given_answer, classes).sum(0).astype(float))
        assert float(ours) == pytest.approx(f1_score(gold, given_answer, average="macro", zero_division=0))
    assert np.isnan(macro_f1(np.zeros(classes**2)))


def test_f1_and_correlations_are_those_of_scikit_learn_and_scipy() -> None:
    random = np.random.default_rng(3)
    gold, answer = random.random(60) < 0.4, random.random(60) < 0.5
    sums = np.array([2 * (gold & answer).sum(), gold.sum() + answer.sum()], dtype=float)
    assert float(f1(sums)) == pytest.approx(f1_score(gold, answer))
    assert float(f1(np.zeros(2))) == 0.0
    x = random.integers(0, 12, 200) / 2
    y = x + random.normal(0, 1.5, 200)
    moments = np.stack([np.ones(200), x, y, x * x, y * y, x * y], axis=-1).sum(0)
    assert float(pearson(moments)) == pytest.approx(stats.pearsonr(x, y).statistic)
    ranks = spearman_contributions(x, y)
    assert float(ratio(ranks.sum(0))) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert np.isnan(ratio(spearman_contributions(x, np.ones(200)).sum(0)))


def test_bootstraps_of_sums_match_resampling_the_items() -> None:
    random = np.random.default_rng(4)
    gold = random.integers(0, 2, 150)
    answer = np.where(random.random(150) < 0.75, gold, 1 - gold)
    x = random.normal(size=150)
    y = x + random.normal(0, 0.8, 150)
    rows = random.integers(0, 150, (1500, 150))
    cases = [
        (confusion(gold, answer, 2), matthews, lambda i: matthews_corrcoef(gold[i], answer[i])),
        (
            spearman_contributions(x, y),
            ratio,
            lambda i: stats.spearmanr(x[i], y[i]).statistic,
        ),
    ]
    for contributions, statistic, direct in cases:
        draws = statistic(resampling.bootstrap_totals(contributions.astype(float), 4000))
        expected = [direct(i) for i in rows[:600]]
        assert draws.std() == pytest.approx(np.std(expected), rel=0.12)
        assert draws.mean() == pytest.approx(np.mean(expected), abs=0.02)


def test_resamples_are_whole_paired_and_repeatable() -> None:
    blocks = list(resampling.bootstrap_counts(3000, 200, seed=1))
    assert len(blocks) > 1 and sum(len(block) for block in blocks) == 200
    assert all((block.sum(axis=1) == 3000).all() for block in blocks)
    for values in (np.random.default_rng(0).random(300), np.repeat([0.0, 1.0], 150)):
        sums = np.stack([values, 2 * values], axis=-1)
        draws = resampling.bootstrap_totals(sums, 3000, seed=3)
        assert np.allclose(draws[:, 1], 2 * draws[:, 0])
        assert np.array_equal(draws, resampling.bootstrap_totals(sums, 3000, seed=3))
        assert draws[:, 0].std() == pytest.approx(values.std() * np.sqrt(300), rel=0.06)


def test_a_mean_over_tasks_keeps_the_doubt_of_a_task_without_scatter() -> None:
    one = np.stack([np.arange(200) < 100, np.ones(200)], axis=-1).astype(float)[:, None]
    none = np.stack([np.zeros(10), np.ones(10)], axis=-1)[:, None]
    parts = [intervals.sample(sums, [[0]], ratio)[0] for sums in (one, none)]
    low, high = intervals.Sample.mean(parts).interval()
    alone = parts[0].interval()
    assert high - low > 1.2 * (alone.high - alone.low) / 2


def test_one_cluster_tells_nothing_however_many_seeds_answered_it() -> None:
    right = np.array([[1.0, 1.0, 0.0]] * 4)
    assert intervals.hierarchical_bootstrap(right, np.zeros(4)) == (0, 1)
    assert intervals.hierarchical_bootstrap(right - 0.5, np.zeros(4), kind="difference") == (-1, 1)
    assert intervals.hierarchical_bootstrap(np.ones(1), np.zeros(1)) == (0, 1)


def accuracy_and_f1(sums: np.ndarray) -> np.ndarray:
    return (ratio(sums[..., :2]) + f1(sums[..., 2:])) / 2


def few_items(random: np.random.Generator, n: int, recall: float, fall_out: float) -> intervals.Sample:
    """Accuracy and F1 of n items, 40% of them positive and at least one."""
    gold = np.arange(n) < max(1, random.binomial(n, 0.4))
    answer = random.random(n) < np.where(gold, recall, fall_out)
    both = np.stack([gold == answer, np.ones(n), 2 * (gold & answer), gold.astype(int) + answer], axis=-1)
    (found,) = intervals.sample(
        both[:, None].astype(float), [[0]], accuracy_and_f1, kind="fraction", draws=300
    )
    return found


@pytest.mark.parametrize(("recall", "fall_out"), [(0.8, 0.2), (0.95, 0.05), (0.3, 0.3)])
def test_intervals_of_f1_on_few_items_cover_alone_and_in_an_average(recall: float, fall_out: float) -> None:
    random, runs, alone, averaged = np.random.default_rng(8), 250, 0, 0
    accuracy = 0.4 * recall + 0.6 * (1 - fall_out)
    truth = (accuracy + 2 * 0.4 * recall / (0.4 * (1 + recall) + 0.6 * fall_out)) / 2
    for _ in range(runs):
        small = few_items(random, 7, recall, fall_out)
        right = np.stack([random.random(300) < 0.7, np.ones(300)], axis=-1).astype(float)
        (large,) = intervals.sample(right[:, None], [[0]], ratio, draws=300)
        low, high = small.interval()
        alone += low <= truth <= high
        low, high = intervals.Sample.mean([small, large]).interval()
        averaged += low <= (truth + 0.7) / 2 <= high
    assert alone / runs >= 0.93 and averaged / runs >= 0.93


def test_an_average_with_a_task_of_one_cluster_covers() -> None:
    random, runs, hits = np.random.default_rng(9), 200, 0
    for _ in range(runs):
        single = np.repeat(random.random(1) < 0.6, 3).astype(float)
        rows = np.stack([random.random(100) < 0.7, np.ones(100)], axis=-1).astype(float)[:, None]
        one = np.stack([single, np.ones(3)], axis=-1)[None]
        parts = [
            *intervals.sample(one, [[0, 1, 2]], ratio, draws=200),
            *intervals.sample(rows, [[0]], ratio, draws=200),
        ]
        low, high = intervals.Sample.mean(parts).interval()
        hits += low <= 0.65 <= high
    assert hits / runs >= 0.95


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_proportion_of_very_few_items_has_the_exact_interval(n: int) -> None:
    for successes in range(n + 1):
        expected = stats.binomtest(successes, n).proportion_ci(method="exact")
        found = intervals.hierarchical_bootstrap(np.arange(n) < successes, np.arange(n))
        assert found == pytest.approx((expected.low, expected.high))


def test_sums_over_clusters_of_no_columns_and_of_no_items_are_empty() -> None:
    assert resampling.cluster_sums(np.zeros((3, 0, 2)), np.array([0, 0, 1])).shape == (2, 0, 2)
    assert resampling.cluster_sums(np.zeros((0, 2)), np.array([], dtype=int)).shape == (0, 2)
