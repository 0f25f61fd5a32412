import pandas as pd
import pytest

from synthetic import frames
from trilemma.report.cautions import cautions, join, study_notes
from trilemma.report.evidence import Evidence
from trilemma.report.pareto import three_axes
from trilemma.report.verdict import Verdict, verdict


def judge(records: pd.DataFrame, items: pd.DataFrame) -> Verdict:
    evidence = Evidence(records, items)
    return verdict(
        evidence, three_axes(evidence), evidence.comparisons("robust_accuracy") if len(items) else []
    )


def test_clear_winners_are_named() -> None:
    shown = judge(
        *frames(models=2, seeds=(0,), clean=600, adversarial=400, skill=(0.9, 0.7), robustness=(0.2, 0.7))
    )
    assert (
        shown.headline == "transformer-pp-nano is the fastest and most accurate; gla-nano is the most robust."
    )
    text = shown.text()
    assert "On the Pareto front of median latency, clean accuracy and robust accuracy" in text
    assert "Who is fastest depends on length" in text


def test_equal_candidates_are_not_told_apart() -> None:
    shown = judge(*frames(models=2, seeds=(0,), adversarial=60, skill=(0.8, 0.8), robustness=(0.5, 0.5)))
    assert "On performance and robustness no candidate is distinguishably the best." in shown.headline
    performance, robustness = shown.rankings[1:]
    assert performance.ties and robustness.ties


def test_one_candidate_is_not_compared() -> None:
    shown = judge(*frames(models=1, seeds=(0,)))
    assert "only candidate" in shown.headline


def test_an_axis_that_was_not_measured_is_said() -> None:
    records, items = frames(models=2, seeds=(0,))
    shown = judge(records[records["axis"] != "E"], items)
    assert "Efficiency was not measured." in shown.headline
    only = records[records["axis"] == "E"]
    shown = judge(only, items.iloc[:0])
    assert "Performance and robustness were not measured." in shown.headline


def test_robustness_without_skill_is_called_meaningless() -> None:
    records, _ = frames(models=2, seeds=(0,), skill=(0.5, 0.9))
    flagged = [caution for caution in cautions(records) if "meaningless" in caution]
    assert [caution.split(",")[0] for caution in flagged] == ["On sst2", "On qnli"]
    assert all("meaningless for transformer-pp-nano:" in caution for caution in flagged)


def test_a_leader_without_skill_is_not_crowned() -> None:
    shown = judge(*frames(models=2, seeds=(0,), skill=(0.5, 0.9), robustness=(0.8, 0.2), adversarial=300))
    assert shown.rankings[2].leader == "transformer-pp-nano"
    assert "most robust" not in shown.headline
    assert "Robustness is meaningless for transformer-pp-nano" in shown.headline
    assert "Meaningless for transformer-pp-nano on sst2, qnli." in shown.text()


def test_robustness_that_is_meaningless_on_some_tasks_keeps_its_ranking() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=300, robustness=(0.2, 0.7))
    average = (records["task"] == "average") & (records["axis"] == "R") & (records["model"] == "gla-nano")
    records.loc[average, "note"] = "robustness is meaningless for qnli"
    shown = judge(records, items)
    assert "gla-nano is the most robust" in shown.headline
    assert "On qnli robustness is meaningless for gla-nano" in shown.headline
    assert shown.rankings[2].without_skill == []
    assert shown.rankings[2].partly_meaningless == {("qnli",): ["gla-nano"]}


def test_verdict_and_comparisons_correct_alike() -> None:
    records, items = frames(models=4, seeds=(0,), adversarial=160, robustness=(0.4, 0.56, 0.47, 0.4))
    evidence = Evidence(records, items)
    shown = verdict(evidence, None, [])
    for ranking, metric in zip(shown.rankings[1:], ("accuracy", "robust_accuracy"), strict=True):
        overall = [
            c for c in evidence.comparisons(metric) if c.task == "average" and c.level in ("clean", "all")
        ]
        adjusted = {frozenset((c.a, c.b)): c.p_adjusted for c in overall}
        assert len(ranking.p_values) == 3
        for other, p in ranking.p_values.items():
            assert p == adjusted[frozenset((str(ranking.leader), other))]


def test_partial_unmeasured_and_fake_quantised_are_said() -> None:
    records, _ = frames(tasks=("sst2", "qqp"), seeds=(0,), note="generated data")
    said = "\n".join(cautions(records))
    assert "Partial, with fewer rows than the official split: qqp validation." in said
    assert "Not measured (no energy meter): energy joules per token." in said
    assert "Not measured (no original): attack success rate" in said and ", at human level, in " in said
    assert "Not measured (out of memory): peak training memory, at batch 1, length 2048" in said
    assert "matmul-free-nano was measured with fake-quantised weights" in said
    assert "Generated data." in said
    assert study_notes(records) == ["generated data"]


def test_unequal_pretraining_failures_and_candidates_notes_are_said() -> None:
    records, _ = frames(models=2, seeds=(0,))
    base = records.iloc[[0]].assign(axis="P", metric="pretraining_tokens", value=None)
    more = [
        base.assign(model="gla-nano", value=1e7, note="corpus: novels"),
        base.assign(model="transformer-pp-nano", note="not measured: pretrained elsewhere"),
        base.assign(metric="accuracy", task="rte", seed=1, note="not measured: failed: loss is not a number"),
    ]
    known = (records["metric"] == "parameters") & (records["model"] == "gla-nano")
    records.loc[known, "note"] = "training data overlaps some tasks"
    said = "\n".join(cautions(pd.concat([records, *more])))
    assert "do not share their pretraining" in said
    assert "gla-nano (10,000,000 tokens; corpus: novels)" in said
    assert "transformer-pp-nano (pretrained elsewhere)" in said
    assert "Failed: transformer-pp-nano on rte, seed 1: loss is not a number." in said
    assert "gla-nano: training data overlaps some tasks." in said


@pytest.mark.parametrize(
    ("words", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_joined(words: list[str], text: str) -> None:
    assert join(words) == text
