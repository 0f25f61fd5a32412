"""Looking values up: phases, points, what was measured before what was estimated, no forecasts."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from trilemma.analysis.candidates import candidates
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import cleaned, flagged, operating_point, preferred
from trilemma.errors import TrilemmaError
from trilemma.metrics import find_metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import PARTIAL, Record, records_table


def record(query: str, value: float | None, **columns: Any) -> Record:
    name, _, phase = query.partition("@")
    metric = find_metric(name)
    if value is None:
        columns = {"status": "not measured", "reason": "no meter"} | columns
    point = {"batch": 1, "length": 128}
    usual = {"model": "m", "axis": metric.axis, "metric": name, "phase": phase, "unit": metric.unit}
    return Record(**(usual | point | {"value": value} | columns))


def table(*records: Record) -> pd.DataFrame:
    return cleaned(records_table(records).to_pandas())


def value(records: pd.DataFrame, query: str, at: OperatingPoint | None = None) -> float | None:
    evidence = Evidence(records, at=at)
    return evidence.estimate(find_metric(query), evidence.candidates[0]).value


def test_the_phase_that_is_meant_is_read() -> None:
    records = table(
        record("latency_ms@decode", 1.0, decode=8),
        record("latency_ms@generate", 2.0, decode=8),
        record("latency_ms@classify", 3.0),
        record("peak_memory_bytes@train", 5.0),
        record("peak_memory_bytes@classify", 4.0),
    )
    assert value(records, "latency") == 3
    assert value(records, "latency", OperatingPoint(1, 128, 8)) == 2
    assert value(records, "latency@decode") == 1
    assert (value(records, "memory"), value(records, "training_memory")) == (4, 5)


def test_decode_counts_only_where_the_point_asks_for_it() -> None:
    records = table(record("tpot_ms@decode", 1.0, decode=8), record("tpot_ms@decode", 2.0, decode=64))
    assert value(records, "tpot") == 1
    assert value(records, "tpot", OperatingPoint(1, 128, 64)) == 2
    evidence = Evidence(records, at=OperatingPoint(1, 128, 9))
    absent = evidence.estimate(find_metric("tpot"), evidence.candidates[0])
    assert "only at batch 1 and length 128 and decode 8, 64" in absent.absence


def test_what_was_measured_goes_before_an_estimate_and_a_forecast_is_neither() -> None:
    estimated = record("energy_j_per_example@classify", 2.0, basis="estimated")
    forecast = record("energy_j_per_example@classify", 9.0, basis="forecast")
    elsewhere = record("energy_j_per_example@classify", 9.0, machine="l4", basis="forecast", precision="int8")
    assert value(table(forecast, estimated, record("energy_j_per_example@classify", 1.0)), "energy") == 1
    assert value(table(record("energy_j_per_example@classify", None), estimated), "energy") == 2
    assert value(table(elsewhere, record("energy_j_per_example@classify", None)), "energy") is None
    kept = preferred(table(record("energy_j_per_example@classify", None), estimated))
    assert kept["value"].tolist() == [2]


def test_a_model_in_several_precisions_is_several_candidates() -> None:
    forms = [
        record(query, number, precision=precision)
        for precision, number in (("float32", 4.0), ("bfloat16", 2.0))
        for query in ("latency_ms@classify", "weight_bytes")
    ]
    training = record("examples_per_s@train", 7.0, precision="bfloat16")
    evidence = Evidence(table(*forms, training))
    assert [one.name for one in evidence.candidates] == ["m:float32", "m:bfloat16"]
    latencies = [evidence.estimate(find_metric("latency"), one).value for one in evidence.candidates]
    assert latencies == [4, 2]
    assert evidence.estimate(find_metric("training_speed"), evidence.candidates[0]).value == 7
    (alone,) = candidates(table(*forms[:2], training))
    assert (alone.name, alone.precision) == ("m", "")


def test_the_usual_point_is_the_nearest_that_was_measured() -> None:
    records = table(
        record("latency_ms@classify", 1.0, batch=16, length=512),
        record("latency_ms@generate", 1.0, batch=1, length=256, decode=32),
        record("latency_ms@classify", 1.0, batch=1, length=128, basis="forecast"),
    )
    assert operating_point(records) == OperatingPoint(1, 256, 32)
    assert operating_point(records, "batch=1,length=256") == OperatingPoint(1, 256)
    with pytest.raises(
        TrilemmaError, match="nothing was measured at batch 1, length 256, 64 tokens generated"
    ):
        operating_point(records, "length=256,decode=64")


def test_a_table_from_a_stranger_is_cleaned() -> None:
    records = table(record("latency_ms@classify", 1.0), record("latency_ms@classify", 2.0))
    records["flags"] = [None, np.array([PARTIAL], dtype=object)]
    records.loc[0, ["value", "note", "reason"]] = [np.inf, None, None]
    clean = cleaned(records)
    assert clean["flags"].tolist() == [(), (PARTIAL,)] and flagged(records, PARTIAL).tolist() == [False, True]
    assert (clean.loc[0, "status"], clean.loc[0, "note"]) == ("not measured", "")
    assert Evidence(clean).estimate(find_metric("latency"), candidates(clean)[0]).value == 2
