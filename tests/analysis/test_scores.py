"""The records of axes P and R, from answers that are known."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from tests.stand_ins.answered import answered, skilled
from trilemma import tasks
from trilemma.analysis.lookup import flagged
from trilemma.analysis.scores import leaderboard_score, score
from trilemma.records import ITEMS, MEANINGLESS, PARTIAL, RECORDS, records_table
from trilemma.report.layout import sheets
from trilemma.report.tables import build
from trilemma.statistics import intervals
from trilemma.tasks.task import AdversarialExamples, Task

LEVELS = ["word", "word", "sentence", "human"] * 20
SEEDS = (0, 1)


def scored(items: pa.Table, partial: dict[tuple[str, str], bool] | None = None) -> pd.DataFrame:
    known = {name: tasks.get(name) for name in dict.fromkeys(items.column("task").to_pylist())}
    table = records_table(score(items, known, partial=partial or {}))
    assert table.schema == RECORDS
    return table.to_pandas()


def cell(
    records: pd.DataFrame, metric: str, task: str, level: str, seed: int | None = None, method: str = ""
) -> pd.Series:
    rows = records[(records["metric"] == metric) & (records["task"] == task) & (records["level"] == level)]
    rows = rows[(rows["method"] == method) & (rows["seed"].isna() if seed is None else rows["seed"] == seed)]
    assert len(rows) == 1, f"{len(rows)} records of {metric} {task} {level}"
    return rows.iloc[0]


def study(skill: float = 0.8, robust: float = 0.5, task: str = "sst2") -> pa.Table:
    """One model, two seeds: a clean split of 300 items and 80 adversarial ones, 60 with an original."""
    random = np.random.default_rng(0)
    gold = np.array([0.0, 1.0, 1.0] * 100)
    clean = answered(task, "validation", gold, {("m", seed): skilled(random, gold, skill) for seed in SEEDS})
    gold = random.integers(0, 2, 80).astype(float)
    before = {("m", seed): skilled(random, gold, 0.85) for seed in SEEDS}
    adversarial = answered(
        task,
        f"adv_{task}",
        gold,
        {("m", seed): skilled(random, gold, robust) for seed in SEEDS},
        levels=LEVELS,
        methods=["TextBugger" if level == "word" else f"other {level}" for level in LEVELS],
        origins=[f"o{i // 2}" for i in range(80)],
        originals={
            k: [None if v == "human" else b for v, b in zip(LEVELS, c, strict=True)]
            for k, c in before.items()
        },
    )
    return pa.concat_tables([clean, adversarial])


def test_every_rate_is_what_its_definition_says() -> None:
    items = study()
    records, frame = scored(items), items.to_pandas()
    frame = frame[(frame["set"] == "adv_sst2") & (frame["seed"] == 1)]
    paired = frame[frame["original_answer"].notna()]
    right, before = paired["answer"] == paired["gold"], paired["original_answer"] == paired["gold"]
    expected = {
        "robust_accuracy": ((frame["answer"] == frame["gold"]).mean(), 80),
        "attack_success_rate": ((before & ~right).sum() / before.sum(), before.sum()),
        "accuracy_drop": (before.mean() - right.mean(), 60),
        "flip_rate": ((paired["answer"] != paired["original_answer"]).mean(), 60),
        "paired_clean_accuracy": (before.mean(), 60),
    }
    for metric, (value, n) in expected.items():
        one = cell(records, metric, "sst2", "all", seed=1)
        assert one["value"] == pytest.approx(value) and one["n"] == n and one["unit"] == "fraction"
        assert one["low"] < value < one["high"]
    word = frame[frame["level"] == "word"]
    one = cell(records, "robust_accuracy", "sst2", "word", seed=1, method="TextBugger")
    assert one["value"] == pytest.approx((word["answer"] == word["gold"]).mean())
    assert not len(records[(records["metric"] == "robust_accuracy") & (records["level"] == "unknown")])


def test_an_attack_lowers_accuracy_by_no_more_than_all_and_no_less_than_nothing() -> None:
    gold, before = [1.0, 0.0] * 4, [1.0, 0.0] * 3 + [0.0, 1.0]
    after = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]  # what was wrong stays wrong
    of_two = {("m", 0): after, ("m", 1): before}
    originals = {("m", seed): before for seed in SEEDS}
    attacked = answered(
        "sst2", "attack:pwws", gold, of_two, levels="word", methods="pwws", originals=originals
    )
    set_of_others = answered(
        "sst2", "adv_sst2", gold, of_two, levels="word", methods="x", originals=originals
    )
    drop = cell(scored(attacked), "accuracy_drop", "average", "all")
    assert drop["low"] == 0.0 < drop["value"] == 0.125 < drop["high"] <= 1.0
    assert cell(scored(set_of_others), "accuracy_drop", "sst2", "all")["low"] < 0


def test_values_over_seeds_are_means_and_their_intervals_hold_both_levels() -> None:
    items = study()
    records, frame = scored(items), items.to_pandas()
    by_seed = [cell(records, "robust_accuracy", "sst2", "all", seed=seed) for seed in SEEDS]
    overall = cell(records, "robust_accuracy", "sst2", "all")
    assert overall["value"] == pytest.approx(np.mean([one["value"] for one in by_seed]))
    assert overall["n"] == 160
    wide = frame[frame["set"] == "adv_sst2"].assign(right=lambda x: (x["gold"] == x["answer"]).astype(float))
    wide = wide.pivot(index=["id", "origin"], columns="seed", values="right")
    origins = wide.index.get_level_values("origin").to_numpy()
    interval = intervals.hierarchical_bootstrap(wide.to_numpy(), origins)
    assert (overall["low"], overall["high"]) == pytest.approx(interval, abs=0.015)


def test_clean_accuracy_of_one_seed_has_wilsons_interval() -> None:
    records = scored(study())
    one = cell(records, "accuracy", "sst2", "clean", seed=0)
    assert (one["low"], one["high"]) == pytest.approx(intervals.wilson(round(one["value"] * 300), 300))
    assert cell(records, "majority_accuracy", "sst2", "clean")["value"] == pytest.approx(2 / 3)
    assert cell(records, "chance_accuracy", "sst2", "clean")["value"] == 0.5
    assert cell(records, "majority_accuracy", "sst2", "sentence")["n"] == 20


def test_human_items_without_original_are_not_measured() -> None:
    records = scored(study())
    for metric in ("attack_success_rate", "accuracy_drop", "flip_rate", "paired_clean_accuracy"):
        for task in ("sst2", "average"):
            one = cell(records, metric, task, "human")
            assert one["reason"] == "no original" and pd.isna(one["value"])
    assert cell(records, "robust_accuracy", "sst2", "human")["value"] >= 0


def test_without_skill_on_clean_text_robustness_is_flagged() -> None:
    meaningless, sound = scored(study(skill=0.66)), scored(study(skill=0.9))
    for seed in (None, 0):
        assert MEANINGLESS in cell(meaningless, "robust_accuracy", "sst2", "all", seed=seed)["flags"]
    assert MEANINGLESS in cell(meaningless, "advglue_score", "average", "all")["flags"]
    assert not flagged(meaningless[meaningless["axis"] == "P"], MEANINGLESS).any()
    assert not flagged(sound, MEANINGLESS).any()


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_all_right_or_all_wrong_keeps_a_width(answer: float) -> None:
    items = answered("sst2", "adv_sst2", [1.0] * 17, {("m", 0): [answer] * 17}, levels="human")
    one = cell(scored(items), "robust_accuracy", "sst2", "human")
    assert one["value"] == answer and 0.1 < one["high"] - one["low"] < 0.3


def test_official_metrics_and_the_average_over_tasks() -> None:
    random = np.random.default_rng(1)
    parts, answers = [], {}
    for task in ("qqp", "cola"):
        gold = (random.random(400) < 0.6).astype(float)
        answers[task] = gold, skilled(random, gold, 0.8)
        parts.append(answered(task, "validation", gold, {("m", 0): answers[task][1]}))
    gold = np.round(random.random(200) * 25) / 5
    answers["stsb"] = gold, gold + random.normal(0, 1, 200)
    parts.append(answered("stsb", "validation", gold, {("m", 0): answers["stsb"][1]}, labels=None))
    records = scored(pa.concat_tables(parts), {("qqp", "validation"): True})
    expected = {
        ("qqp", "accuracy"): float((answers["qqp"][0] == answers["qqp"][1]).mean()),
        ("qqp", "f1"): f1_score(*answers["qqp"]),
        ("cola", "matthews"): matthews_corrcoef(*answers["cola"]),
        ("stsb", "pearson"): stats.pearsonr(*answers["stsb"]).statistic,
        ("stsb", "spearman"): stats.spearmanr(*answers["stsb"]).statistic,
    }
    for (task, metric), value in expected.items():
        one = cell(records, metric, task, "clean", seed=0)
        assert one["value"] == pytest.approx(value) and one["low"] < value < one["high"]
        assert 0.05 < (one["high"] - one["low"]) / 2 * np.sqrt(one["n"]) < 3
    by_task = {task: [[v for (t, _), v in expected.items() if t == task]] for task in answers}
    average = cell(records, "glue_score", "average", "clean")
    assert average["value"] == pytest.approx(leaderboard_score(by_task))
    assert average["low"] < average["value"] < average["high"] and PARTIAL in average["flags"]
    assert PARTIAL not in cell(records, "matthews", "cola", "clean")["flags"]
    assert PARTIAL in cell(records, "accuracy", "qqp", "clean")["flags"]
    assert not len(records[(records["task"] == "stsb") & (records["metric"] == "majority_accuracy")])


def test_macro_f1_scores_a_task_of_four_classes() -> None:
    random, labels = np.random.default_rng(2), ("ask", "buy", "claim", "other")
    gold = random.integers(0, 4, 300).astype(float)
    answers = skilled(random, gold, 0.7, classes=4)
    task = Task("channel", ("message",), labels, ("macro_f1", "accuracy"))
    items = answered("channel", "validation", gold, {("m", 0): answers}, labels=labels)
    records = records_table(score(items, {"channel": task}, partial={})).to_pandas()
    one = cell(records, "macro_f1", "channel", "clean", seed=0)
    assert one["value"] == pytest.approx(f1_score(gold, answers, average="macro"))
    assert one["low"] < one["value"] < one["high"] and one["unit"] == "fraction"


def test_hidden_labels_give_predictions_only() -> None:
    items = pa.concat_tables(
        [
            answered("ax", "test", [None] * 5, {("m", 0): [0, 1, 2, 0, 1]}, labels=("e", "n", "c")),
            answered("sst2", "validation", [0.0, 1.0], {("m", 0): [0.0, 1.0]}),
        ]
    )
    records = scored(items)
    one = cell(records, "matthews", "ax", "clean")
    assert pd.isna(one["value"]) and one["reason"] == "labels are unpublished, predictions only"
    assert cell(records, "glue_score", "average", "clean")["value"] == 1.0


def test_seeds_that_have_all_learnt_are_not_called_without_skill_for_differing() -> None:
    gold = np.array([0.0, 1.0] * 200)
    clean, adverse = [], []
    for right in (0.62, 0.95):
        wrong = np.arange(400) >= right * 400
        clean.append(np.where(wrong, 1 - gold, gold))
        adverse.append(gold[:20])
    items = [
        answered("sst2", "validation", gold, {("m", seed): clean[seed] for seed in SEEDS}),
        answered(
            "sst2", "adv_sst2", gold[:20], {("m", seed): adverse[seed] for seed in SEEDS}, levels="word"
        ),
    ]
    records = scored(pa.concat_tables(items))
    assert not flagged(records, MEANINGLESS).any()
    lucky = np.array([*clean[0][:40], *(1 - gold[40:])])
    items[0] = answered("sst2", "validation", gold, {("m", 0): lucky, ("m", 1): clean[1]})
    records = scored(pa.concat_tables(items))
    assert MEANINGLESS in cell(records, "robust_accuracy", "sst2", "all")["flags"]
    assert MEANINGLESS not in cell(records, "robust_accuracy", "sst2", "all", seed=1)["flags"]


def test_an_average_of_something_undefined_says_so() -> None:
    items = [
        answered("stsb", "validation", [0.0, 1.0, 2.5], {("m", 0): [1.0, 1.0, 1.0]}, labels=None),
        answered("sst2", "validation", [0.0, 1.0], {("m", 0): [0.0, 1.0]}),
    ]
    one = cell(scored(pa.concat_tables(items)), "glue_score", "average", "clean")
    assert pd.isna(one["value"]) and one["reason"] == "undefined for the answers on stsb"


def test_a_missing_seed_and_a_missing_task_are_told() -> None:
    gold = [0.0, 1.0] * 20
    both = {(model, seed): gold for model in "ab" for seed in SEEDS}
    few = {key: gold for key in both if key != ("b", 1)}
    parts = [
        answered("sst2", "validation", gold, both),
        answered("qnli", "validation", gold, few),
        answered("rte", "validation", gold, {key: gold for key in both if key[0] == "a"}),
    ]
    records = scored(pa.concat_tables(parts))
    b = records[records["model"] == "b"]
    assert cell(b, "accuracy", "qnli", "clean")["note"] == "1 of 2 seeds"
    assert cell(b, "glue_score", "average", "clean")["reason"] == "no answers for rte"
    a = records[records["model"] == "a"]
    assert cell(a, "glue_score", "average", "clean", seed=1)["value"] == 1.0


def test_seeds_without_a_common_item_are_told() -> None:
    items = answered(
        "sst2", "attack:x", [0.0, 1.0], {("m", 0): [0, 1], ("m", 1): [0, 1]}, levels="word"
    ).to_pandas()
    items = items[(items["id"] == "0") == (items["seed"] == 0)]
    records = scored(pa.Table.from_pandas(items, schema=ITEMS, preserve_index=False))
    reason = cell(records, "robust_accuracy", "sst2", "all")["reason"]
    assert reason == "no item was answered by all seeds"
    assert records["value"].isna().all()


def test_nothing_answered_is_nothing_recorded() -> None:
    assert score(ITEMS.empty_table(), {}) == []


def test_the_same_items_give_the_same_records() -> None:
    pd.testing.assert_frame_equal(scored(study()), scored(study()))


def test_advglues_published_counts(tmp_path: Path) -> None:
    if not (data := os.environ.get("TRILEMMA_DATA")):
        pytest.skip("TRILEMMA_DATA is not set: AdvGLUE is not at hand")
    source, random, parts = tasks.open_source(f"folder:{data}"), np.random.default_rng(2), []
    for name in ("sst2", "qqp", "mnli", "qnli", "rte"):
        task = tasks.get(name)
        for examples in source.adversarial(task, "advglue"):
            assert isinstance(examples, AdversarialExamples)
            gold = np.array(examples.labels, dtype=float)
            paired = [original is not None for original in examples.originals]
            parts.append(
                answered(
                    name,
                    examples.split,
                    gold,
                    {("m", 0): skilled(random, gold, 0.4, task.outputs)},
                    labels=task.labels,
                    levels=examples.levels,
                    methods=examples.methods,
                    origins=examples.origins,
                    originals={("m", 0): [g if has else None for g, has in zip(gold, paired, strict=True)]},
                )
            )
    records = scored(pa.concat_tables(parts))
    by_level = {
        level: int(cell(records, "advglue_score", "average", level)["n"])
        for level in ("all", "word", "sentence", "human")
    }
    assert by_level == {"all": 738, "word": 455, "sentence": 201, "human": 82}
    assert cell(records, "accuracy_drop", "average", "all")["n"] == 656
    assert "nothing to measure for rte" in cell(records, "advglue_score", "average", "human")["note"]
    majority = records[(records["metric"] == "majority_accuracy") & (records["level"] == "all")]
    published = {
        "adv_sst2": 0.514,
        "adv_qqp": 0.590,
        "adv_mnli": 0.413,
        "adv_mnli_mismatched": 0.370,
        "adv_qnli": 0.5,
    }
    published["adv_rte"] = 0.568
    assert dict(zip(majority["set"], majority["value"], strict=True)) == pytest.approx(published, abs=0.0006)


def without_positive(seeds: tuple[int, ...] = (0,)) -> pa.Table:
    """QQP as AdvGLUE's development items are: at sentence level no item is of the positive class."""
    gold = [0.0, 1.0, 1.0, 0.0] * 3 + [0.0] * 5
    levels = ["word"] * 12 + ["sentence"] * 5
    answers = {("m", seed): gold for seed in seeds}
    adversarial = answered("qqp", "adv_qqp", gold, answers, levels=levels, originals=answers)
    clean = [0.0, 1.0] * 20
    return pa.concat_tables(
        [answered("qqp", "validation", clean, {key: clean for key in answers}), adversarial]
    )


