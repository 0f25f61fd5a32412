"""Forecasts within a study: each model from the others, never from itself."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoConfig, BloomConfig

from trilemma.errors import DeployError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration, families
from trilemma.forecasting.forecaster import Forecaster, Measured, Seconds
from trilemma.forecasting.passes import ForwardPass, analytic_seconds
from trilemma.hardware import roofline
from trilemma.hardware.machine import Machine
from trilemma.hardware.roofline import Found
from trilemma.profiling import ModelUnderTest
from trilemma.profiling.operations import dimensions_of
from trilemma.records import Record
from trilemma.study import forecasting
from trilemma.study.forecasting import PASSES, SLICED, TOO_FEW, forecasts

MACHINE = Machine(
    name="box",
    kind="cpu",
    flops={"float32": 1e11, "int8": 2e11, "packed": 5e11},
    bandwidth=3e10,
    memory=16e9,
)
DECODE = 9
POINTS = [(batch, length) for batch in (1, 4) for length in (16, 64, 256)]


@pytest.fixture(autouse=True)
def box(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a calibration."""

    def absent() -> Calibration:
        raise DeployError("this machine is not calibrated; run `trilemma calibrate`")

    monkeypatch.setattr(roofline, "find", lambda device: Found(MACHINE, ""))
    monkeypatch.setattr(calibration, "here", absent)


def saved(folder: Path, config: Any, *names: str) -> ModelUnderTest:
    config.save_pretrained(folder / names[0])
    return ModelUnderTest(names, folder / names[0])


def models_of(folder: Path) -> list[ModelUnderTest]:
    """Five Transformers of one family, one of them under two names."""
    shapes = {
        ("a",): (64, 2),
        ("b", "b-pretrained"): (128, 4),
        ("c",): (192, 3),
        ("d",): (256, 4),
        ("e",): (160, 5),
    }
    return [
        saved(folder, families(width, layers, 320)["transformer-pp"].config, *names)
        for names, (width, layers) in shapes.items()
    ]


def timed(models: Sequence[ModelUnderTest], factor: float = 1.6) -> list[Record]:
    """What a machine measures that needs ``factor`` times the usual time, give or take 2%."""
    rng = np.random.default_rng(0)
    records = []
    for model in models:
        for batch, length in POINTS:
            for metric, phase in PASSES:
                case = pass_of(model, phase, batch, length)
                seconds = factor * analytic_seconds(case, MACHINE) * np.exp(0.02 * rng.standard_normal())
                times = [measured(name, metric, 1e3 * seconds, batch, length) for name in model.names]
                records += times
                if metric == "tpot_ms":
                    speed = "throughput_tokens_per_s"
                    records += [replace(one, metric=speed, value=batch / seconds) for one in times]
    return records


