import numpy as np
import pandas as pd
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.pareto import domination, front, three_axes
from trilemma.decision.verdict import verdict
from trilemma.errors import TrilemmaError


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence(*frames(seeds=(0,)))


def test_the_worse_everywhere_candidate_is_dominated(evidence: Evidence) -> None:
    table = front(evidence).table().set_index("candidate")
    assert table.loc["matmul-free-nano", "dominated_by"] == "gla-nano"
    assert not table.loc["matmul-free-nano", "on_front"]
    assert table.loc[["transformer-pp-nano", "gla-nano"], "on_front"].all()


def test_direction_of_each_metric_counts(evidence: Evidence) -> None:
    memory = front(evidence, ["weight_bytes", "throughput_tokens_per_s"]).table().set_index("candidate")
    assert list(memory.index[memory["on_front"]]) == ["transformer-pp-nano"]
    assert memory["settled_by"].tolist() == ["", "transformer-pp-nano", "transformer-pp-nano, gla-nano"]


def test_a_domination_that_was_not_tested_on_every_axis_is_not_settled() -> None:
    records, items = frames(seeds=(0,))
    once = (records["metric"] == "latency_ms") & (records["model"] == "gla-nano")
    records.loc[once, ["low", "high"]] = np.nan
    evidence = Evidence(records, items)
    table = front(evidence).table().set_index("candidate")
    assert "which the tests do not bear out" in verdict(evidence, three_axes(evidence)).text()
    assert table.loc["matmul-free-nano", "dominated_by"] == "gla-nano"
    assert (table["settled_by"] == "").all()


def test_equal_candidates_do_not_dominate_each_other() -> None:
    records, items = frames(models=1, seeds=(0,))
    twins = [table.assign(model="twin") for table in (records, items)]
    both = Evidence(pd.concat([records, twins[0]]), pd.concat([items, twins[1]]))
    table = front(both, ["weight_bytes", "accuracy", "robust_accuracy"]).table()
    assert table["on_front"].all()
    assert (table["settled_by"] == "").all()


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


def test_domination_is_at_least_as_good_everywhere_and_better_somewhere() -> None:
    costs = np.array([[1.0, 2.0], [1.0, 3.0], [0.5, 4.0], [1.0, 2.0]])
    assert np.argwhere(domination(costs)).tolist() == [[0, 1], [3, 1]]


def test_candidates_without_skill_have_no_place_on_a_front() -> None:
    evidence = Evidence(*frames(models=2, seeds=(0,), skill=(0.5, 0.9)))
    unskilled, skilled = front(evidence).positions
    assert (unskilled.on_front, unskilled.standing) == (None, "no skill")
    assert skilled.on_front
    assert all(p.on_front is not None for p in front(evidence, ["latency_ms", "parameters"]).positions)
