"""Forecasts within a study: each model from the others, never from itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import BloomConfig

from trilemma.errors import DeployError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration, families
from trilemma.forecasting.cases import Case, analytic_seconds
from trilemma.forecasting.forecaster import Forecaster, Measured
from trilemma.hardware.catalogue import Machine
from trilemma.hardware.roofline import Found, Roofline
from trilemma.profiling.subject import ProfiledModel
from trilemma.records import Record
from trilemma.study import forecasting
from trilemma.study.forecasting import TOO_FEW, forecasts

MACHINE = Machine(
    name="box",
    kind="cpu",
    flops={"float32": 1e11, "int8": 2e11, "packed": 5e11},
    bandwidth=3e10,
    memory=16e9,
)
THIS_MACHINE = calibration.this_machine
DECODE = 9
POINTS = [(batch, length) for batch in (1, 4) for length in (16, 64, 256)]


@pytest.fixture(autouse=True)
def box(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a calibration."""

    def absent() -> Calibration:
        raise DeployError("this machine is not calibrated; run `trilemma calibrate`")

    monkeypatch.setattr(calibration, "this_machine", lambda device: MACHINE)
    monkeypatch.setattr(calibration, "here", absent)
    monkeypatch.setattr(forecasting, "default_device", lambda: "cpu")


def saved(folder: Path, config: Any, *names: str) -> ProfiledModel:
    config.save_pretrained(folder / names[0])
    return ProfiledModel(names, folder / names[0])


def models_of(folder: Path) -> list[ProfiledModel]:
    """Four Transformers of one family, one of them under two names."""
    shapes = {("a",): (64, 2), ("b", "b-pretrained"): (128, 4), ("c",): (192, 3), ("d",): (256, 4)}
    return [
        saved(folder, families(width, layers, 320)["transformer-pp"].config, *names)
        for names, (width, layers) in shapes.items()
    ]


