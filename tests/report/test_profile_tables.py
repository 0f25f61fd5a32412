"""A profile as tables: what is marked, what is left out and why, and what tells forms apart."""

from dataclasses import replace

import pandas as pd

from tests.stand_ins.profiles import lacking, two_models, value
from trilemma.forecasting.forecasts import forecast
from trilemma.operating_point import OperatingPoint
from trilemma.records import Record, records_table
from trilemma.report.layout import Sheet
from trilemma.report.profile import brackets, facts, labels, sheets


def frame(*records: Record) -> pd.DataFrame:
    return records_table(records).to_pandas()


def titled(records: list[Record]) -> dict[str, Sheet]:
    return {sheet.title.partition(",")[0]: sheet for sheet in sheets(frame(*records))}


def test_verdicts_and_reasons_are_marked_and_explained() -> None:
    sheet = titled(
        [
            value("ttft_ms", "prefill", 2.0, verdict="noisy"),
            value("tpot_ms", "decode", 2.0, verdict="drifting"),
            lacking("latency_p95_ms", "generate", "out of memory"),
            value("ttft_ms", "prefill", 2.0, length=64, verdict="steady"),
            value("tpot_ms", "decode", 2.0, length=64, verdict="undecided"),
            value("latency_p95_ms", "generate", 2.0, length=64),
        ]
    )["Generation: time"]
    assert sheet.title == "Generation: time, 4 tokens generated" and sheet.fixed == 3
    assert sheet.header == ("model", "batch", "length", "TTFT", "TPOT", "95th percentile")
    first, second = sheet.rows
    assert first[:3] == ("gla:nano", "2", "32") and first[3] == "2.00 ms [1.80, 2.20] ~"
    assert first[4].endswith("] !") and first[5] == "–¹"
    assert second[3].endswith("]") and second[4].endswith("] ?")
    assert sheet.notes[0] == "¹ not measured: out of memory"
    assert [note[0] for note in sheet.notes[1:]] == ["~", "!", "?"]


def test_columns_without_any_value_are_one_line() -> None:
    reason = "too few positions"
    sheet = titled(
        [
            lacking("ttft_ms", "prefill", reason),
            lacking("tpot_ms", "decode", reason),
            value("latency_ms", "generate", 2.0),
        ]
    )["Generation: time"]
    assert sheet.header == ("model", "batch", "length", "latency")
    assert sheet.notes == ("TTFT, TPOT: not measured: too few positions",)


def test_a_table_of_which_nothing_was_measured_says_why() -> None:
    failed = lacking("tpot_ms", "decode", "the model failed with ValueError: x", status="failed")
    sheet = titled([lacking("ttft_ms", "prefill", "out of memory"), failed])["Generation: time"]
    assert sheet.header == ("model", "batch", "length")
    assert sheet.notes == (
        "TTFT: not measured: out of memory",
        "TPOT: failed: the model failed with ValueError: x",
    )


def test_each_kind_of_value_has_a_table_of_its_own() -> None:
    training = [
        value("step_ms", "train", 9.0, adaptation="lora", batch=16),
        value("gradient_bytes", "train", 1e6, None, adaptation="lora", batch=16),
        lacking("energy_j_per_example", "train", "no meter", adaptation="lora", batch=16),
    ]
    classified = [value("latency_ms", "classify", 3.0), value("peak_memory_bytes", "classify", 1e8)]
    found = titled([*two_models(), *training, *classified])
    assert list(found) == [
        "Models",
        *(f"Generation: {what}" for what in ("time", "memory", "work", "energy and cost")),
        *(f"Classification: {what}" for what in ("time", "memory")),
        *(f"Training: {what}" for what in ("time of a step", "memory", "energy")),
        "Who needs less",
    ]
    assert found["Training: time of a step"].header == ("model", "adaptation", "batch", "length", "step")
    assert found["Training: memory"].rows[0][-2:] == ("33.0 MB", "1.00 MB")  # weights hold at every point
    assert found["Training: energy"].notes == ("energy per example: not measured: no meter",)
    assert found["Models"].header == ("model", "architecture", "parameters", "precision", "kernel")


def test_estimates_have_columns_of_their_own() -> None:
    both = [
        value("energy_j_per_example", "generate", number, basis=basis)
        for number, basis in ((1.5, "measured"), (2.5, "estimated"))
    ]
    sheet = titled(both)["Generation: energy and cost"]
    assert sheet.header[3:] == ("energy per example", "energy per example, estimate")
    assert [cell.split()[0] for cell in sheet.rows[0][3:]] == ["1.50", "2.50"]


def test_forms_are_told_apart_by_what_differs_alone() -> None:
    one = value("ttft_ms", "prefill", 1.0)
    compiled = replace(one, compiled=True)
    sheet = titled([one, compiled])["Generation: time"]
    assert sheet.header[:2] == ("model", "compiled") and [row[1] for row in sheet.rows] == ["no", "yes"]
    assert list(labels(frame(one, compiled))) == ["gla:nano", "gla:nano compiled"]
    there = replace(one, machine="l4", plan="tensor 2")
    assert list(labels(frame(one, there))) == ["gla:nano", "gla:nano on l4 tensor 2"]


