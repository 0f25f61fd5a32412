"""Energy per correct answer, against numbers computed by hand; and that nothing is made of what is absent."""

from typing import Any

import pytest

from trilemma.records import GENERATED, PARTIAL, Record
from trilemma.study.correct_answers import joules_per_correct_answer

CANDIDATES = [("gla", "full")]


def energy(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> Record:
    columns: dict[str, Any] = {"model": "gla", "axis": "E", "metric": "energy_j_per_example", "unit": "J"}
    columns |= {"phase": "classify", "batch": 4, "length": 8, "n": 6} | more
    return Record(value=value, low=low, high=high, confidence=low and 0.95, **columns)


def accuracy(
    task: str, value: float | None, low: float | None = None, high: float | None = None, **more: Any
) -> Record:
    columns: dict[str, Any] = {"model": "gla", "metric": "accuracy", "axis": "P", "level": "clean"}
    columns |= {"adaptation": "full", "set": "validation"}
    if value is None:
        columns |= {"status": "failed", "reason": "the loss is not a number"}
    return Record(task=task, value=value, low=low, high=high, **(columns | more))


def test_limits_combine_on_logarithms_each_side_by_itself() -> None:
    measured = energy(2.0, low=1.0, high=16.0, note="a meter")
    (one,) = joules_per_correct_answer([measured], [accuracy("sst2", 0.5, 1 / 32, 1.0)], CANDIDATES)
    assert one.value == 4
    # Below, both are twice off; above, the energy 2 ** 3 times and the accuracy 2 ** 4 times.
    assert one.low == pytest.approx(1.500857) and one.high == pytest.approx(4 * 2**5)
    assert (one.metric, one.unit, one.axis) == ("energy_j_per_correct_answer", "J", "E")
    assert (one.model, one.adaptation, one.task, one.batch, one.length) == ("gla", "full", "average", 4, 8)
    assert one.note == "50.0% of the answers to sst2 are right; a meter" and one.flags == ()
    assert (one.phase, one.basis, one.confidence) == ("classify", "measured", 0.95)


def test_the_share_is_the_mean_over_tasks_of_accuracy_alone() -> None:
    few = "1 of 2 seeds"
    scores = [
        accuracy("sst2", 0.8, 0.7, 0.9, note=few, flags=(GENERATED,)),
        accuracy("mnli", 0.6, 0.5, 0.7, set="validation_matched", flags=(PARTIAL,)),
        accuracy("mnli", 0.4, 0.3, 0.5, set="validation_mismatched", note=few, flags=(GENERATED,)),
        accuracy("sst2", 0.1, seed=0),
        accuracy("sst2", 0.1, metric="f1"),
        accuracy("cola", 0.1, metric="matthews"),
        accuracy("average", 0.1, metric="glue_score"),
    ]
    (one,) = joules_per_correct_answer([energy(1.3, 1.3, 1.3)], scores, CANDIDATES)
    # The share is 0.65, its half width the root of 0.05 ** 2 + (2 * 0.025) ** 2.
    assert one.value == pytest.approx(2.0)
    assert (one.low, one.high) == (pytest.approx(1.3 / 0.7207107), pytest.approx(1.3 / 0.5792893))
    assert one.note == f"65.0% of the answers to sst2, mnli are right; {few}"
    assert one.flags == (GENERATED, PARTIAL)


def test_every_adaptation_has_its_own_and_an_estimate_stays_one() -> None:
    metered, estimated = energy(1.0), energy(2.0, basis="estimated")
    others = [energy(7.0, model="bert"), energy(7.0, metric="gross_energy_j_per_example")]
    others += [energy(7.0, phase=phase) for phase in ("train", "generate")]
    scores = [accuracy("sst2", 0.5), accuracy("sst2", 0.25, adaptation="lora")]
    candidates = [*CANDIDATES, ("gla", "lora")]
    found = joules_per_correct_answer([metered, estimated, *others], scores, candidates)
    assert [(one.basis, one.adaptation, one.value) for one in found] == [
        ("measured", "full", 2.0),
        ("measured", "lora", 4.0),
        ("estimated", "full", 4.0),
        ("estimated", "lora", 8.0),
    ]


def test_without_a_meter_the_reason_is_said_once_per_model() -> None:
    absent = energy(None, batch=None, length=None, n=None, status="not measured", reason="no meter")
    scores = [accuracy("sst2", 0.5), accuracy("sst2", 0.25, adaptation="lora")]
    (one,) = joules_per_correct_answer([absent], scores, [*CANDIDATES, ("gla", "lora")])
    assert (one.metric, one.adaptation, one.value) == ("energy_j_per_correct_answer", "", None)
    assert (one.status, one.reason) == ("not measured", "no meter")
    assert list(joules_per_correct_answer([], scores, CANDIDATES)) == []


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([accuracy("sst2", 0.0, 0.0, 0.1)], "no answer is right"),
        ([accuracy("cola", 0.5, metric="matthews")], "no task of the study is scored by accuracy"),
        ([accuracy("sst2", 0.5), accuracy("rte", 0.5, model="bert")], "no accuracy on rte"),
        ([accuracy("sst2", None), accuracy("sst2", 0.5, model="bert")], "no accuracy on sst2"),
    ],
)
def test_without_right_answers_there_is_a_reason(scores: list[Record], reason: str) -> None:
    (one,) = joules_per_correct_answer([energy(1.0, 0.9, 1.1)], scores, CANDIDATES)
    assert (one.value, one.low, one.high, one.n) == (None, None, None, None)
    assert (one.status, one.reason, one.adaptation) == ("not measured", reason, "full")


@pytest.mark.parametrize(
    ("joules", "share"),
    [
        (energy(2.0), accuracy("sst2", 0.5, 0.4, 0.6)),
        (energy(2.0, -0.1, 3.0), accuracy("sst2", 0.5, 0.4, 0.6)),
        (energy(2.0, 1.0, 3.0), accuracy("sst2", 0.5)),
        (energy(2.0, 1.0, 3.0), accuracy("sst2", 0.5, 0.0, 1.0)),
    ],
)
def test_what_has_no_interval_gives_none(joules: Record, share: Record) -> None:
    (one,) = joules_per_correct_answer([joules], [share], CANDIDATES)
    assert (one.value, one.low, one.high, one.confidence) == (4.0, None, None, None)
