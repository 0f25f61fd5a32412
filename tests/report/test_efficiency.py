"""The report on efficiency: the roofline, phases, axes of the grid, energy, and what forecasts were worth."""

import numpy as np
import pandas as pd
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.errors import TrilemmaError
from trilemma.report.charts.length import length_figure
from trilemma.report.charts.pareto import EFFICIENCY
from trilemma.report.charts.phases import phases_figure
from trilemma.report.charts.roofline import roofline_figure
from trilemma.report.sheets import forecast_sheet
from trilemma.report.tables import build
from trilemma.result import Result
from trilemma.units import format_value

Rows = list[dict[str, object]]


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return frames(models=3, adversarial=20, clean=30, seeds=(0,))[0]


def only(records: pd.DataFrame, query: str, model: str, batch: int, length: int) -> pd.Series:
    """The one measured record of METRIC@PHASE at a point."""
    metric, _, phase = query.partition("@")
    at = (records["batch"] == batch) & (records["length"] == length) & (records["basis"] != "forecast")
    what = (records["metric"] == metric) & (records["phase"] == phase) & (records["model"] == model)
    (found,) = records[what & at].to_dict("records")
    return pd.Series(found)


def test_a_mark_stands_where_work_and_time_say(records: pd.DataFrame) -> None:
    figure = roofline_figure(records)
    assert figure is not None and list(figure.variants) == [
        ("a classified batch",),
        ("prefill",),
        ("decoding",),
    ]
    rows = figure.variants["prefill",]["datasets"]["rows"]
    marks = [row for row in rows if "candidate" in row]
    assert len(marks) == 3 * 8
    (mark,) = (
        row for row in marks if (row["candidate"], row["point"]) == ("gla-nano", "batch 16, length 128")
    )
    flops, moved, time, least = (
        only(records, name, "gla-nano", 16, 128)
        for name in ("flops@prefill", "bytes_moved@prefill", "ttft_ms@prefill", "roofline_ms@prefill")
    )
    assert mark["x"] == pytest.approx(flops["value"] / moved["value"], rel=1e-5)
    assert mark["y"] == pytest.approx(1e3 * flops["value"] / time["value"], rel=1e-5)
    assert mark["y_low"] == pytest.approx(1e3 * flops["value"] / time["high"], rel=1e-5)
    assert mark["share"] == format_value(least["value"] / time["value"], "fraction")
    assert mark["limit"] == "memory"


def test_the_roof_is_that_of_the_machine(records: pd.DataFrame) -> None:
    def corners(frame: pd.DataFrame) -> dict[str, Rows]:
        figure = roofline_figure(frame)
        assert figure is not None
        found: dict[str, Rows] = {}
        for row in figure.variants["prefill",]["datasets"]["rows"]:
            if "roof" in row:
                found.setdefault(row["roof"], []).append(row)
        return found

    (roof,) = corners(records).values()
    assert [corner["roof_y"] for corner in roof][1:] == [9e10, 9e10] and roof[1]["x"] == 3
    assert roof[0]["roof_y"] == pytest.approx(3e10 * float(str(roof[0]["x"])))
    assert [corner["label"] for corner in roof] == [
        "30.0 GB/s of memory",
        None,
        "90.0 GFLOP/s, products in float32",
    ]
    packed = (records["model"] == "matmul-free-nano") & (records["metric"] == "machine_flops_per_s")
    two = records.assign(
        value=records["value"].mask(packed, 3e11),
        note=records["note"].mask(packed, "products of packed weights"),
    )
    assert set(corners(two)) == {"products in float32", "products of packed weights"}
    assert corners(records[~records["metric"].str.startswith("machine_")]) == {}


def test_points_without_known_work_have_no_mark(records: pd.DataFrame) -> None:
    unknown = (records["metric"] == "flops") & (records["model"] == "gla-nano")
    partly = records.assign(value=records["value"].mask(unknown))
    figure = roofline_figure(partly)
    assert figure is not None
    rows = figure.variants["decoding",]["datasets"]["rows"]
    assert {row["candidate"] for row in rows if "candidate" in row} == {
        "transformer-pp-nano",
        "matmul-free-nano",
    }
    assert roofline_figure(records[records["metric"] != "flops"]) is None


def test_an_answers_time_is_prefill_and_then_decoding(records: pd.DataFrame) -> None:
    figure = phases_figure(records)
    assert figure is not None and list(figure.variants) == [("1",), ("16",)]
    rows = figure.variants["16",]["datasets"]["rows"]
    first, second = (row for row in rows if (row["candidate"], row["length"]) == ("transformer-pp-nano", 512))
    ttft, decoding = (
        only(records, name, "transformer-pp-nano", 16, 512)["value"]
        for name in ("ttft_ms@prefill", "latency_ms@decode")
    )
    assert (first["start"], second["start"]) == (0, first["end"])
    assert first["end"] == pytest.approx(ttft, rel=1e-5)
    assert second["end"] == pytest.approx(ttft + decoding, rel=1e-5)
    assert second["what"] == "decoding, 31 further tokens"
    assert second["whole"] == format_value(ttft + decoding, "ms") and first["whole"] is None
    assert phases_figure(records[records["phase"] != "decode"]) is None


