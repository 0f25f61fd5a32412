"""Paired comparisons from the items table: values, tests, families, verdicts."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.stand_ins.answered import answered, skilled
from trilemma.analysis.answers import answer_matrices
from trilemma.analysis.candidates import candidates
from trilemma.analysis.comparisons import Comparison, Comparisons, compare
from trilemma.analysis.seed_noise import SeedNoise
from trilemma.errors import TrilemmaError
from trilemma.statistics import paired_tests

OFFICIAL = {"qqp": ("accuracy", "f1"), "stsb": ("pearson", "spearman")}


def clean(random: np.random.Generator, task: str, n: int, skills: dict[tuple[str, int], float]) -> pa.Table:
    gold = random.integers(0, 2, n).astype(float)
    return answered(
        task, "validation", gold, {key: skilled(random, gold, skill) for key, skill in skills.items()}
    )


def adversarial(
    random: np.random.Generator,
    task: str,
    n: int,
    skills: dict[tuple[str, int], float],
    name: str | None = None,
) -> pa.Table:
    """Word and sentence items, two of each origin, and human ones without original."""
    gold = random.integers(0, 2, n).astype(float)
    levels = [("word", "sentence", "human")[i % 3] for i in range(n)]
    before = {key: skilled(random, gold, 0.9) for key in skills}
    return answered(
        task,
        name or f"adv_{task}",
        gold,
        {key: skilled(random, gold, skill) for key, skill in skills.items()},
        levels=levels,
        origins=[f"o{i // 2}" for i in range(n)],
        originals={
            key: [None if level == "human" else value for level, value in zip(levels, column, strict=True)]
            for key, column in before.items()
        },
    )


def find(compared: list[Comparison], task: str, level: str) -> Comparison:
    (found,) = (one for one in compared if one.task == task and one.level == level)
    return found


def test_one_seed_on_clean_data_is_the_exact_mcnemar_test() -> None:
    random = np.random.default_rng(0)
    items = clean(random, "sst2", 300, {("a", 0): 0.9, ("b", 0): 0.75}).to_pandas()
    (one,) = compare(items, "a", "b", metric="accuracy")
    right = items.assign(right=items["gold"] == items["answer"]).pivot(
        index="id", columns="model", values="right"
    )
    assert one.p == pytest.approx(paired_tests.mcnemar_exact(right["a"], right["b"]))
    assert (one.a_value, one.b_value) == pytest.approx((right["a"].mean(), right["b"].mean()))
    assert one.difference == pytest.approx(right["a"].mean() - right["b"].mean())
    assert one.low < one.difference < one.high
    assert (one.n, one.clusters, one.seeds, one.family, one.test) == (300, 300, (1, 1), 1, "exact McNemar")
    assert one.verdict == "a better" and one.p_adjusted == one.p


def test_robust_accuracy_is_tested_by_origin() -> None:
    random = np.random.default_rng(1)
    items = adversarial(random, "sst2", 120, {("a", 0): 0.6, ("b", 0): 0.5}).to_pandas()
    one = find(compare(items, "a", "b"), "sst2", "all")
    wide = items.assign(right=(items["gold"] == items["answer"]).astype(float)).pivot(
        index=["id", "origin"], columns="model", values="right"
    )
    origins = wide.index.get_level_values("origin").to_numpy()
    assert one.p == pytest.approx(paired_tests.sign_flip_permutation(wide["a"] - wide["b"], origins))
    assert (one.n, one.clusters, one.test) == (120, 60, "sign flip by origin")


def test_paired_metrics_use_the_items_with_an_original_and_say_so_where_there_are_none() -> None:
    random = np.random.default_rng(2)
    items = adversarial(random, "sst2", 150, {("a", 0): 0.75, ("b", 0): 0.3}).to_pandas()
    compared = compare(items, "a", "b", metric="attack_success_rate")
    assert find(compared, "sst2", "human").reason == "no original"
    assert find(compared, "sst2", "human").p is None
    own = items[(items["model"] == "a") & (items["original_answer"] == items["gold"])]
    one = find(compared, "sst2", "all")
    assert one.a_value == pytest.approx((own["answer"] != own["gold"]).mean())
    assert one.difference < 0 and one.verdict == "a better"


def family(*parts: pa.Table, margins: dict[str, float] | None = None) -> list[Comparison]:
    matrices = answer_matrices(pa.concat_tables(parts).to_pandas())
    return Comparisons(matrices, {}, SeedNoise(matrices), margins).study


def test_all_tests_of_a_study_are_one_family_and_the_ranked_averages_may_spend_half() -> None:
    random = np.random.default_rng(3)
    skills = {(model, seed): 0.6 for model in "abc" for seed in (0, 1)}
    compared = family(*(adversarial(random, task, 60, skills) for task in ("sst2", "qnli")))
    tested = [one for one in compared if one.p is not None]
    assert {one.family for one in compared} == {len(tested)} and len(tested) > 30
    ranked = [one.metric == "advglue_score" and one.level == "all" for one in tested]
    assert sum(ranked) == 3
    shares = np.where(ranked, 0.5 / 3, 0.5 / (len(tested) - 3))
    expected = paired_tests.holm([one.p for one in tested], shares)
    assert [one.p_adjusted for one in tested] == pytest.approx(expected)
    assert all(one.p_adjusted >= one.p for one in tested)


def test_a_benchmark_of_one_level_is_tested_once() -> None:
    random = np.random.default_rng(6)
    gold = random.integers(0, 2, 60).astype(float)
    answers = {(name, 0): skilled(random, gold, 0.6) for name in "ab"}
    compared = family(answered("sst2", "attack:swap", gold, answers, levels="word"))
    assert [(one.metric, one.task, one.level) for one in compared if one.p is not None] == [
        ("robust_accuracy", "sst2", "word")
    ]


def test_the_largest_possible_difference_is_found_with_two_seeds() -> None:
    """Without any scatter the test on the items decides (all right against none, 40 items)."""
    gold = np.zeros(40)
    answers = {(name, seed): np.full(40, float(name == "b")) for name in "ab" for seed in (0, 1)}
    (one,) = family(answered("sst2", "validation", gold, answers))
    assert one.p == pytest.approx(2 * 0.5**40) and one.verdict == "a better"
    assert (one.difference, one.high) == (1.0, 1.0) and one.low > 0.9


def test_margins_tell_equivalent_candidates_from_undecided_ones() -> None:
    random = np.random.default_rng(7)
    gold = random.integers(0, 2, 4000).astype(float)
    same = skilled(random, gold, 0.9)
    other = np.where(random.random(4000) < 0.02, 1 - same, same)
    many = answered("sst2", "validation", gold, {("a", 0): same, ("b", 0): other})
    (one,) = family(many, margins={"accuracy": 0.03})
    assert one.verdict == "equivalent" or one.verdict == "a better"
    assert one.p_equivalent < 0.05
    few = answered("sst2", "validation", gold[:50], {("a", 0): same[:50], ("b", 0): other[:50]})
    (one,) = family(few, margins={"accuracy": 0.03})
    assert one.verdict == "not distinguishable" and one.p_equivalent > 0.05 and one.detectable > 0.03


def test_one_pair_asked_for_has_the_whole_studys_correction() -> None:
    random = np.random.default_rng(8)
    gold = random.integers(0, 2, 300).astype(float)
    answers = {(name, 0): skilled(random, gold, 0.6 + 0.05 * i) for i, name in enumerate("abcd")}
    items = answered("sst2", "validation", gold, answers)
    (pair,) = compare(items.to_pandas(), "b", "a", metric="accuracy")
    (listed,) = (one for one in family(items) if {one.a, one.b} == {"a", "b"})
    assert pair.p_adjusted == listed.p_adjusted and pair.family == 6
    assert pair == listed.turned() and pair.difference == -listed.difference


def test_seeds_that_disagree_make_a_difference_undecided() -> None:
    random = np.random.default_rng(4)
    gold = random.integers(0, 2, 4000).astype(float)
    steady = {("a", 0): 0.80, ("a", 1): 0.80, ("b", 0): 0.75, ("b", 1): 0.75}
    lucky = {("a", 0): 0.90, ("a", 1): 0.70, ("b", 0): 0.75, ("b", 1): 0.75}
    verdicts = []
    for skills in (steady, lucky):
        answers = {key: skilled(random, gold, skill) for key, skill in skills.items()}
        items = answered("sst2", "validation", gold, answers).to_pandas()
        (one,) = compare(items, "a", "b", metric="accuracy")
        right = items.assign(right=(items["gold"] == items["answer"]).astype(float))
        means = right.groupby(["id", "model"])["right"].mean().unstack()
        assert paired_tests.sign_flip_permutation(means["a"] - means["b"]) < 1e-3
        verdicts.append(one.verdict)
    assert verdicts == ["a better", "not distinguishable"]
    assert one.low < 0 < one.high


def test_the_leaderboards_rule_counts_sets_and_f1() -> None:
    random = np.random.default_rng(5)
    skills = {("a", 0): 0.7, ("b", 0): 0.6}
    parts = [
        adversarial(random, "qqp", 90, skills),
        adversarial(random, "mnli", 60, skills),
        adversarial(random, "mnli", 120, skills, "adv_mnli_mismatched"),
    ]
    items = pa.concat_tables(parts).to_pandas()
    average = find(compare(items, "a", "b", official=OFFICIAL), "average", "all")

    def accuracy(name: str) -> float:
        own = items[(items["set"] == name) & (items["model"] == "a")]
        return float((own["gold"] == own["answer"]).mean())

    own = items[(items["set"] == "adv_qqp") & (items["model"] == "a")]
    positive = (own["gold"] == 1) & (own["answer"] == 1)
    f1 = 2 * positive.sum() / ((own["gold"] == 1).sum() + (own["answer"] == 1).sum())
    expected = np.mean(
        [(accuracy("adv_qqp") + f1) / 2, (accuracy("adv_mnli") + accuracy("adv_mnli_mismatched")) / 2]
    )
    assert average.a_value == pytest.approx(expected)
    assert 0 < average.p <= 1 and average.low < average.difference < average.high


def test_null_comparisons_rarely_find_a_difference() -> None:
    random = np.random.default_rng(6)
    found = 0
    for _ in range(100):
        skills = {(model, seed): 0.6 + random.normal(0, 0.03) for model in "ab" for seed in (0, 1)}
        gold = random.integers(0, 2, 600).astype(float)
        items = answered(
            "sst2", "validation", gold, {key: skilled(random, gold, s) for key, s in skills.items()}
        )
        (one,) = compare(items.to_pandas(), "a", "b", metric="accuracy")
        found += one.verdict != "not distinguishable"
    assert found <= 10


def test_only_items_that_both_answered_are_compared() -> None:
    random = np.random.default_rng(7)
    items = clean(random, "sst2", 100, {("a", 0): 0.8, ("b", 0): 0.7}).to_pandas()
    kept = items[~((items["model"] == "b") & items["id"].isin(["0", "1", "2"]))]
    (one,) = compare(kept, "a", "b", metric="accuracy")
    assert one.n == 97


def test_a_task_that_one_candidate_lacks_is_not_averaged_over() -> None:
    random = np.random.default_rng(8)
    both = {("a", 0): 0.8, ("b", 0): 0.7}
    parts = [
        clean(random, "sst2", 50, both),
        clean(random, "qnli", 50, both),
        clean(random, "rte", 50, {("a", 0): 0.8}),
    ]
    compared = compare(pa.concat_tables(parts).to_pandas(), "a", "b", metric="accuracy")
    assert find(compared, "average", "clean").reason == "b has no answers for rte"
    assert find(compared, "rte", "clean").reason == "b has no answers"
    assert find(compared, "sst2", "clean").p is not None


def test_adaptations_are_candidates_of_their_own() -> None:
    gold = [0.0, 1.0, 1.0]
    parts = [
        answered("sst2", "validation", gold, {("a", 0): gold}, adaptation="full"),
        answered("sst2", "validation", gold, {("a", 0): [0, 0, 0]}, adaptation="lora"),
        answered("sst2", "validation", gold, {("b", 0): gold}, adaptation="full"),
    ]
    items = pa.concat_tables(parts).to_pandas()
    assert [one.name for one in candidates(items)] == ["a:full", "a:lora", "b"]
    (one,) = compare(items, "a:lora", "b:full", metric="accuracy")
    assert (one.a, one.b, one.difference) == ("a:lora", "b", pytest.approx(-2 / 3))
    with pytest.raises(TrilemmaError, match=r"no candidate is called 'a'; this study has: a:full, a:lora, b"):
        compare(items, "a", "b")
    with pytest.raises(TrilemmaError, match="no metric 'speed'"):
        compare(items, "a:lora", "b", metric="speed")


def test_matrices_keep_sets_apart_on_clean_data_and_join_origins_under_attack() -> None:
    gold = [0.0, 1.0]
    parts = [
        answered("mnli", name, gold, {("a", None): gold}, levels=level, origins=["x", "y"])
        for name, level in (("m", "clean"), ("mm", "clean"), ("adv_mnli", "word"), ("anli_r1", "unknown"))
    ]
    read = answer_matrices(pa.concat_tables(parts).to_pandas())
    assert [matrix.benchmark for matrix in read] == ["clean", "clean", "advglue", "anli"]
    assert len(set(read[0].cluster) | set(read[1].cluster)) == 4
    assert list(read[2].cluster) == list(read[3].cluster)
    assert list(read[0].seed) == [-1]


def test_an_answer_given_twice_is_refused() -> None:
    items = answered("sst2", "validation", [0.0], {("a", 0): [0.0]}).to_pandas()
    with pytest.raises(TrilemmaError, match="answer twice"):
        answer_matrices(pd.concat([items, items]))


def test_a_level_without_positive_items_is_compared_by_accuracy_alone() -> None:
    gold = [0.0, 1.0] * 6 + [0.0] * 4
    answers = {("a", 0): gold, ("b", 0): [0.0] * 14 + [1.0] * 2}
    items = answered("qqp", "adv_qqp", gold, answers, levels=["word"] * 12 + ["sentence"] * 4).to_pandas()
    compared = compare(items, "a", "b", official=OFFICIAL)
    sentence = [one for one in compared if one.level == "sentence"]
    assert [(one.task, one.a_value, one.b_value) for one in sentence] == [("qqp", 1.0, 0.5)]
    by_f1 = find(compare(items, "a", "b", metric="robust_f1", official=OFFICIAL), "qqp", "sentence")
    assert by_f1.reason == "no item of the positive class among 4"


def test_an_average_that_is_undefined_on_a_task_is_not_one_of_the_others() -> None:
    scores = [0.0, 1.0, 2.0, 3.0]
    items = pa.concat_tables(
        [
            answered("stsb", "validation", scores, {("a", 0): scores, ("b", 0): [1.0] * 4}, labels=None),
            answered("sst2", "validation", [0.0, 1.0], {("a", 0): [0.0, 1.0], ("b", 0): [0.0, 0.0]}),
        ]
    ).to_pandas()
    average = find(compare(items, "a", "b", metric="accuracy", official=OFFICIAL), "average", "clean")
    assert average.p is None and average.reason.startswith("pearson is undefined")