def test_f1_without_a_positive_item_is_not_measured_and_costs_nothing() -> None:
    records = scored(without_positive())
    f1 = cell(records, "robust_f1", "qqp", "sentence")
    assert pd.isna(f1["value"]) and f1["reason"] == "no item of the positive class among 5"
    average = cell(records, "advglue_score", "average", "sentence")
    assert average["value"] == 1.0
    assert average["note"] == "accuracy alone for qqp: no item of the positive class among 5"
    assert cell(records, "robust_f1", "qqp", "all")["value"] == 1.0
    assert cell(records, "advglue_score", "average", "all")["note"] == ""


def test_tasks_scored_by_f1_have_its_baselines() -> None:
    random = np.random.default_rng(5)
    gold = np.array([1.0, 0.0, 0.0, 0.0] * 50)
    answers = {("m", 0): skilled(random, gold, 0.8)}
    records = scored(answered("mrpc", "validation", gold, answers))
    assert cell(records, "constant_f1", "mrpc", "clean")["value"] == pytest.approx(
        f1_score(gold, np.ones(200))
    )
    assert cell(records, "chance_f1", "mrpc", "clean")["value"] == pytest.approx(1 / 3)
    assert cell(records, "majority_accuracy", "mrpc", "clean")["value"] == 0.75
    [sheet] = [sheet for sheet in sheets(build(records, "performance")) if sheet.title.endswith("F1")]
    assert sheet.header == ("task", "n", "always yes", "m") and sheet.rows[0][2] == "40.0%"
    assert not len(scored(study()).query("metric == 'constant_f1'"))