def test_efficiency_is_drawn_against_length_and_against_batch(records: pd.DataFrame) -> None:
    figure = length_figure(records)
    assert figure is not None
    rows = figure.variants["throughput", "batch", "length 512"]["datasets"]["rows"]
    assert {row["batch"] for row in rows} == {1, 16} and all("length" not in row for row in rows)
    assert all(row["y_low"] < row["y"] < row["y_high"] for row in rows)
    once = length_figure(records[records["batch"].isna() | (records["batch"] == 1)])
    assert once is not None and {key[1] for key in once.variants} == {"length"}


def with_energy(records: pd.DataFrame, value: float | None) -> pd.DataFrame:
    timed = records[(records["metric"] == "latency_ms") & (records["phase"] == "classify")]
    timed = timed[timed["basis"] != "forecast"]
    joules = timed.assign(metric="energy_j_per_example", unit="J", value=value, low=value, high=value)
    idle = timed.drop_duplicates("model").assign(
        metric="idle_power_w", phase="", unit="W", value=value, low=None, high=None, batch=None, length=None
    )
    return pd.concat([records, joules, idle], ignore_index=True)


def test_energy_joins_where_it_was_measured(records: pd.DataFrame) -> None:
    measured = with_energy(records, 0.25)
    table = build(measured, "efficiency")
    assert table.frame["energy_j_per_example"].tolist() == [0.25] * 3
    assert table.frame["idle_power_w"].tolist() == [0.25] * 3
    figure = length_figure(measured)
    assert figure is not None and ("energy per example", "length", "batch 16") in figure.variants
    assert "energy_j_per_example" in EFFICIENCY
    absent = with_energy(records, None)
    assert "energy_j_per_example" not in build(absent, "efficiency").metrics
    assert "energy_j_per_example" not in build(absent, "efficiency", "length").metrics
    assert length_figure(absent) is not None and "energy per example" not in {
        key[0] for key in length_figure(absent).variants
    }


def test_a_correct_answer_costs_each_candidate_its_own(records: pd.DataFrame) -> None:
    metric = "energy_j_per_correct_answer"
    by_model = dict(zip(dict.fromkeys(records["model"]), (0.5, 0.3, None), strict=True))
    joules = with_energy(records, 0.25)
    right = joules[joules["metric"] == "energy_j_per_example"].assign(
        metric=metric, task="average", adaptation="full", reason="no answer is right"
    )
    right["value"] = right["low"] = right["high"] = right["model"].map(by_model)
    known = pd.concat([joules, right], ignore_index=True)
    table = build(known, "efficiency")
    assert table.frame[metric].tolist()[:2] == [0.5, 0.3] and pd.isna(table.frame[metric][2])
    assert [row.notes.get(metric) for row in table.rows] == [None, None, "not measured: no answer is right"]
    assert metric in build(known, "efficiency", "length").metrics
    decision = Result(known, pd.DataFrame()).decide(best=metric)
    assert decision.choice == list(by_model)[1]
    assert ("energy per correct answer", "batch", "length 128") in length_figure(known).variants
    absent = pd.concat([joules, right.assign(value=None, low=None, high=None)], ignore_index=True)
    assert metric not in build(absent, "efficiency").metrics
    with pytest.raises(TrilemmaError, match="energy_j_per_correct_answer: not measured: no answer is right"):
        Result(absent, pd.DataFrame()).decide(best=metric)


def forecast(records: pd.DataFrame, metric: str) -> pd.Series:
    return (records["basis"] == "forecast") & (records["metric"] == metric)


def test_forecasts_are_held_against_what_was_measured(records: pd.DataFrame) -> None:
    sheet = forecast_sheet(records)
    assert sheet is not None
    assert [row[0] for row in sheet.rows] == ["median latency", "time per output token"]
    # Off by 0, 5 and 10% of what was measured, within 12% of the forecast either way.
    assert sheet.rows[0][1:] == ("24", "5.0%", "10.0%", "100.0%", "24")
    narrow = forecast(records, "latency_ms")
    sure = records.assign(
        low=records["low"].mask(narrow, records["value"] * 0.97),
        high=records["high"].mask(narrow, records["value"] * 1.03),
    )
    assert forecast_sheet(sure).rows[0][4] == "33.3%"
    unknown = records.assign(low=records["low"].mask(narrow), high=records["high"].mask(narrow))
    assert forecast_sheet(unknown).rows[0][1:] == ("24", "5.0%", "10.0%", "–", "0")  # none is no miss
    assert forecast_sheet(records[records["basis"] != "forecast"]) is None


def test_models_of_one_measurement_count_once(records: pd.DataFrame) -> None:
    again = records[records["model"] == "gla-nano"].assign(model="gla-pretrained")
    sheet = forecast_sheet(pd.concat([records, again], ignore_index=True))
    assert sheet is not None and sheet.rows[0][1] == "24"


def test_what_could_not_be_forecast_says_why(records: pd.DataFrame) -> None:
    some = forecast(records, "tpot_ms") & (records["model"] != "gla-nano")
    every = forecast(records, "latency_ms")
    absent = records.assign(
        value=np.where(some | every, np.nan, records["value"]),
        reason=np.where(some | every, "too few passes", ""),
    )
    sheet = forecast_sheet(absent)
    assert sheet is not None
    assert sheet.rows[0] == ("median latency", "0", "–", "–", "–¹", "0")
    assert sheet.rows[1][1] == "8¹" and sheet.notes == ("¹ too few passes",)
