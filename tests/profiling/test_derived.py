"""What follows from measured times: energy at a given power, shares of the roofline."""

import math
from typing import Any

import pytest

from tests.stand_ins.measured import Found
from trilemma.errors import TrilemmaError
from trilemma.profiling.derived import energy_estimates, roofline_shares
from trilemma.records import Record


def measured(metric: str, phase: Any, value: float | None, **columns: Any) -> Record:
    base: dict[str, Any] = {"model": "m", "axis": "E", "unit": "ms", "batch": 4, "length": 8}
    return Record(**(base | {"metric": metric, "phase": phase, "value": value} | columns))


ABSENT = {"status": "not measured", "reason": "out of memory"}


def test_energy_is_estimated_as_power_times_time() -> None:
    records = [
        measured("latency_ms", "classify", 20.0, low=10.0, high=40.0, n=6, confidence=0.95, verdict="noisy"),
        measured("latency_ms", "generate", 40.0, decode=3),
        measured("ttft_ms", "prefill", 16.0, decode=3),
        measured("tpot_ms", "decode", 2.0, decode=3),
        measured("examples_per_s", "train", 10.0, low=5.0, high=20.0, unit="examples/s", adaptation="full"),
        measured("examples_per_s", "classify", 10.0),
        measured("latency_ms", "decode", 4.0, decode=3),
        measured("parameters", "", 3.0, batch=None, length=None),
        measured("ttft_ms", "prefill", 16.0, basis="forecast"),
    ]
    found = Found(energy_estimates(records, watts=65.0))
    assert {(one.basis, one.unit, one.status) for one in found.records} == {("estimated", "J", "ok")}
    assert [(one.metric, one.phase, one.value) for one in found.records] == [
        ("energy_j_per_example", "classify", pytest.approx(65 * 0.020 / 4)),
        ("energy_j_per_example", "generate", pytest.approx(65 * 0.040 / 4)),
        ("energy_j_per_token", "prefill", pytest.approx(65 * 0.016 / 32)),
        ("energy_j_per_token", "decode", pytest.approx(65 * 0.002 / 4)),
        ("energy_j_per_example", "train", pytest.approx(65 / 10)),
    ]
    classified, *_, trained = found.records
    assert (classified.low, classified.high, classified.n) == (pytest.approx(0.1625), pytest.approx(0.65), 6)
    assert classified.verdict == "noisy" and classified.confidence == 0.95
    assert classified.note == "estimate: 65 W, as given, times the measured median latency"
    # Of a rate, the highest needs least.
    assert (trained.low, trained.high, trained.adaptation) == (
        pytest.approx(3.25),
        pytest.approx(13.0),
        "full",
    )


def test_what_was_not_timed_is_not_estimated_for_the_same_reason() -> None:
    (record,) = energy_estimates([measured("latency_ms", "classify", None, **ABSENT)], watts=65.0)
    assert (record.metric, record.value, record.reason) == ("energy_j_per_example", None, "out of memory")


@pytest.mark.parametrize("watts", [0.0, -1.0, math.nan, math.inf])
def test_watts_that_are_not_a_power_are_refused(watts: float) -> None:
    with pytest.raises(TrilemmaError, match="W is not a power; give the device's watts under load"):
        list(energy_estimates([], watts))


def test_a_share_is_the_least_time_over_the_measured_one() -> None:
    time = {"low": 10.0, "high": 40.0, "n": 9, "confidence": 0.95, "verdict": "noisy", "drift": 0.1}
    records = [
        measured("latency_ms", "classify", 20.0, **time),
        measured("roofline_ms", "classify", 5.0, note="bound by memory"),
        measured("ttft_ms", "prefill", 1.0, decode=3),
        measured("roofline_ms", "prefill", 2.0, decode=3, note="bound by compute"),
        measured("latency_ms", "decode", 8.0, decode=3),
        measured("roofline_ms", "decode", 2.0, decode=3),
        measured("roofline_ms", "decode", 2.0, decode=5),  # at a point that was not timed
    ]
    found = Found(roofline_shares(records))
    share = found.one("roofline_share", "classify")
    assert (share.value, share.low, share.high) == (0.25, 0.125, 0.5)
    assert (share.unit, share.n, share.verdict, share.drift) == ("fraction", 9, "noisy", 0.1)
    assert share.note == "bound by memory"
    above = found.one("roofline_share", "prefill")
    assert above.value == 2 and above.note.startswith("bound by compute; above 1")
    assert found.value("roofline_share", "decode") == 0.25


def test_a_share_lacks_what_its_parts_lack() -> None:
    absent = {"status": "not measured", "reason": "no rate"}
    records = [
        measured("latency_ms", "classify", 20.0, low=1.0, high=40.0, n=9, confidence=0.95, verdict="noisy"),
        measured("roofline_ms", "classify", None, **absent),
        measured("ttft_ms", "prefill", None, **ABSENT),
        measured("roofline_ms", "prefill", 2.0),
    ]
    found = Found(roofline_shares(records))
    lost = found.one("roofline_share", "classify")
    assert (lost.value, lost.low, lost.n, lost.verdict, lost.confidence) == (None, None, None, "", None)
    assert lost.reason == "no rate" and found.one("roofline_share", "prefill").reason == "out of memory"
