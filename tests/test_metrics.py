"""The one place that knows a metric: names, phases, direction, titles."""

import pytest

from trilemma.errors import TrilemmaError
from trilemma.metrics import AGGREGATED, ALIASES, METRICS, find_metric, plugin_metric
from trilemma.operating_point import OperatingPoint

CLASSIFY, GENERATE = OperatingPoint(), OperatingPoint(1, 512, 64)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(TrilemmaError, match=r"did you mean .*robust_accuracy") as caught:
        find_metric("robust_acuracy")
    assert "docs/reference/metrics.md" in str(caught.value) and len(str(caught.value)) < 300
    assert find_metric("latency-ms").name == "latency_ms"


def test_every_alias_stands_for_a_metric() -> None:
    assert {find_metric(alias).name for alias in ALIASES} <= set(METRICS)
    assert find_metric("training-memory").key == "peak_memory_bytes@train"


@pytest.mark.parametrize(
    ("query", "classifying", "generating"),
    [
        ("latency", "classify", "generate"),
        ("ttft", "prefill", "prefill"),
        ("tpot", "decode", "decode"),
        ("memory", "classify", "generate"),
        ("training_memory", "train", "train"),
        ("energy_j_per_token@prefill", "prefill", "prefill"),
        ("flops", "classify", "decode"),
        ("parameters", "", ""),
        ("accuracy", "", ""),
    ],
)
def test_the_operating_point_says_which_phase_is_meant(query: str, classifying: str, generating: str) -> None:
    metric = find_metric(query)
    assert (metric.phase_at(CLASSIFY), metric.phase_at(GENERATE)) == (classifying, generating)


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ("latency_ms@prefill", "latency_ms is recorded in classify, generate, decode, not in prefill"),
        ("parameters@train", "parameters is recorded in no phase, not in train"),
        ("latency@sleep", "'sleep' is not a phase; phases: classify, prefill, decode, generate, train"),
    ],
)
def test_a_phase_that_a_metric_is_not_recorded_in_is_refused(query: str, match: str) -> None:
    with pytest.raises(TrilemmaError, match=match):
        find_metric(query)


def test_titles_name_the_phase_where_there_are_several() -> None:
    titles = [metric.title for metric in METRICS["energy_j_per_example"].in_phases]
    assert titles == [
        "energy per example",
        "energy per example in generation",
        "energy per example in training",
    ]
    assert [metric.title for metric in METRICS["ttft_ms"].in_phases] == ["time to first token"]
    everything = [one.title for metric in METRICS.values() for one in metric.in_phases]
    assert len(set(everything)) == len(everything)


def test_scores_aggregate_metrics() -> None:
    assert AGGREGATED == {"glue_score": "accuracy", "advglue_score": "robust_accuracy"}


def test_a_plug_ins_rate_is_better_when_higher() -> None:
    assert plugin_metric("pages_per_day", "pages/s").better == "higher"
    disk = plugin_metric("disk_bytes", "bytes", ("classify", "train"))
    assert (
        disk.better == "lower" and find_metric("Disk-bytes@train", [disk]).title == "disk bytes in training"
    )
