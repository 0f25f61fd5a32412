"""Decisions over what was measured: who qualifies, who is chosen, and what is said of the others."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.analysis.lookup import Estimate
from trilemma.decision.bounds import Bound, read_bounds
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS, find_metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import MEANINGLESS
from trilemma.result import Result


@pytest.fixture(scope="module")
def result() -> Result:
    return Result(*frames(seeds=(0,)))


def set_flag(records: pd.DataFrame, rows: pd.Series, flag: str) -> None:
    """Let these records carry one flag alone."""
    records["flags"] = [
        (flag,) if chosen else own for chosen, own in zip(rows, records["flags"], strict=True)
    ]


def test_a_bound_is_met_only_by_the_limit() -> None:
    least = Bound(METRICS["accuracy"], "min", 0.8)
    assert least.standing(Estimate(0.85, 0.81, 0.9)) == "met"
    assert least.standing(Estimate(0.85, 0.79, 0.9)) == "met by the point estimate only"
    assert least.standing(Estimate(0.75, 0.7, 0.81)) == "not met"
    assert least.standing(Estimate(None)) == "not measured"
    most = Bound(METRICS["latency_ms"], "max", 10)
    assert most.standing(Estimate(9, 8, 9.9)) == "met"
    assert most.standing(Estimate(9, 8, 11)) == "met by the point estimate only"
    assert most.standing(Estimate(11)) == "not met"
    assert Bound(METRICS["parameters"], "max", 10).standing(Estimate(9)) == "met"  # counted


def test_the_best_of_those_that_qualify_is_chosen(result: Result) -> None:
    free = result.decide(best="robust_accuracy")
    assert free.choice == "gla-nano"
    fast = result.decide(best="robust_accuracy", max_latency_ms=4)
    assert fast.choice == "transformer-pp-nano"
    rejected = {r.candidate: r.standing for r in fast.ranked if r.candidate != fast.choice}
    assert rejected == {"gla-nano": "not met", "matmul-free-nano": "not met"}
    assert "median latency ≤ 4 ms: not met, 4.36 ms [4.19, 4.54]" in fast.text()


def test_point_estimates_alone_never_win(result: Result) -> None:
    answer = result.decide(best="robust_accuracy", max_latency_ms=4.4)
    assert answer.choice == "transformer-pp-nano"
    second = answer.ranked[1]
    assert (second.candidate, second.standing) == ("gla-nano", "met by the point estimate only")
    none = result.decide(best="robust_accuracy", max_latency_ms=4.4, min_robust=0.5)
    assert none.choice is None
    assert "No candidate meets" in none.answer() and "gla-nano would by the point estimate" in none.answer()


def test_the_operating_point_decides_what_latency_is() -> None:
    records, items = frames(seeds=(0,))
    short = Result(records, items).decide(best="latency_ms")
    long = Result(records, items).decide(best="latency_ms", at=OperatingPoint(1, 2048))
    assert (short.choice, long.choice) == ("transformer-pp-nano", "gla-nano")
    assert "batch 1, length 2048" in long.answer()
    with pytest.raises(TrilemmaError, match="nothing was measured at batch 3, length 128; measured: batch 1"):
        Result(records, items).decide(best="latency_ms", at=OperatingPoint(3, 128))


def test_ties_are_said() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=40, robustness=(0.5, 0.5))
    answer = Result(records, items).decide(best="robust_accuracy")
    assert len(answer.ties) == 1
    assert "Not distinguishable from it" in answer.answer()


def test_clear_leads_are_said() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=400, robustness=(0.2, 0.7))
    answer = Result(records, items).decide(best="robust_accuracy")
    assert answer.choice == "gla-nano"
    assert answer.ties == ()
    assert answer.ranked[1].distinction.apart is True


def test_json_holds_the_whole_answer(result: Result) -> None:
    answer = result.decide(best="robust_accuracy", max_memory="8GB", min_clean=0.5)
    content = json.loads(answer.to_json())
    assert content["choice"] == "gla-nano"
    assert content["bounds"][0] == {"metric": "peak_memory_bytes", "side": "max", "limit": 8e9}
    assert content["ranked"][0]["checks"][1]["standing"] == "met"
    assert content["answer"] == answer.answer()


def test_bad_queries_are_refused(result: Result) -> None:
    with pytest.raises(TrilemmaError, match="unknown metric 'speed'"):
        result.decide(best="speed")
    with pytest.raises(TrilemmaError, match="write max_METRIC or min_METRIC"):
        result.decide(memory="8GB")
    with pytest.raises(TrilemmaError, match="no candidate has a value of energy_j_per_token: not measured"):
        result.decide(best="robust_accuracy", max_energy_j_per_token=10)
    with pytest.raises(TrilemmaError, match="two bounds are given on the max of peak_memory_bytes"):
        result.decide(max_memory="8GB", max_peak_memory_bytes="9GB")
    with pytest.raises(TrilemmaError, match="words_changed is recorded per attack only"):
        result.decide(best="words_changed")


@pytest.mark.parametrize(
    "text", ["batch=16,length=512", "length=512, batch=16", " batch = 16 , length = 512 "]
)
def test_operating_points_are_read(text: str) -> None:
    assert OperatingPoint.parse(text) == OperatingPoint(16, 512)


@pytest.mark.parametrize("text", ["16x512", "batch=0", "batch=", "batch=1,width=2", ""])
def test_other_operating_points_are_refused(text: str) -> None:
    with pytest.raises(TrilemmaError, match="batch=1,length=128"):
        OperatingPoint.parse(text)


def test_a_measured_value_without_an_interval_meets_a_bound_by_the_point_estimate_only() -> None:
    records, items = frames(seeds=(0,))
    records.loc[records["metric"] == "peak_memory_bytes", ["low", "high"]] = None
    answer = Result(records, items).decide(best="accuracy", max_memory="8GB")
    assert answer.choice is None
    assert "met by the point estimate only, 6.13 MB (no interval)" in answer.text()
    bound = Bound(METRICS["latency_ms"], "max", 20.0)
    assert bound.standing(Estimate(19.8, 19.0, 19.9)) == "met"
    assert bound.standing(Estimate(19.8)) == "met by the point estimate only"
    assert bound.standing(Estimate(19.8, basis="forecast")) == "met by the point estimate only"
    assert bound.standing(Estimate(19.8, basis="counted")) == "met"
    assert Bound(METRICS["weight_bytes"], "max", 20.0).standing(Estimate(19.8)) == "met"


def test_training_is_read_where_it_was_measured() -> None:
    records, items = frames(seeds=(0,))
    training = records["phase"] == "train"
    records = records[~training | ((records["batch"] == 16) & (records["length"] == 512))]
    answer = Result(records, items).decide(max_training_memory="8GB")
    assert answer.choice == "gla-nano"
    assert "(at batch 16, length 512)" in answer.text()


def test_candidates_without_skill_are_never_chosen() -> None:
    records, items = frames(models=2, seeds=(0,), tasks=("sst2", "qqp"), skill=(0.5, 0.5))
    answer = Result(records, items).decide(best="latency_ms", min_robust=0.2)
    assert answer.choice is None and {row.standing for row in answer.ranked} == {"no skill"}
    assert "No candidate can be recommended." in answer.answer()
    assert "Caution: no skill: transformer-pp-nano and gla-nano" in answer.answer()
    one_in_two = frames(models=2, seeds=(0,), skill=(0.5, 0.9), robustness=(0.8, 0.2), adversarial=300)
    answer = Result(*one_in_two).decide(best="robust_accuracy")
    assert answer.choice == "gla-nano" and answer.ties == ()
    assert "transformer-pp-nano (no skill)" in answer.text()


def test_a_choice_that_means_little_on_a_task_says_so() -> None:
    records, items = frames(models=2, seeds=(0,), tasks=("sst2", "qqp"))
    set_flag(records, (records["task"] == "sst2") & (records["axis"] == "R"), MEANINGLESS)
    result = Result(records, items)
    assert "Caution: robustness says nothing on sst2." in result.decide(best="robust_accuracy").answer()
    assert "Caution: a split is partial." in result.decide(best="accuracy").answer()


def test_a_near_miss_is_named_in_the_answer(result: Result) -> None:
    answer = result.decide(best="robust_accuracy", max_latency_ms="4.4ms")
    assert (
        "gla-nano would qualify by the point estimate, but not by the limit of its interval"
        in answer.answer()
    )
    assert answer.nearly == ("gla-nano",)


def test_what_was_not_tested_says_why_and_small_p_are_bounded() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=400, robustness=(0.2, 0.8))
    assert "distinguishable (p < 0.001 after Holm)" in Result(records, items).decide(best="robust").text()
    assert (
        "against the first: distinguishable (exact)"
        in Result(records, items).decide(best="parameters").text()
    )
    records.loc[records["metric"] == "latency_ms", ["low", "high"]] = None
    answer = Result(records, items).decide(best="latency_ms")
    assert answer.ties == () and answer.untested == ("gla-nano",)
    assert "gla-nano: not tested: no interval." in answer.answer() and "p = 1" not in answer.text()
    assert json.loads(answer.to_json())["ranked"][1]["distinguishable"] is None


def test_json_has_no_infinity_and_names_cannot_steer_a_terminal() -> None:
    records, items = frames(models=2, seeds=(0,))
    records.loc[records["metric"] == "latency_ms", "high"] = float("inf")
    for table in (records, items):
        table["model"] = table["model"].replace("gla-nano", "gla\x1b[2J\x9b1m-nano")
    answer = Result(records, items).decide(best="robust", max_latency=20)
    json.loads(answer.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert not {"\x1b", "\x9b"} & set(str(answer)) and str(answer) == answer.text()


@pytest.mark.parametrize(
    ("name", "limit", "number"),
    [
        ("max_latency", "200ms", 200),
        ("max_latency", "0.2s", 200),
        ("min_clean", "80%", 0.8),
        ("min_clean", "0.8", 0.8),
    ],
)
def test_limits_are_read_as_people_write_them(name: str, limit: str, number: float) -> None:
    (bound,) = read_bounds({name: limit}, find=find_metric)
    assert bound.limit == pytest.approx(number)


def test_a_memory_without_a_unit_is_refused() -> None:
    with pytest.raises(TrilemmaError, match="means 8 bytes; write the unit, for example 8GB"):
        read_bounds({"max_memory": "8"}, find=find_metric)


def test_metrics_of_plug_ins_can_be_decided_on() -> None:
    records, items = frames(models=2, seeds=(0,))
    added = records[records["metric"] == "weight_bytes"].assign(metric="disk_bytes")
    whole = pd.concat([records, added])
    answer = Result(whole, items).decide(best="disk_bytes", max_disk_bytes="1GB")
    assert answer.choice == "transformer-pp-nano" and "disk bytes ≤ 1 GB: met" in answer.text()
    with pytest.raises(TrilemmaError, match=r"unknown metric 'disk_byte'.*disk_bytes"):
        Result(whole, items).decide(best="disk_byte")


def test_a_candidate_that_failed_on_a_task_has_no_training_time() -> None:
    records, items = frames(models=2, tasks=("sst2", "qnli"), seeds=(0,))
    own = records[
        (records["metric"] == "accuracy") & (records["task"] != "average") & records["seed"].notna()
    ]
    times = own.assign(
        axis="E", metric="training_seconds", phase="train", unit="s", value=10.0, low=np.nan, high=np.nan
    )
    failed = (times["model"] == "gla-nano") & (times["task"] == "qnli")
    decision = Result(pd.concat([records, times[~failed]]), items).decide(best="training_seconds")
    assert decision.choice == "transformer-pp-nano"
    assert decision.ranked[1].best.absence == "not measured: no training on qnli"


def test_the_point_of_training_is_in_the_answer() -> None:
    records, items = frames(models=2, seeds=(0,))
    trained = records["phase"] == "train"
    records = records[~trained | ((records["batch"] == 16) & (records["length"] == 512))]
    decision = Result(records, items).decide(best="training_memory")
    assert "under no bound (at batch 16, length 512)" in decision.answer()


def test_an_f1_is_called_a_score_and_never_certain() -> None:
    records, items = frames(models=2, tasks=("qqp",), seeds=(0,), skill=(1.0, 0.8))
    decision = Result(records, items).decide(best="f1")
    best = decision.ranked[0].best
    assert best.value == 1.0 and best.low is not None and best.low < 0.995
    assert "the best clean score" in Result(records, items).decide(best="accuracy").answer()


def test_a_cost_is_of_machines_with_a_price(result: Result) -> None:
    with pytest.raises(TrilemmaError, match=r"cost_per_million: not measured; name machines with a `price`"):
        result.decide(max_cost=3)


def test_limits_are_keywords_or_a_mapping(result: Result) -> None:
    by_mapping = result.decide(best="accuracy", limits={"max_latency_ms": 4})
    assert by_mapping.text() == result.decide(best="accuracy", max_latency_ms=4).text()


def test_no_interval_is_announced_where_there_is_none(result: Result) -> None:
    assert "intervals in brackets" not in result.decide(best="parameters").text()
    assert "95% intervals in brackets" in result.decide(best="accuracy").text()
