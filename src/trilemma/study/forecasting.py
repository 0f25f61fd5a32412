"""How fast each model would have been forecast to be, never from its own measured times.

Whoever wants to forecast speeds must know how far forecasts are off. On a processor that is calibrated every
model is forecast as ``trilemma forecast`` does it, by slices that are timed once more
(:mod:`trilemma.forecasting.slices`). Elsewhere every model is left out in turn, with all of its shape; the
forecaster (:mod:`trilemma.forecasting.forecaster`) is fitted to the passes of the others and forecasts the
times of the model that it has not seen.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trilemma.errors import DeployError, ModelError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration
from trilemma.forecasting.forecaster import CONFIDENCE, Forecaster, Measured, Seconds
from trilemma.forecasting.passes import ForwardPass
from trilemma.hardware import roofline
from trilemma.hardware.machine import HERE, default_device
from trilemma.profiling import ModelUnderTest
from trilemma.profiling.cost import Pass, multiplied
from trilemma.profiling.operations import Dimensions, dimensions_of
from trilemma.progress import silent
from trilemma.records import Record

PASSES: dict[tuple[str, str], Pass] = {
    ("latency_ms", "classify"): "classify",
    ("ttft_ms", "prefill"): "prefill",
    ("tpot_ms", "decode"): "decode",
}
"""Times that are forecast, by metric and phase, and the pass that takes each."""

SPEED = ("throughput_tokens_per_s", "decode")
"""Forecast too: a batch's tokens over the time of one of each sequence."""

SLICED = "by slices of the model itself, timed after the measurement"
"""Note of a forecast that no measured pass of the study is behind."""

TOO_FEW = "too few passes of the study's other models were timed for a forecast"


def forecasts(
    models: Sequence[ModelUnderTest], records: Sequence[Record], *, device: str | None = None
) -> Iterator[Record]:
    """A forecast beside every measured time of inference.

    Args:
        models: that were measured.
        records: of the measurement.
        device: torch device; by default that on which models are measured.

    Yields:
        Records of basis ``forecast`` with the interval in which 90% are expected; without a value, and with
        the reason, where the operations of the model's family are not known, or too few passes of others were
        timed.
    """
    device = device or default_device()
    timed = [one for one in records if _key(one) in (*PASSES, SPEED) and one.value is not None]
    if not timed:
        return
    from transformers import AutoConfig

    machine = roofline.find(device).machine
    configs = {
        name: AutoConfig.from_pretrained(one.folder, trust_remote_code=one.trust_remote_code)
        for one in models
        for name in one.names
    }
    cases = [(record, _pass_of(record, configs[record.model])) for record in timed]
    passes: dict[ForwardPass, float] = {}
    for record, case in cases:
        if isinstance(case, ForwardPass) and _key(record) in PASSES and record.value is not None:
            passes[case] = record.value / 1e3
    calibrated, basis = _calibration(device)
    before, operations = (calibrated.measured, calibrated.operations) if calibrated else ((), ())
    sliced = _by_slices(calibrated, models, configs, cases) if calibrated else {}
    fitted: dict[Dimensions, tuple[Forecaster, str]] = {}
    for record, case in cases:
        if isinstance(case, str):
            yield _forecast(record, None, case)
            continue
        if not machine.multiplies(case.precision):
            yield _forecast(record, None, f"this machine has no rate for products in {case.precision}")
            continue
        if own := sliced.get((record.model, case)):
            yield _forecast(record, own, SLICED)
            continue
        shape = case.dimensions
        if shape not in fitted:
            others = [Measured(one, t) for one, t in passes.items() if one.dimensions != shape]
            unseen = [one for one in before if one.work.dimensions != shape]
            usable = [one for one in (*others, *unseen) if machine.multiplies(one.work.precision)]
            note = f"from {len(others)} passes of the study's other models and {basis}"
            fitted[shape] = Forecaster(machine, usable, operations), note
        forecaster, note = fitted[shape]
        if not forecaster.measured(case.phase):
            yield _forecast(record, None, TOO_FEW)
            continue
        (seconds,) = forecaster.seconds([case])
        yield _forecast(record, seconds, note)


def _by_slices(
    known: Calibration,
    models: Sequence[ModelUnderTest],
    configs: Mapping[str, Any],
    cases: Sequence[tuple[Record, ForwardPass | str]],
) -> dict[tuple[str, ForwardPass], Seconds]:
    """Forecasts by slices, by model and pass, where the machine that was calibrated is at hand."""
    timing = calibration.by_slices(known)
    found: dict[tuple[str, ForwardPass], Seconds] = {}
    for model in models:
        own = {case: None for one, case in cases if one.model == model.name and isinstance(case, ForwardPass)}
        for case, seconds in timing(configs[model.name], list(own), silent).items():
            found |= {(name, case): seconds for name in model.names}
    return found


def _key(record: Record) -> tuple[str, str]:
    return record.metric, record.phase


def _pass_of(record: Record, config: Any) -> ForwardPass | str:
    """The pass whose time a record holds, in decoding that over the middle context; or why it is unknown."""
    assert record.batch is not None and record.length is not None
    try:
        dimensions = dimensions_of(config)
    except ModelError as error:
        return str(error)
    phase = PASSES.get(_key(record), "decode")
    length = record.length + (((record.decode or 1) - 1) // 2 if phase == "decode" else 0)
    return ForwardPass(dimensions, multiplied(config, record.precision), phase, record.batch, length)


def _calibration(device: str) -> tuple[Calibration | None, str]:
    """The calibration, and what a note says of it."""
    if device != "cpu":
        return None, "no calibration, which there is for processors alone"
    try:
        known = calibration.here()
    except DeployError:
        return None, "no calibration of this machine"
    return known, f"{len(known.measured)} of the calibration"


def _forecast(record: Record, seconds: Seconds | None, text: str) -> Record:
    """The forecast of what a record holds, with a note; or the reason why there is none."""
    untimed: dict[str, Any] = {"n": None, "verdict": "", "drift": None, "drift_p": None, "note": ""}
    derived = replace(record, basis="forecast", machine=HERE, **untimed)
    if seconds is None:
        return derived.without_value(text)
    assert record.batch is not None
    time = seconds.rate(record.batch) if _key(record) == SPEED else seconds.times(1e3)
    note = "; ".join(filter(None, (time.note, text)))
    if math.isnan(time.low):
        return derived.with_value(time.value, confidence=None, note=note)
    return derived.with_value(time.value, time.low, time.high, confidence=CONFIDENCE, note=note)