def test_points_with_several_numbers_of_tokens_are_told_apart() -> None:
    records = [value("ttft_ms", "prefill", 1.0, decode=count) for count in (4, 64)]
    sheet = titled(records)["Generation: time"]
    assert sheet.title == "Generation: time" and sheet.header[:4] == ("model", "batch", "length", "generated")
    assert [row[3] for row in sheet.rows] == ["4", "64"]


def test_what_plugins_measure_is_shown() -> None:
    found = titled(
        [
            value("ttft_ms", "prefill", 1.0),
            value("disk_bytes", "", 5e6, None, unit="bytes", batch=None, length=None, decode=None),
            value("joy", "classify", 3.0, unit="smiles/s"),
        ]
    )
    assert found["Models"].header[-1] == "disk bytes" and found["Models"].rows[0][-1] == "5.00 MB"
    assert found["Further measurements"].header == ("model", "batch", "length", "joy")


def test_facts_name_hardware_rates_and_idle_power() -> None:
    idle = value("idle_power_w", "", 12.0, batch=None, length=None, decode=None)
    assert facts(frame(*two_models(), idle)) == [
        "a processor, 2 cores",
        "trilemma 0",
        "roofline: memory 40.0 GB/s; 100 GFLOP/s (products in float32)",
        "idle power: 12 W",
    ]


def test_forecasts_are_one_table_with_what_decides_about_a_deployment() -> None:
    points = [OperatingPoint(1, 128, 8), OperatingPoint(1, 256, 8)]
    records = forecast(["gla:nano", "transformer-pp:nano"], ["l4", "t4"], points)
    found = titled(records)
    sheet = found["Forecast of generation"]
    assert sheet.header[:7] == ("model", "precision", "machine", "batch", "length", "TTFT", "TPOT")
    assert sheet.header[7:] == ("latency", "decode speed", "peak", "energy per example")
    assert len(sheet.rows) == 8 and sheet.rows[0][5].endswith(" ms¹")
    assert "cost of a million: not forecast: the machine has no price" in sheet.notes
    assert any("description alone" in note for note in sheet.notes)
    assert brackets(frame(*records)) == ""
    assert brackets(frame(*two_models())) == "Brackets hold 95% intervals." and brackets(frame()) == ""


def test_a_forecast_that_does_not_fit_is_marked() -> None:
    (one,) = (
        record
        for record in forecast(["gla:nano"], ["l4"], [OperatingPoint(100_000, 4096)])
        if record.metric == "peak_memory_bytes"
    )
    assert one.flags == ("does not fit",)
    (sheet,) = (sheet for sheet in sheets(frame(one)) if sheet.title.startswith("Forecast"))
    assert sheet.rows[0][-1].endswith("¹") and sheet.notes[0].startswith("¹ does not fit")


def test_rows_are_in_the_order_of_models_and_then_of_points() -> None:
    places = [("b", 64), ("a", 8), ("b", 8), ("a", 64)]
    records = [value("ttft_ms", "prefill", 1.0, model=name, length=length) for name, length in places]
    rows = titled(records)["Generation: time"].rows
    assert [(row[0], row[2]) for row in rows] == [("b", "8"), ("b", "64"), ("a", "8"), ("a", "64")]


def test_nothing_has_no_tables() -> None:
    assert list(sheets(frame())) == [] and facts(frame()) == []


def test_what_never_changes_is_one_line_per_pair() -> None:
    records = [
        replace(value(metric, phase, number * (1 + length / 64), length=length, batch=batch), model=model)
        for model, number in (("gla:nano", 1.0), ("gla:micro", 9.0))
        for metric, phase in (("ttft_ms", "prefill"), ("latency_ms", "generate"))
        for batch in (1, 4)
        for length in (32, 64)
    ]
    never = ("gla:nano / gla:micro", "", "does not change with the length", "gla:nano: latency (generation)")
    assert titled(records)["Who needs less"].rows == ((*never[:3], f"{never[3][:10]}TTFT, {never[3][10:]}"),)
    changed = [
        replace(
            one,
            value=5.0 - 4 * (one.length == 64),
            low=4.9 - 4 * (one.length == 64),
            high=5.1 - 4 * (one.length == 64),
        )
        if one.model == "gla:micro" and one.metric == "ttft_ms"
        else one
        for one in records
    ]
    pair, batch, what, outcome = titled(changed)["Who needs less"].rows[0]
    assert (pair, batch, what) == (never[0], "1, 4", "TTFT") and outcome.startswith(
        "gla:nano; gla:micro from about"
    )
    assert titled(changed)["Who needs less"].rows[1] == never
