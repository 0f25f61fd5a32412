import tracemalloc

import numpy as np
import pandas as pd
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.pareto import domination, front, three_axes
from trilemma.decision.verdict import verdict
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence(*frames(seeds=(0,)))


def test_the_worse_everywhere_candidate_is_dominated(evidence: Evidence) -> None:
    table = front(evidence).table().set_index("candidate")
    assert table.loc["matmul-free-nano", "dominated_by"] == "gla-nano"
    assert not table.loc["matmul-free-nano", "on_front"]
    assert table.loc["matmul-free-nano", "dominated_probability"] > 0.5
    assert table.loc[["transformer-pp-nano", "gla-nano"], "on_front"].all()


def test_point_estimates_agree_with_the_records(evidence: Evidence) -> None:
    for name in ("accuracy", "robust_accuracy", "attack_success_rate", "flip_rate"):
        for candidate in evidence.candidates:
            drawn = evidence.draws(METRICS[name], candidate)
            assert drawn is not None
            assert drawn.point == pytest.approx(evidence.estimate(METRICS[name], candidate).value)


def test_draws_cover_the_recorded_interval(evidence: Evidence) -> None:
    candidate = evidence.candidates[0]
    value, drawn = (f(METRICS["robust_accuracy"], candidate) for f in (evidence.estimate, evidence.draws))
    low, high = np.percentile(drawn.draws, [2.5, 97.5])
    assert (low, high) == pytest.approx((value.low, value.high), abs=0.02)


def test_direction_of_each_metric_counts(evidence: Evidence) -> None:
    memory = front(evidence, ["weight_bytes", "throughput_tokens_per_s"]).table().set_index("candidate")
    assert list(memory.index[memory["on_front"]]) == ["transformer-pp-nano"]
    assert memory["dominated_probability"].tolist() == [0.0, 1.0, 1.0]


def test_a_value_of_unknown_uncertainty_gives_no_probability() -> None:
    records, items = frames(seeds=(0,))
    once = (records["metric"] == "latency_ms") & (records["model"] == "gla-nano")
    records.loc[once, ["low", "high"]] = np.nan
    evidence = Evidence(records, items)
    table = front(evidence).table().set_index("candidate")
    assert "not settled (its uncertainty is not known)" in verdict(evidence, three_axes(evidence), []).text()
    assert pd.isna(table.loc["gla-nano", "dominated_probability"])
    assert table.loc["matmul-free-nano", "dominated_by"] == "gla-nano"
    assert pd.isna(table.loc["matmul-free-nano", "dominated_probability"])
    assert table.loc["transformer-pp-nano", "dominated_probability"] < 0.5


def test_equal_candidates_do_not_dominate_each_other() -> None:
    records, items = frames(models=1, seeds=(0,))
    twins = [table.assign(model="twin") for table in (records, items)]
    both = Evidence(pd.concat([records, twins[0]]), pd.concat([items, twins[1]]))
    table = front(both, ["weight_bytes", "accuracy", "robust_accuracy"]).table()
    assert table["on_front"].all()
    assert (table["dominated_probability"] == 0).all()


def test_paired_draws_are_steadier_than_unpaired_ones() -> None:
    records, items = frames(models=1, seeds=(0,))
    twin = items.assign(model="twin")
    flipped = twin["level"].ne("clean") & twin["id"].str.endswith("7")
    twin.loc[flipped, "answer"] = twin.loc[flipped, "gold"]
    both = Evidence(pd.concat([records, records.assign(model="twin")]), pd.concat([items, twin]))
    first, second = (both.draws(METRICS["robust_accuracy"], c) for c in both.candidates)
    assert np.std(first.draws - second.draws) < 0.6 * np.hypot(np.std(first.draws), np.std(second.draws))


def test_a_candidate_without_an_axis_is_not_placed() -> None:
    records, items = frames(seeds=(0,))
    gone = (records["model"] == "gla-nano") & (records["metric"] == "latency_ms")
    table = front(Evidence(records[~gone], items)).table().set_index("candidate")
    assert table.loc["gla-nano", "on_front"] is None
    assert table.loc["matmul-free-nano", "on_front"]


def test_unmeasured_and_unknown_metrics_are_refused(evidence: Evidence) -> None:
    with pytest.raises(TrilemmaError, match="at least two"):
        front(evidence, ["accuracy", "clean"])
    with pytest.raises(TrilemmaError, match="no candidate has a value of idle_power_w"):
        front(evidence, ["idle_power_w", "accuracy"])
    records, items = frames(seeds=(0,))
    assert three_axes(Evidence(records[records["axis"] != "E"], items)) is None


def test_many_candidates_take_little_memory() -> None:
    costs = np.random.default_rng(0).normal(size=(300, 200, 3))
    tracemalloc.start()
    frequency, anyone = domination(costs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # all pairs at once would be 54 MB of truth values alone
    assert frequency.shape == (300, 300) and (anyone >= frequency.max(axis=0)).all()


def test_candidates_without_skill_have_no_place_on_a_front() -> None:
    evidence = Evidence(*frames(models=2, seeds=(0,), skill=(0.5, 0.9)))
    unskilled, skilled = front(evidence).positions
    assert (unskilled.on_front, unskilled.standing) == (None, "no skill")
    assert skilled.on_front
    assert all(p.on_front is not None for p in front(evidence, ["latency_ms", "parameters"]).positions)