def pass_of(model: ModelUnderTest, phase: Any, batch: int, length: int) -> ForwardPass:
    """The pass that takes a time; in decoding that over the middle context."""
    shape = dimensions_of(AutoConfig.from_pretrained(model.folder))
    return ForwardPass(shape, "float32", phase, batch, length + (DECODE - 1) // 2 * (phase == "decode"))


PHASES = {metric: phase for metric, phase in PASSES}


def measured(name: str, metric: str, value: float, batch: int = 1, length: int = 16) -> Record:
    phase: Any = PHASES[metric]
    columns: dict[str, Any] = {
        "batch": batch,
        "length": length,
        "decode": DECODE if phase == "decode" else None,
    }
    columns |= {"precision": "float32", "verdict": "steady", "drift": 0.01, "drift_p": 0.5, "n": 6}
    columns |= {"low": value, "high": value, "confidence": 0.95}
    return Record(model=name, axis="E", metric=metric, phase=phase, value=value, unit="ms", **columns)


def by_place(records: Iterable[Record]) -> dict[tuple[str, str, int | None, int | None], Record]:
    return {(one.model, one.metric, one.batch, one.length): one for one in records}


def forecast(models: Sequence[ModelUnderTest], records: Sequence[Record]) -> list[Record]:
    return list(forecasts(models, records, device="cpu"))


def test_each_measured_time_has_a_forecast_that_is_near_it(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    records = timed(models)
    found = by_place(forecast(models, records))
    assert len(found) == len(records)
    errors, held = [], []
    for record in records:
        one = found[record.model, record.metric, record.batch, record.length]
        assert one.value and one.low and one.high and record.value
        assert one.low < one.value < one.high and one.confidence == 0.9
        assert (one.unit, one.phase, one.decode) == (record.unit, record.phase, record.decode)
        assert (one.basis, one.machine, one.n, one.verdict, one.drift) == ("forecast", "here", None, "", None)
        errors.append(abs(one.value / record.value - 1))
        held.append(one.low <= record.value <= one.high)
    assert np.median(errors) < 0.05 and np.mean(held) > 0.75
    for place, one in found.items():
        assert one.model != "b-pretrained" or one.value == found["b", *place[1:]].value


def test_the_note_says_what_a_forecast_rests_on(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    found = by_place(forecast(models, timed(models)))
    # four other shapes, three passes a point; two names of one measurement are one
    assert found["a", "ttft_ms", 1, 16].note == (
        "from 72 passes of the study's other models and no calibration of this machine"
    )


def test_decode_speed_is_the_batch_over_the_time_of_a_token(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    found = by_place(forecast(models, timed(models)))
    time, speed = (found["c", name, 4, 64] for name in ("tpot_ms", "throughput_tokens_per_s"))
    assert speed.value == pytest.approx(4e3 / time.value)
    assert speed.low == pytest.approx(4e3 / time.high) and speed.high == pytest.approx(4e3 / time.low)


def test_a_model_is_never_forecast_from_itself_or_its_shape(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    twin = replace(models[0], names=("twin",))
    records = timed(models)
    before = by_place(forecast(models, records))
    both = [*records, *(replace(one, model="twin") for one in records if one.model == "a")]
    slower = [replace(one, value=5 * (one.value or 0)) if one.model in ("a", "twin") else one for one in both]
    after = by_place(forecast([*models, twin], slower))
    own = [place for place in before if place[0] == "a"]
    assert [after[place].value for place in own] == [before[place].value for place in own]
    assert any(after[place].value != before[place].value for place in before if place[0] == "d")


def test_too_few_passes_are_no_forecast_unless_the_machine_is_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only, *others) = models_of(tmp_path)
    records = timed([only])
    alone = forecast([only], records)
    assert len(alone) == len(records)
    assert all((one.value, one.low, one.reason) == (None, None, TOO_FEW) for one in alone)
    passes = []
    for record in timed(others):
        if record.metric in PHASES and record.value and record.batch and record.length:
            [model] = [model for model in others if record.model in model.names]
            case = pass_of(model, record.phase, record.batch, record.length)
            passes.append(Measured(case, record.value / 1e3))
    known = Calibration(MACHINE, "this one", tuple(passes), ())
    monkeypatch.setattr(calibration, "here", lambda: known)
    calibrated = forecast([only], records)
    assert all(one.value for one in calibrated)
    assert calibrated[0].note == (
        f"from 0 passes of the study's other models and {len(passes)} of the calibration"
    )


def test_where_the_calibrated_machine_is_at_hand_slices_of_the_model_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of(tmp_path)
    monkeypatch.setattr(calibration, "here", lambda: Calibration(MACHINE, "this one", (), ()))
    times = Seconds(0.2, 0.1, 0.25)
    monkeypatch.setattr(
        calibration, "by_slices", lambda known: lambda config, passes, progress: dict.fromkeys(passes, times)
    )
    found = by_place(forecast(models, timed(models)))
    for name in ("b", "b-pretrained"):
        one, speed = (found[name, metric, 4, 64] for metric in ("tpot_ms", "throughput_tokens_per_s"))
        assert (one.value, one.low, one.high, one.note) == (200.0, 100.0, 250.0, SLICED)
        assert (speed.value, speed.low, speed.high) == (20.0, 16.0, 40.0)


def test_a_family_that_is_not_known_says_so_and_the_others_are_forecast(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    odd = saved(tmp_path, BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=2), "odd")
    records = [measured("odd", "latency_ms", 3.0), *timed(models)]
    (first, *rest) = forecast([odd, *models], records)
    assert (first.value, first.metric, first.status) == (None, "latency_ms", "not measured")
    assert first.reason.startswith("operations of a model of type 'bloom' are not known")
    assert all(one.value for one in rest)


def test_a_precision_that_the_machine_lacks_ends_no_study(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    records = [replace(one, precision="float16") if one.model == "a" else one for one in timed(models)]
    for one in forecast(models, records):
        lacking = one.reason == "this machine has no rate for products in float16"
        assert lacking == (one.model == "a") and (one.value is None) == lacking


def test_on_a_gpu_its_rates_count_and_no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = models_of(tmp_path)
    records = timed(models)
    gpu = Machine(name="here", kind="gpu", bandwidth=9e11, flops={"float32": 3e13}, memory=8e9)
    monkeypatch.setattr(roofline, "find", lambda device: Found(gpu, ""))
    used: list[Machine] = []

    def forecaster(machine: Machine, *known: Any) -> Forecaster:
        used.append(machine)
        return Forecaster(machine, *known)

    monkeypatch.setattr(forecasting, "Forecaster", forecaster)
    found = list(forecasts(models, records, device="cuda"))
    assert len(found) == len(records)
    assert {(one.kind, one.bandwidth, one.rate("float32")) for one in used} == {("gpu", 9e11, 3e13)}
    assert all("no calibration, which there is for processors alone" in one.note for one in found)


def test_what_was_not_measured_is_not_forecast(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    absent = replace(
        measured("a", "latency_ms", 1.0, 64, 512), value=None, status="not measured", reason="out of memory"
    )
    places = by_place(forecast(models, [absent, *timed(models)]))
    assert ("a", "latency_ms", 64, 512) not in places
    assert forecast(models, [absent]) == []


def test_times_of_whole_answers_and_of_training_are_not_forecast(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    others = [replace(measured("a", "latency_ms", 1.0), phase=phase) for phase in ("generate", "decode")]
    assert forecast(models, others) == []


def test_a_finished_study_holds_work_and_forecasts(finished_demo: Path) -> None:
    records = pd.read_parquet(finished_demo / "runs" / "demo" / "records.parquet")
    models = set(records["model"])
    for metric, phase in (
        ("machine_bytes_per_s", ""),
        ("flops", "classify"),
        ("roofline_ms", "prefill"),
        ("bytes_moved", "decode"),
    ):
        chosen = (records["metric"] == metric) & (records["phase"] == phase)
        assert set(records.loc[chosen & (records["value"] > 0), "model"]) == models
    found = records[(records["basis"] == "forecast") & (records["machine"] == "here")]
    prompt = found[found["phase"].isin(["classify", "prefill"])]
    # two other models, two lengths, a pass each of classification and prefill: just enough for a value
    assert len(prompt) == 12 and prompt["value"].notna().all() and prompt["low"].isna().all()
    assert prompt["note"].str.contains("are too few to say how far off the forecast may be").all()
    decoding = found[found["phase"] == "decode"]
    assert len(decoding) == 12 and decoding["value"].isna().all() and set(decoding["reason"]) == {TOO_FEW}
    page = (finished_demo / "runs" / "demo" / "report.html").read_text("utf-8")
    assert all(f'<section id="{name}">' in page for name in ("length", "phases", "roofline", "forecasts"))
