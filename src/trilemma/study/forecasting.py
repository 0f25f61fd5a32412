"""How fast each model would have been forecast to be: from what was timed of the study's other models.

Whoever wants to forecast speeds must know how far forecasts are off. So every model is left out in turn, with
all of its shape; the forecaster (:mod:`trilemma.forecasting.forecaster`) is fitted to the passes of the
others,
and to this machine's calibration where there is one, and forecasts the times of the model it has not seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trilemma.errors import DeployError, ModelError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration
from trilemma.forecasting.cases import Case, Phase
from trilemma.forecasting.forecaster import CONFIDENCE, Forecaster, Measured, Seconds
from trilemma.hardware.catalogue import Machine
from trilemma.hardware.machine import default_device
from trilemma.ops.ternary.packed import multiplies_packed
from trilemma.profiling.measurements.work import multiplied
from trilemma.profiling.operations import Shape, shape_of
from trilemma.profiling.subject import ProfiledModel
from trilemma.records import Record

PHASES: dict[str, Phase] = {"latency_ms": "classify", "ttft_ms": "prefill", "tpot_ms": "decode"}
"""Times that are forecast, and the pass that each is that of."""

SPEED = "decode_tokens_per_s"
"""Forecast too: a batch's tokens over TPOT."""

TOO_FEW = "not measured: too few passes of the study's other models were timed for a forecast"


@dataclass(frozen=True)
class _Model:
    """What a forecast needs to know of a model."""

    shape: Shape
    precision: str

    def case(self, record: Record, decode: int) -> Case:
        """The pass whose time the record holds; in decoding that over the middle context."""
        assert record.batch is not None and record.length is not None
        phase = PHASES.get(record.metric, "decode")
        length = record.length + (decode - 1) // 2 if phase == "decode" else record.length
        return Case(self.shape, self.precision, phase, record.batch, length)


def forecasts(models: Sequence[ProfiledModel], records: Sequence[Record], decode: int) -> Iterator[Record]:
    """A forecast beside every measured time of inference, ``forecast_latency_ms`` beside ``latency_ms``.

    Args:
        models: that were measured.
        records: of the measurement.
        decode: tokens that were generated after each prompt.

    Yields:
        Records with the forecast and its interval of 90%; without a value, and with the reason, where the
        operations of the model's family are not known, or too few passes of others were timed.
    """
    device = default_device()
    timed = [one for one in records if one.metric in (*PHASES, SPEED) and one.value is not None]
    if not timed:
        return
    machine = calibration.this_machine(device)
    known = {name: _model(one, machine, device) for one in models for name in one.names}
    passes: dict[Case, float] = {}
    for record in timed:
        model = known[record.model]
        if isinstance(model, _Model) and record.metric in PHASES and record.value is not None:
            passes[model.case(record, decode)] = record.value / 1e3
    calibrated, basis = _calibration(device)
    before, operations = (calibrated.measured, calibrated.operations) if calibrated else ((), ())
    fitted: dict[Shape, tuple[Forecaster, str]] = {}
    for record in timed:
        model = known[record.model]
        if isinstance(model, str):
            yield _of(record, None, f"not measured: {model}")
            continue
        if model.shape not in fitted:
            others = [Measured(case, t) for case, t in passes.items() if case.shape != model.shape]
            unseen = [one for one in before if one.case.shape != model.shape]
            forecaster = Forecaster(machine, [*others, *unseen], operations)
            note = f"from {len(others)} passes of the study's other models and {basis}"
            fitted[model.shape] = forecaster, f"{note}; the interval is of {CONFIDENCE:.0%}"
        forecaster, note = fitted[model.shape]
        case = model.case(record, decode)
        if not forecaster.measured(case.phase):
            yield _of(record, None, TOO_FEW)
            continue
        (seconds,) = forecaster.seconds([case])
        yield _of(record, seconds, note)


def _calibration(device: str) -> tuple[Calibration | None, str]:
    """The calibration, and how a note names it, or says why there is none."""
    if device != "cpu":
        return None, "no calibration, which there is for processors alone"
    try:
        known = calibration.here()
    except DeployError as error:
        return None, f"no calibration ({str(error).split(';')[0]})"
    return known, f"{len(known.measured)} of the calibration"


def _model(subject: ProfiledModel, machine: Machine, device: str) -> _Model | str:
    """Its shape and the precision in which it answers, or why they are not known."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(subject.folder, trust_remote_code=subject.trust_remote_code)
    try:
        shape = shape_of(config)
    except ModelError as error:
        return str(error)
    packed = shape.family == "matmul-free" and multiplies_packed(device)
    precision = "packed" if packed else multiplied(config, subject.precision)
    if not machine.multiplies(precision):
        return f"this machine has no rate for products in {precision}"
    return _Model(shape, precision)


def _of(record: Record, seconds: Seconds | None, note: str) -> Record:
    """The forecast of what a record holds."""
    absent = replace(record, metric=f"forecast_{record.metric}", value=None, low=None, high=None, n=None)
    if seconds is None:
        return replace(absent, note=note)
    value, low, high = (1e3 * one for one in seconds)
    if record.metric == SPEED:
        assert record.batch is not None
        value, low, high = (record.batch / one for one in (seconds.value, seconds.high, seconds.low))
    return replace(absent, value=value, low=low, high=high, note=note)
