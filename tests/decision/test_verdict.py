import pandas as pd
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.analysis.cautions import all_generated, cautions
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.pareto import three_axes
from trilemma.decision.verdict import Verdict, verdict
from trilemma.records import GENERATED, MEANINGLESS, PARTIAL
from trilemma.report.sheets import training_sheet
from trilemma.units import join


def meaningless_on(records: pd.DataFrame, task: str, model: str) -> pd.DataFrame:
    """The records with the flag on a model's robustness on a task."""
    rows = (records["task"] == task) & (records["axis"] == "R") & (records["model"] == model)
    flags = zip(rows, records["flags"], strict=True)
    return records.assign(flags=[(MEANINGLESS,) if chosen else own for chosen, own in flags])


def judge(records: pd.DataFrame, items: pd.DataFrame) -> Verdict:
    evidence = Evidence(records, items)
    return verdict(evidence, three_axes(evidence))


def test_values_over_fewer_items_are_said() -> None:
    records, _ = frames(models=2, tasks=("sst2",), clean=60, adversarial=20)
    assert "answered" not in "\n".join(cautions(records))
    half = (records["model"] == "gla-nano") & (records["set"] == "validation")
    said = "\n".join(cautions(records.assign(n=records["n"].where(~half, records["n"] // 2))))
    assert "gla-nano answered 30 of the 60 items of sst2 validation: its values are over fewer items" in said


def test_training_on_part_of_a_split_is_said_and_shown() -> None:
    records, _ = frames(models=2, seeds=(0,))
    own = records[(records["metric"] == "parameters")].assign(adaptation="full", task="mnli", seed=0)
    note = "partial training split: 900 of 392,702 official rows"
    rows = own.assign(metric="training_rows", value=900.0, note=note, flags=[(PARTIAL,)] * len(own))
    epochs = own.assign(metric="training_epochs", value=[2.0, 3.5], note="")
    rates = own.assign(metric="learning_rate", value=[0.001, 0.0005], note=["", "batch 8 (study: 32)"])
    records = pd.concat([records, rows, epochs, rates], ignore_index=True)
    sheet = training_sheet(records)
    assert sheet is not None
    assert sheet.header == ("", "mnli") and sheet.rows[:2] == (("rows", "900¹"), ("epochs", "2 / 3.5"))
    assert sheet.rows[2:] == (("transformer-pp-nano", "0.001"), ("gla-nano", "0.0005²"))
    assert sheet.notes == ("¹ partial training split: 900 of 392,702 official rows", "² batch 8 (study: 32)")
    assert f"mnli ({note})." in " ".join(cautions(records))


def test_clear_winners_are_named() -> None:
    shown = judge(
        *frames(models=2, seeds=(0,), clean=600, adversarial=400, skill=(0.9, 0.7), robustness=(0.2, 0.7))
    )
    assert shown.headline == (
        "transformer-pp-nano is the fastest and most accurate; gla-nano is the most robust. "
        "With one seed this is said of these trained models: another training may turn it round."
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
    flagged = [caution for caution in cautions(records) if "says nothing" in caution]
    assert [caution.split(",")[0] for caution in flagged] == ["On sst2", "On qnli"]
    assert all("says nothing of transformer-pp-nano:" in caution for caution in flagged)


def test_a_leader_without_skill_is_not_crowned() -> None:
    records, items = frames(models=2, seeds=(0,), skill=(0.5, 0.9), robustness=(0.8, 0.2), adversarial=300)
    shown = judge(records, items)
    assert shown.rankings[2].leader == "gla-nano"
    assert "most robust" not in shown.headline
    assert "gla-nano is the only candidate with skill on clean text" in shown.headline
    assert "Robustness says nothing of transformer-pp-nano" in shown.headline
    text = shown.text()
    assert "Says nothing of transformer-pp-nano on sst2, qnli." in text
    assert "transformer-pp-nano is not placed on the front: no skill." in text
    assert "level: transformer-pp-nano" not in text
    with_third = frames(models=3, seeds=(0,), skill=(0.5, 0.9, 0.88), robustness=(0.8, 0.2, 0.25))
    levels = [s for topic, s in judge(*with_third).findings if " level: " in s]
    assert len(levels) == 3 and not any("transformer-pp-nano" in sentence for sentence in levels)


def test_speed_is_crowned_only_by_a_test() -> None:
    records, items = frames(models=2, seeds=(0,))
    latency = records["metric"] == "latency_ms"
    for model, value in (("transformer-pp-nano", 10.0), ("gla-nano", 10.01)):
        rows = latency & (records["model"] == model)
        records.loc[rows, ["value", "low", "high"]] = [value, value - 0.5, value + 0.5]
    text = judge(records, items).text()
    assert "is not distinguishably faster than gla-nano at every measured length, from 32 to 2048" in text
    assert "is the fastest" not in text
    records.loc[latency & (records["model"] == "gla-nano"), ["value", "low", "high"]] = [20.0, 19.0, 21.0]
    text = judge(records, items).text()
    assert "transformer-pp-nano is the fastest model at every measured length" in text
    records.loc[latency, ["low", "high"]] = None
    text = judge(records, items).text()
    assert "by the point estimate, not tested: no interval" in text and "p = 1" not in text


def test_a_domination_that_is_not_settled_is_not_called_one() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=60, skill=(0.8, 0.8), robustness=(0.5, 0.45))
    evidence = Evidence(records, items)
    placed = three_axes(evidence)
    behind = [p for p in placed.positions if p.on_front is False]
    assert behind and not any(p.settled_by for p in behind)
    text = verdict(evidence, placed).text()
    assert "dominated" not in text and "do not bear out" in text


def test_where_nothing_is_distinguishable_there_is_advice() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=60, skill=(0.8, 0.8), robustness=(0.5, 0.5))
    latency = records["metric"] == "latency_ms"
    records.loc[latency, "low"] = 0.1 * records["value"]
    records.loc[latency, "high"] = 5 * records["value"]
    shown = judge(records, items)
    assert "No candidate is distinguishable as best on any axis" in shown.headline
    assert shown.advice.startswith("If you must choose: transformer-pp-nano, because")
    assert shown.summary() in shown.text()
    one = records.iloc[[0]].assign(axis="P", metric="accuracy", task="sst2", value=None, status="failed")
    for failed, kept in (("transformer-pp-nano", "gla-nano"), ("gla-nano", "transformer-pp-nano")):
        row = one.assign(model=failed, adaptation=records["adaptation"].max(), reason="no memory")
        advice = judge(pd.concat([records, row]), items).advice
        assert failed not in advice and (not advice or kept in advice)


def test_a_candidate_that_failed_is_not_called_skilled() -> None:
    records, items = frames(models=2, seeds=(0,), skill=(0.8, 0.5))
    mine = (records["model"] == "transformer-pp-nano") & records["axis"].isin(["P", "R"])
    failed = records[mine & (records["axis"] == "P")].iloc[[0]]
    failed = failed.assign(task="sst2", value=None, status="failed", reason="no memory")
    shown = judge(pd.concat([records[~mine], failed]), items[items["model"] == "gla-nano"])
    assert "only candidate" not in shown.headline and "If you must" not in shown.advice
    values = {name: one.absence for name, one in shown.rankings[1].values.items()}
    assert values["transformer-pp-nano"] == "failed: no memory"


def test_what_intervals_do_not_cover_is_said() -> None:
    records, _ = frames(models=2, seeds=(0,))
    tokens = records.iloc[[0]].assign(axis="P", metric="pretraining_tokens", value=1e7)
    said = "\n".join(cautions(pd.concat([records, tokens])))
    assert "Every candidate was trained with one seed" in said
    assert "transformer-pp-nano was pretrained once" in said
    records, _ = frames(models=2, seeds=(0, 1))
    assert "one seed" not in "\n".join(cautions(records))
    wide = (records["metric"] == "glue_score") & (records["model"] == "gla-nano") & records["seed"].isna()
    records.loc[wide, ["low", "high"]] = [0.4, 0.9]
    records.loc[records["metric"] == "latency_ms", "high"] = 3 * records["value"]
    said = "\n".join(cautions(records))
    assert "The seeds of gla-nano disagree" in said
    assert "Timing varied strongly in 16 of 16 measurements of latency" in said


def test_minor_gaps_come_last_in_one_sentence() -> None:
    records, _ = frames(models=2, seeds=(0,))
    minor = records["metric"] == "latency_p95_ms"
    records.loc[minor, "value"] = None
    records.loc[minor, ["low", "high"]] = None
    records.loc[minor, "status"] = "not measured"
    records.loc[minor, "reason"] = [f"{n} repetitions" for n in range(minor.sum())]
    *others, last = cautions(records)
    assert last == "Not measured (too few repetitions): 95th-percentile latency, at 8 points."
    assert not any("95th" in caution for caution in others)


def test_a_users_note_is_no_failure() -> None:
    records, _ = frames(models=2, seeds=(0,))
    known = (records["metric"] == "parameters") & (records["model"] == "gla-nano")
    records.loc[known, "note"] = "trained on x; failed: never"
    said = "\n".join(cautions(records))
    assert "Failed:" not in said and "gla-nano: trained on x; failed: never." in said


def test_robustness_that_is_meaningless_on_some_tasks_keeps_its_ranking() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=300, robustness=(0.2, 0.7))
    shown = judge(meaningless_on(records, "qnli", "gla-nano"), items)
    assert "gla-nano is the most robust" in shown.headline
    assert "On qnli robustness says nothing of gla-nano" in shown.headline
    assert shown.rankings[2].without_skill == frozenset()
    assert shown.rankings[2].partly_meaningless == {("qnli",): ["gla-nano"]}


def test_verdict_and_comparisons_correct_alike() -> None:
    records, items = frames(models=4, seeds=(0,), adversarial=160, robustness=(0.4, 0.56, 0.47, 0.4))
    evidence = Evidence(records, items)
    shown = verdict(evidence, None)
    for ranking, metric in zip(shown.rankings[1:], ("accuracy", "robust_accuracy"), strict=True):
        overall = [
            c for c in evidence.comparisons.of(metric) if c.task == "average" and c.level in ("clean", "all")
        ]
        adjusted = {frozenset((c.a, c.b)): c.p_adjusted for c in overall}
        assert len(ranking.distinctions) == 3
        for other, distinction in ranking.distinctions.items():
            assert distinction.p == adjusted[frozenset((str(ranking.leader), other))]


def test_partial_unmeasured_and_fake_quantised_are_said() -> None:
    records, _ = frames(tasks=("sst2", "qqp"), seeds=(0,), flags=(GENERATED,))
    said = "\n".join(cautions(records))
    assert "Partial, with fewer rows than the official split: qqp validation." in said
    assert "Not measured (no energy meter): energy joules per token." in said
    assert "Not measured (no original): attack success rate" in said and ", at human level, in " in said
    assert "Not measured (out of memory): peak memory in training, at batch 1, length 2048" in said
    assert "matmul-free-nano was measured with fake-quantised weights" in said
    assert "Embedded suite: generated by a grammar, not GLUE." in said and all_generated(records)
    partly = records.assign(flags=[own if i % 2 else () for i, own in enumerate(records["flags"])])
    assert not all_generated(partly) and "Embedded suite" not in "".join(cautions(partly))


def test_unequal_pretraining_failures_and_candidates_notes_are_said() -> None:
    records, _ = frames(models=2, seeds=(0,))
    base = records.iloc[[0]].assign(axis="P", metric="pretraining_tokens", value=None)
    more = [
        base.assign(model="gla-nano", value=1e7, note="corpus: novels"),
        base.assign(model="transformer-pp-nano", status="not measured", reason="pretrained elsewhere"),
        base.assign(metric="accuracy", task="rte", seed=1, status="failed", reason="loss is not a number"),
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


def test_candidates_with_one_measurement_are_first_together() -> None:
    records, items = frames(models=2, seeds=(0,))
    lora = [table[table["adaptation"] == "full"].assign(adaptation="lora") for table in (records, items)]
    alone, several = judge(records, items), judge(*map(pd.concat, ([records, lora[0]], [items, lora[1]])))
    fastest = alone.rankings[0].leader
    assert f"{fastest} is the fastest" in alone.headline
    assert f"{fastest}:full and {fastest}:lora are the fastest" in several.headline
    assert f"{fastest}:full and {fastest}:lora come first" in several.text()
    assert several.rankings[0].crowned and several.rankings[0].ties == []
    assert "Not distinguishable" not in several.findings[0][1]


def test_the_fastest_at_every_length_is_said_to_be_so() -> None:
    records, items = frames(models=2, seeds=(0,))
    fast = (records["metric"] == "latency_ms") & (records["model"] == "gla-nano")
    records.loc[fast, ["value", "low", "high"]] *= 0.01
    twin = records[records["model"] == "gla-nano"].assign(model="twin")
    text = judge(
        pd.concat([records, twin]),
        pd.concat([items, items[items["model"] == "gla-nano"].assign(model="twin")]),
    ).text()
    assert "depends on length" not in text
    assert "gla-nano is not distinguishably faster than twin at every measured length" in text


def test_who_was_not_measured_is_named_with_its_adaptation() -> None:
    records, items = frames(models=2, seeds=(0,))
    lora = [table[table["adaptation"] == "full"].assign(adaptation="lora") for table in (records, items)]
    lora[0].loc[lora[0]["phase"] == "train", ["value", "status", "reason"]] = [1.0, "ok", ""]
    told = " ".join(cautions(pd.concat([records, lora[0]])))
    assert (
        "(out of memory): peak memory in training of transformer-pp-nano:full and gla-nano:full, at batch"
        in told
    )


def test_advice_on_speed_alone_speaks_of_all_candidates() -> None:
    records, items = frames(models=1, seeds=(0,))
    records = records[records["axis"] == "E"]
    twin = records.assign(model="twin", value=records["value"] * 1.001)
    shown = judge(pd.concat([records, twin]), items.iloc[:0])
    assert "the cheapest of all candidates" in shown.advice


def test_two_that_lead_together_are_named() -> None:
    records, items = frames(models=2, seeds=(0,), clean=600, adversarial=400, skill=(0.95, 0.6))
    twin = [table[table["model"] == "transformer-pp-nano"].assign(model="twin") for table in (records, items)]
    shown = judge(pd.concat([records, twin[0]]), pd.concat([items, twin[1]]))
    assert (
        "On performance transformer-pp-nano and twin are ahead of the other, not of one another"
        in shown.headline
    )


def test_skill_on_a_task_that_is_not_attacked_is_skill() -> None:
    records, items = frames(models=2, tasks=("sst2", "qnli"), seeds=(0,), skill=(0.9, 0.9))
    records = records[(records["axis"] != "R") | (records["task"] != "qnli")]
    items = items[(items["task"] != "qnli") | (items["level"] == "clean")]
    records = meaningless_on(records, "sst2", "gla-nano")
    evidence = Evidence(records, items)
    assert evidence.without_skill() == set() and evidence.without_skill(attacked=True) == {"gla-nano"}
    shown = judge(records, items)
    assert "Robustness says nothing of gla-nano: no skill on the tasks that are attacked" in shown.headline
