import json

import pytest

from synthetic import frames
from trilemma.errors import TrilemmaError
from trilemma.report.decide import Bound, decide, read_bounds
from trilemma.report.evidence import Evidence
from trilemma.report.values import OperatingPoint, Value


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence(*frames(seeds=(0,)))


def test_a_bound_is_met_only_by_the_limit() -> None:
    least = Bound("accuracy", "min", 0.8)
    assert least.standing(Value(0.85, 0.81, 0.9)) == "met"
    assert least.standing(Value(0.85, 0.79, 0.9)) == "met by the point estimate only"
    assert least.standing(Value(0.75, 0.7, 0.81)) == "not met"
    assert least.standing(Value(None)) == "not measured"
    most = Bound("latency_ms", "max", 10)
    assert most.standing(Value(9, 8, 9.9)) == "met"
    assert most.standing(Value(9, 8, 11)) == "met by the point estimate only"
    assert most.standing(Value(9)) == "met by the point estimate only"  # measured, but without an interval
    assert most.standing(Value(11)) == "not met"
    assert Bound("parameters", "max", 10).standing(Value(9)) == "met"  # counted


def test_the_best_of_those_that_qualify_is_chosen(evidence: Evidence) -> None:
    free = decide(evidence, "robust_accuracy")
    assert free.choice == "gla-nano"
    fast = decide(evidence, "robust_accuracy", read_bounds({"max_latency_ms": 4}))
    assert fast.choice == "transformer-pp-nano"
    rejected = {r.candidate: r.standing for r in fast.ranked if r.candidate != fast.choice}
    assert rejected == {"gla-nano": "not met", "matmul-free-nano": "not met"}
    assert "median latency ≤ 4.00 ms: not met, 4.36 ms [4.19, 4.54]" in fast.text()


def test_point_estimates_alone_never_win(evidence: Evidence) -> None:
    answer = decide(evidence, "robust_accuracy", read_bounds({"max_latency_ms": 4.4}))
    assert answer.choice == "transformer-pp-nano"
    second = answer.ranked[1]
    assert (second.candidate, second.standing) == ("gla-nano", "met by the point estimate only")
    none = decide(evidence, "robust_accuracy", read_bounds({"max_latency_ms": 4.4, "min_robust": 0.5}))
    assert none.choice is None
    assert "No candidate meets" in none.answer() and "by the point estimate only: gla-nano" in none.answer()


def test_the_operating_point_decides_what_latency_is() -> None:
    records, items = frames(seeds=(0,))
    short = decide(Evidence(records, items), "latency_ms")
    long = decide(Evidence(records, items, OperatingPoint(1, 2048)), "latency_ms")
    assert (short.choice, long.choice) == ("transformer-pp-nano", "gla-nano")
    assert "batch 1, length 2048" in long.answer()
    with pytest.raises(
        TrilemmaError, match=r"not measured at batch 3, length 128 \(measured at batch 1, 16; "
    ):
        decide(Evidence(records, items, OperatingPoint(3, 128)), "latency_ms")


def test_ties_are_said() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=40, robustness=(0.5, 0.5))
    answer = decide(Evidence(records, items), "robust_accuracy")
    assert len(answer.ties) == 1
    assert "Not distinguishable from it" in answer.answer()


def test_clear_leads_are_said() -> None:
    records, items = frames(models=2, seeds=(0,), adversarial=400, robustness=(0.2, 0.7))
    answer = decide(Evidence(records, items), "robust_accuracy")
    assert answer.choice == "gla-nano"
    assert answer.ties == ()
    assert answer.ranked[1].distinguishable is True


def test_json_holds_the_whole_answer(evidence: Evidence) -> None:
    answer = decide(evidence, "robust_accuracy", read_bounds({"max_memory": "8GB", "min_clean": 0.5}))
    content = json.loads(answer.to_json())
    assert content["choice"] == "gla-nano"
    assert content["bounds"][0] == {"metric": "peak_inference_memory_bytes", "side": "max", "limit": 8e9}
    assert content["ranked"][0]["checks"][1]["standing"] == "met"
    assert content["answer"] == answer.answer()


def test_bad_queries_are_refused(evidence: Evidence) -> None:
    with pytest.raises(TrilemmaError, match="unknown metric 'speed'"):
        decide(evidence, "speed")
    with pytest.raises(TrilemmaError, match="write max_METRIC or min_METRIC"):
        read_bounds({"memory": "8GB"})
    with pytest.raises(TrilemmaError, match="no candidate has a value of decode_tokens_per_s"):
        decide(evidence, "robust_accuracy", read_bounds({"min_decode_tokens_per_s": 10}))


@pytest.mark.parametrize(
    "text", ["batch=16,length=512", "length=512, batch=16", " batch = 16 , length = 512 "]
)
def test_operating_points_are_read(text: str) -> None:
    assert OperatingPoint.parse(text) == OperatingPoint(16, 512)


@pytest.mark.parametrize("text", ["16x512", "batch=0", "batch=", "batch=1,width=2", ""])
def test_other_operating_points_are_refused(text: str) -> None:
    with pytest.raises(TrilemmaError, match="batch=1,length=128"):
        OperatingPoint.parse(text)


def test_a_measured_value_without_an_interval_is_said_to_have_none() -> None:
    records, items = frames(seeds=(0,))
    records.loc[records["metric"] == "peak_inference_memory_bytes", ["low", "high"]] = None
    text = decide(Evidence(records, items), "accuracy", read_bounds({"max_memory": "8GB"})).text()
    assert "met by the point estimate only, 6.13 MB (no interval was measured)" in text


def test_training_is_read_where_it_was_measured() -> None:
    records, items = frames(seeds=(0,))
    training = records["metric"] == "peak_training_memory_bytes"
    records = records[~training | ((records["batch"] == 16) & (records["length"] == 512))]
    answer = decide(Evidence(records, items), "robust_accuracy", read_bounds({"max_training_memory": "8GB"}))
    assert answer.choice == "gla-nano"
    assert "(at batch 16, length 512)" in answer.text()


def test_a_choice_that_means_little_says_so() -> None:
    records, items = frames(models=2, seeds=(0,), tasks=("sst2", "qqp"), skill=(0.5, 0.5))
    evidence = Evidence(records, items)
    assert "Caution: robustness is meaningless for sst2, qqp." in decide(evidence, "robust_accuracy").answer()
    assert "Caution: a split is partial." in decide(evidence, "accuracy").answer()


def test_a_bound_on_robustness_that_means_little_says_so() -> None:
    records, items = frames(models=2, seeds=(0,), skill=(0.5, 0.5))
    answer = decide(Evidence(records, items), "latency_ms", read_bounds({"min_robust": 0.2}))
    assert answer.choice == "transformer-pp-nano"
    assert "Caution: robustness is meaningless for sst2, qnli." in answer.answer()
