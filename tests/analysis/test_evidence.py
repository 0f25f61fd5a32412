"""Evidence from the two tables: what is ranked is what is tested; what is not known is not certain."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.stand_ins.answered import answered, skilled
from tests.stand_ins.synthetic import frames
from trilemma import tasks
from trilemma.analysis.candidates import candidates
from trilemma.analysis.comparisons import compare
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.scores import score
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS, score_title
from trilemma.records import records_table

CLEAN = METRICS["accuracy"]
ROBUST = METRICS["robust_accuracy"]


def evidence_of(*parts: pa.Table) -> Evidence:
    items = pa.concat_tables(parts)
    known = {name: tasks.get(name) for name in dict.fromkeys(items.column("task").to_pylist())}
    return Evidence(records_table(score(items, known)).to_pandas(), items.to_pandas())


def confused(counts: tuple[int, int, int, int]) -> np.ndarray:
    """Answers to 30 negative and 70 positive items, from (TN, FP, FN, TP)."""
    return np.repeat([0.0, 1.0, 0.0, 1.0], counts)


def test_one_task_is_ranked_and_tested_by_its_own_metric() -> None:
    gold = np.repeat([0.0, 1.0], [30, 70])
    accurate, correlated = confused((12, 18, 6, 64)), confused((28, 2, 27, 43))
    evidence = evidence_of(answered("cola", "validation", gold, {("a", 0): accurate, ("b", 0): correlated}))
    a, b = evidence.candidates
    values = [evidence.estimate(CLEAN, one).value for one in (a, b)]
    assert (accurate == gold).mean() > (correlated == gold).mean() and values[0] < values[1]
    compared = compare(evidence.items, "a", "b", metric="accuracy", official=evidence.official)
    own, ranked = sorted(compared, key=lambda one: one.task == "average")
    assert own.test == "exact McNemar" and own.difference > 0
    assert (ranked.metric, ranked.a_value, ranked.b_value) == ("glue_score", *map(pytest.approx, values))
    assert ranked.low < ranked.difference < ranked.high and ranked.difference < 0
    assert evidence.adjusted_p(CLEAN, a, b) == ranked.p_adjusted == 2 * ranked.p != own.p
    assert evidence.title(CLEAN) == "clean score"


def noisy(task: str, name: str, n: int, seed: int, **columns: Any) -> pa.Table:
    random = np.random.default_rng(seed)
    if task == "stsb":
        gold = np.round(random.random(n) * 5, 1)
        answers = {("a", 0): gold + random.normal(0, 1, n), ("b", 0): gold + random.normal(0, 2, n)}
        return answered(task, name, gold, answers, labels=None)
    gold = random.integers(0, 2, n).astype(float)
    answers = {("a", 0): skilled(random, gold, 0.8), ("b", 0): skilled(random, gold, 0.7)}
    return answered(task, name, gold, answers, **columns)


@pytest.mark.parametrize(
    ("task", "metric", "set"),
    [
        ("qqp", CLEAN, "validation"),
        ("mrpc", CLEAN, "validation"),
        ("stsb", CLEAN, "validation"),
        ("qqp", ROBUST, "adv_qqp"),
        ("sst2", CLEAN, "validation"),
    ],
)
def test_the_difference_tested_is_that_of_the_values_ranked(task: str, metric: Any, set: str) -> None:
    columns: dict[str, Any] = {} if set == "validation" else {"levels": "word"}
    evidence = evidence_of(noisy(task, set, 150, 3, **columns))
    a, b = (evidence.estimate(metric, one).value for one in evidence.candidates)
    p = evidence.adjusted_p(metric, *evidence.candidates)
    tested = evidence.compared(metric, *evidence.candidates)
    assert tested.p_adjusted == p and tested.level in ("clean", "word")
    assert tested.difference == pytest.approx(a - b) and p is not None


def test_an_f1_is_averaged_and_tested_over_the_tasks_that_have_it() -> None:
    random = np.random.default_rng(4)
    gold = random.integers(0, 3, 60).astype(float)
    three = {(name, 0): skilled(random, gold, 0.7, 3) for name in "ab"}
    evidence = evidence_of(
        noisy("qqp", "validation", 80, 1),
        noisy("mrpc", "validation", 80, 2),
        noisy("sst2", "validation", 80, 3),
        answered("mnli", "validation_matched", gold, three, labels=("e", "n", "c")),
    )
    f1 = METRICS["f1"]
    compared = compare(evidence.items, "a", "b", metric="f1", official=evidence.official)
    assert [one.task for one in compared] == ["qqp", "mrpc", "average"]
    assert evidence.tasks(f1) == ("qqp", "mrpc")
    a, b = (evidence.estimate(f1, one).value for one in evidence.candidates)
    assert compared[-1].difference == pytest.approx(a - b)
    assert evidence.adjusted_p(f1, *evidence.candidates) == pytest.approx(compared[-1].p_adjusted)


def test_a_measured_value_without_interval_is_not_tested_and_an_exact_one_simply_differs() -> None:
    records, items = frames(models=2)
    records.loc[records["metric"] == "latency_ms", ["low", "high"]] = np.nan
    evidence = Evidence(records, items)
    first, second = evidence.candidates
    assert evidence.adjusted_p(METRICS["latency_ms"], first, second) is None
    (exact,) = evidence.distinguish(METRICS["parameters"], first, [second])
    assert exact.apart and exact.reason == "exact"


@pytest.mark.parametrize("value", [0.0, -3.0, np.inf, -np.inf])
def test_numbers_that_no_clock_shows_are_not_measured(value: float) -> None:
    records, items = frames(models=2)
    model = records["model"].iloc[0]
    rows = (records["metric"] == "latency_ms") & (records["model"] == model)
    records.loc[rows, "value"] = value
    evidence = Evidence(records, items)
    first, second = evidence.candidates
    latency = METRICS["latency_ms"]
    shown = evidence.estimate(latency, first)
    assert shown.value is None and shown.absence.startswith("not measured: ")
    assert evidence.adjusted_p(latency, first, second) is None


def test_limits_that_are_no_numbers_are_none_and_a_limit_below_zero_is_survived() -> None:
    records, items = frames(models=2)
    latency = METRICS["latency_ms"]
    for low, interval in ((-1.0, True), (-np.inf, False)):
        records.loc[records["metric"] == "latency_ms", "low"] = low
        evidence = Evidence(records, items)
        first = evidence.candidates[0]
        assert (evidence.estimate(latency, first).low is not None) == interval
        assert (evidence.adjusted_p(latency, *evidence.candidates) is not None) == interval


def test_records_without_a_model_are_refused_and_absent_texts_are_empty() -> None:
    records, items = frames(models=1)
    records["note"] = None
    records["arch"] = None
    evidence = Evidence(records, items)
    assert evidence.estimate(CLEAN, evidence.candidates[0]).note == ""
    assert evidence.candidates[0].arch == ""
    for column, message in (("model", "1 of the rows name no model"), ("adaptation", "no adaptation")):
        broken = records.copy()
        broken.loc[0, column] = None
        with pytest.raises(TrilemmaError, match=message):
            candidates(pd.DataFrame(broken))


def test_a_column_of_accuracies_alone_is_called_accuracy() -> None:
    accuracy, both = ("accuracy",), ("accuracy", "f1")
    assert score_title(CLEAN, [accuracy, accuracy]) == "clean accuracy"
    assert score_title(CLEAN, [accuracy, ("matthews",)]) == score_title(CLEAN, [both]) == "clean score"
    assert score_title(ROBUST, [accuracy, ("matthews",)]) == "robust accuracy"
    assert score_title(ROBUST, [accuracy, both]) == "robust score"
    assert score_title(METRICS["flip_rate"], [both]) == "flip rate"


def test_measurements_that_took_turns_are_tested_by_round() -> None:
    records, items = frames(models=2, seeds=(0,))
    latency, random = METRICS["latency_ms"], np.random.default_rng(0)
    rows = records["metric"] == "latency_ms"
    for model, value in (("transformer-pp-nano", 4.0), ("gla-nano", 4.05)):
        own = rows & (records["model"] == model)
        records.loc[own, ["value", "low", "high"]] = [value, value - 1, value + 1]
    apart = Evidence(records, items)
    assert apart.adjusted_p(latency, *apart.candidates) > 0.9
    drift = 4 + np.cumsum(random.normal(0, 0.3, 12))
    times = {"transformer-pp-nano": drift, "gla-nano": 1.05 * drift * np.exp(random.normal(0, 0.01, 12))}
    records["rounds"] = [
        times[model] if row else () for model, row in zip(records["model"], rows, strict=True)
    ]
    by_round = Evidence(records, items)
    assert by_round.adjusted_p(latency, *by_round.candidates) < 0.001