def timed(models: Sequence[ProfiledModel], factor: float = 1.6) -> list[Record]:
    """What a machine measures that needs ``factor`` times the usual time, give or take 2%."""
    rng = np.random.default_rng(0)
    records = []
    for model in models:
        form = forecasting._model(model, MACHINE, "cpu")
        assert isinstance(form, forecasting._Model)
        for batch, length in POINTS:
            passes = {"latency_ms": ("classify", length), "ttft_ms": ("prefill", length)}
            passes["tpot_ms"] = ("decode", length + (DECODE - 1) // 2)
            for metric, (phase, context) in passes.items():
                case = Case(form.shape, form.precision, phase, batch, context)  # type: ignore[arg-type]
                seconds = factor * analytic_seconds(case, MACHINE) * np.exp(0.02 * rng.standard_normal())
                own = [measured(name, metric, 1e3 * seconds, batch, length) for name in model.names]
                records += own
                if metric == "tpot_ms":
                    speed = "decode_tokens_per_s"
                    records += [replace(one, metric=speed, value=batch / seconds) for one in own]
    return records


def measured(name: str, metric: str, value: float | None, batch: int = 1, length: int = 16) -> Record:
    return Record(
        study="",
        model=name,
        arch="transformer",
        parameters=1,
        adaptation="",
        task="",
        set="",
        seed=None,
        axis="E",
        metric=metric,
        batch=batch,
        length=length,
        n=6,
        value=value,
        unit="ms",
        low=value,
        high=value,
    )


def by_place(records: Sequence[Record]) -> dict[tuple[str, str, int | None, int | None], Record]:
    return {(one.model, one.metric, one.batch, one.length): one for one in records}


def test_each_measured_time_has_a_forecast_that_is_near_it(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    records = timed(models)
    found = by_place(list(forecasts(models, records, DECODE)))
    assert len(found) == len(records)
    errors, held = [], []
    for record in records:
        forecast = found[record.model, f"forecast_{record.metric}", record.batch, record.length]
        assert forecast.value and forecast.low and forecast.high and record.value
        assert forecast.low < forecast.value < forecast.high and forecast.unit == record.unit
        assert forecast.n is None and "the interval is of 90%" in forecast.note
        errors.append(abs(forecast.value / record.value - 1))
        held.append(forecast.low <= record.value <= forecast.high)
    assert np.median(errors) < 0.05 and np.mean(held) > 0.75
    for place, one in found.items():
        assert one.model != "b-pretrained" or one.value == found["b", *place[1:]].value


def test_the_note_says_what_a_forecast_rests_on(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    found = by_place(list(forecasts(models, timed(models), DECODE)))
    # three other shapes, three passes a point; two names of one measurement are one
    assert found["a", "forecast_ttft_ms", 1, 16].note == (
        "from 54 passes of the study's other models and no calibration (this machine is not calibrated); "
        "the interval is of 90%"
    )


def test_decode_speed_is_the_batch_over_the_time_of_a_token(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    found = by_place(list(forecasts(models, timed(models), DECODE)))
    time, speed = (found["c", f"forecast_{name}", 4, 64] for name in ("tpot_ms", "decode_tokens_per_s"))
    assert speed.value == pytest.approx(4e3 / time.value)
    assert speed.low == pytest.approx(4e3 / time.high) and speed.high == pytest.approx(4e3 / time.low)


def test_a_model_is_never_forecast_from_itself_or_its_shape(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    twin = replace(models[0], names=("twin",))
    records = timed(models)
    before = by_place(list(forecasts(models, records, DECODE)))
    both = [*records, *(replace(one, model="twin") for one in records if one.model == "a")]
    slower = [replace(one, value=5 * (one.value or 0)) if one.model in ("a", "twin") else one for one in both]
    after = by_place(list(forecasts([*models, twin], slower, DECODE)))
    own = [place for place in before if place[0] == "a"]
    assert [after[place].value for place in own] == [before[place].value for place in own]
    assert any(after[place].value != before[place].value for place in before if place[0] == "d")


def test_too_few_passes_are_no_forecast_unless_the_machine_is_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only, *others) = models_of(tmp_path)
    records = timed([only])
    alone = list(forecasts([only], records, DECODE))
    assert len(alone) == len(records)
    assert all(one.value is None and one.low is None and one.note == TOO_FEW for one in alone)
    passes = []
    for record in timed(others):
        form = forecasting._model(next(m for m in others if record.model in m.names), MACHINE, "cpu")
        if record.metric in forecasting.PHASES and isinstance(form, forecasting._Model):
            passes.append(Measured(form.case(record, DECODE), (record.value or 0) / 1e3))
    known = Calibration(MACHINE, "this one", tuple(passes), ())
    monkeypatch.setattr(calibration, "here", lambda: known)
    calibrated = list(forecasts([only], records, DECODE))
    assert all(one.value for one in calibrated)
    assert calibrated[0].note.startswith(
        f"from 0 passes of the study's other models and {len(passes)} of the calibration; "
    )


def test_a_family_that_is_not_known_says_so_and_the_others_are_forecast(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    odd = saved(tmp_path, BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=2), "odd")
    records = [measured("odd", "latency_ms", 3.0), *timed(models)]
    (first, *rest) = forecasts([odd, *models], records, DECODE)
    assert first.value is None and first.metric == "forecast_latency_ms"
    assert first.note.startswith("not measured: operations of a model of type 'bloom' are not known")
    assert all(one.value for one in rest)


def test_a_precision_that_the_machine_lacks_ends_no_study(tmp_path: Path) -> None:
    (first, *models) = models_of(tmp_path)
    records = timed([first, *models])
    found = list(forecasts([replace(first, dtype="float16"), *models], records, DECODE))
    for one in found:
        lacking = one.note == "not measured: this machine has no rate for products in float16"
        assert lacking == (one.model == "a") and (one.value is None) == lacking


def test_on_a_gpu_its_rates_count_and_no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = models_of(tmp_path)
    records = timed(models)
    rates = Roofline(machine="a GPU", bandwidth=9e11, flops={"float32": 3e13})
    memory = SimpleNamespace(total_memory=8e9)
    monkeypatch.setattr(forecasting, "default_device", lambda: "cuda")
    monkeypatch.setattr(calibration.torch.cuda, "get_device_properties", lambda device: memory)
    monkeypatch.setattr(calibration, "this_machine", THIS_MACHINE)
    monkeypatch.setattr(calibration, "find", lambda device, precisions: Found(rates, ""))
    used: list[Machine] = []

    def forecaster(machine: Machine, *known: Any) -> Forecaster:
        used.append(machine)
        return Forecaster(machine, *known)

    monkeypatch.setattr(forecasting, "Forecaster", forecaster)
    found = list(forecasts(models, records, DECODE))
    assert len(found) == len(records)
    assert {(one.kind, one.bandwidth, one.rate("float32")) for one in used} == {("gpu", 9e11, 3e13)}
    assert all("no calibration, which there is for processors alone" in one.note for one in found)


def test_what_was_not_measured_is_not_forecast(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    absent = replace(measured("a", "latency_ms", None, 64, 512), note="not measured: out of memory")
    places = by_place(list(forecasts(models, [absent, *timed(models)], DECODE)))
    assert ("a", "forecast_latency_ms", 64, 512) not in places
    assert list(forecasts(models, [absent], DECODE)) == []


def test_a_finished_study_holds_work_and_forecasts(finished_demo: Path) -> None:
    records = pd.read_parquet(finished_demo / "runs" / "demo" / "records.parquet")
    models = set(records["model"])
    for metric in ("machine_bytes_per_s", "classify_flops", "prefill_least_ms", "decode_step_bytes"):
        assert set(records.loc[(records["metric"] == metric) & (records["value"] > 0), "model"]) == models
    forecast = records[records["metric"].isin(["forecast_latency_ms", "forecast_ttft_ms"])]
    # two other models, two lengths, a pass each of classification and prefill: just enough
    assert len(forecast) == 12 and (forecast["low"] < forecast["value"]).all()
    decoding = records[records["metric"].isin(["forecast_tpot_ms", "forecast_decode_tokens_per_s"])]
    assert len(decoding) == 12 and decoding["value"].isna().all() and set(decoding["note"]) == {TOO_FEW}
    page = (finished_demo / "runs" / "demo" / "report.html").read_text("utf-8")
    assert all(f'<section id="{name}">' in page for name in ("length", "phases", "roofline", "forecasts"))
