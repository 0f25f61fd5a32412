"""What models would do on machines, as records: times, throughput, memory, cost and energy."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trilemma.errors import DeployError
from trilemma.forecasting.calibration import Calibration
from trilemma.forecasting.forecaster import CONFIDENCE, Seconds, within
from trilemma.forecasting.machines import forecasters
from trilemma.forecasting.memory import ERROR, KEPT_FREE, UNCHECKED, memory_of
from trilemma.forecasting.models import AUTO, PRECISIONS, ForecastModel
from trilemma.forecasting.passes import ForwardPass
from trilemma.forecasting.plan import ParallelPlan
from trilemma.hardware.machine import Machine, versions
from trilemma.metrics import METRICS, Phase
from trilemma.operating_point import LARGEST, OperatingPoint
from trilemma.profiling.cost import Pass
from trilemma.progress import Progress, parts_of, silent
from trilemma.records import BY_DESCRIPTION, DOES_NOT_FIT, Record

FORECAST = (
    *("ttft_ms", "tpot_ms", "latency_ms", "throughput_tokens_per_s", "examples_per_s", "cost_per_million"),
    *("energy_j_per_example", "peak_memory_bytes", "weight_bytes", "state_bytes", "activation_bytes"),
    "machine_memory_bytes",
)
"""The metrics that are forecast."""


def forecast(
    models: Sequence[str | Path | ForecastModel],
    machines: Sequence[str | Machine],
    points: Sequence[OperatingPoint],
    *,
    precisions: Sequence[str] = (AUTO,),
    plans: Sequence[ParallelPlan] = (ParallelPlan(),),
    calibration: Calibration | None = None,
    progress: Progress = silent,
) -> list[Record]:
    """Forecast every model on every machine at every operating point.

    Args:
        models: folders, hub ids, ``ARCH:SIZE``, or models themselves; their weights are not read.
        machines: see :func:`trilemma.forecasting.machines.forecasters`.
        points: batch, length, and tokens generated; 0 where texts are classified.
        precisions: of the weights; see :meth:`ForecastModel.precision_on`.
        plans: over how many devices.
        calibration: this machine's; by default the one that ``trilemma calibrate`` kept.
        progress: is given the share of the models that are forecast, each on all machines.

    Returns:
        Records of basis ``forecast``, with the interval of 90% that measurements give. Times that rest on a
        description alone have none, and the flag ``by description``; nor has what too little is known of, and
        the note says why. Memory is that of each device; weights and state are counted.
        What cannot be forecast (a precision, a plan, too few positions) is ``not measured`` with the reason.

    Raises:
        ModelError: for a model that there is not, or whose family is not known.
        DeployError: for an unknown machine or precision, or an operating point that is out of range.
    """
    for point in points:
        if not all(least <= one <= LARGEST for least, one in zip((1, 1, 0), point, strict=True)):
            raise DeployError(
                f"an operating point has 1 to {LARGEST:,} sequences of 1 to {LARGEST:,} tokens and generates "
                f"0 to {LARGEST:,}; change batch, length or decode ({point})"
            )
    for precision in set(precisions) - set(PRECISIONS):
        raise DeployError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    known = [one if isinstance(one, ForecastModel) else ForecastModel.find(str(one)) for one in models]
    records: list[Record] = []
    deployed = forecasters(machines, calibration)
    parts = parts_of(progress, [1.0] * len(deployed) * len(known))
    for forecaster in deployed:
        cases = [
            _Case(model, forecaster.machine, precision, refusal, plan, point)
            for model in known
            for precision, refusal in _precisions(model, forecaster.machine, precisions).items()
            for plan in plans
            for point in points
        ]
        for model in known:
            own = [case for case in cases if case.model is model]
            passes = list(dict.fromkeys(one for case in own for one in case.passes))
            report = next(parts)
            seconds = dict(zip(passes, forecaster.seconds(passes, model.config, report), strict=True))
            report(1.0, 1.0, "")
            records += [record for case in own for record in case.records(seconds, forecaster.measured)]
    return records


def _precisions(model: ForecastModel, machine: Machine, asked: Sequence[str]) -> dict[str, str]:
    """The precisions in which a model is deployed on a machine, each with why it cannot be ("" if it can)."""
    found: dict[str, str] = {}
    for name in asked:
        try:
            found.setdefault(model.precision_on(machine, name), "")
        except DeployError as error:
            found.setdefault(name, str(error))
    return found


@dataclass(frozen=True)
class _Case:
    """One model in one precision on one machine, spread over its devices, at one operating point.

    Attributes:
        model, machine, precision, plan, point: what it is.
        impossible: why the machine or the model cannot take that precision; "" if they can.
    """

    model: ForecastModel
    machine: Machine
    precision: str
    impossible: str
    plan: ParallelPlan
    point: OperatingPoint

    @property
    def refusal(self) -> str:
        """Why there is no forecast; "" if there is one."""
        model, needed = self.model.dimensions, self.point.length + self.point.decode
        if self.impossible:
            return self.impossible
        if self.point.decode and not model.causal:
            return f"{self.model.name} generates nothing; leave out decode, or name a causal model"
        if model.positions is not None and needed > model.positions:
            return f"{self.model.name} has {model.positions} positions, {needed} are needed"
        return self.plan.refusal(model, self.machine)

    @property
    def passes(self) -> list[ForwardPass]:
        """The prompt's or the classifier's pass, and that of a further token where there is one."""
        if self.refusal:
            return []
        batch, length, decode = self.point
        model, precision = self.model.dimensions, self.precision
        first = ForwardPass(model, precision, "prefill" if decode else "classify", batch, length)
        # Time grows nearly linearly with the context, so that of the middle one is the mean.
        further = ForwardPass(model, precision, "decode", batch, length + decode // 2)
        return [first, further] if decode > 1 else [first]

    def records(
        self, seconds: Mapping[ForwardPass, Seconds], measured: Callable[[Pass], bool]
    ) -> Iterator[Record]:
        """The forecasts of all metrics, or the reason why there are none.

        Args:
            seconds: of each pass on one device.
            measured: whether forecasts of a phase rest on measurements.
        """
        refusal = self.refusal
        values = {} if refusal else {**self._times(seconds), **self._memory()}
        rests = not refusal and all(measured(one.phase) for one in self.passes)
        for metric, phase in _asked(self.point):
            found = values.get((metric, phase), refusal or self._lacking(metric))
            reason = found if isinstance(found, str) else ""
            number = math.nan if isinstance(found, str | Seconds) else found
            time = found if isinstance(found, Seconds) else Seconds(number, math.nan, math.nan)
            flags = (BY_DESCRIPTION,) if isinstance(found, Seconds) and not rests else ()
            if metric == "peak_memory_bytes" and not reason:
                checked = self.machine.kind == "cpu" and self.plan.devices == 1
                time = within(number, ERROR if checked else UNCHECKED)
            note = time.note
            bounded = not math.isnan(time.low)
            usable = self.machine.memory * (1 - KEPT_FREE)
            if metric == "peak_memory_bytes" and time.value > usable:
                flags, note = (DOES_NOT_FIT,), f"does not fit: {KEPT_FREE:.0%} of a device are kept free"
            yield Record(
                model=self.model.name,
                arch=self.model.config.model_type,
                parameters=self.model.parameters,
                precision=self.precision,
                axis="E",
                metric=metric,
                phase=phase,
                batch=self.point.batch,
                length=self.point.length,
                decode=self.point.decode,
                value=None if reason else time.value,
                unit=METRICS[metric].unit,
                low=time.low if bounded else None,
                high=time.high if bounded else None,
                confidence=CONFIDENCE if bounded else None,
                basis="forecast",
                status="not measured" if reason else "ok",
                reason=reason,
                flags=flags,
                note=note,
                machine=self.machine.name,
                plan=str(self.plan) if self.plan.devices > 1 else "",
                versions=_versions(),
            )

    def _times(self, seconds: Mapping[ForwardPass, Seconds]) -> dict[tuple[str, str], Seconds | float]:
        """What follows from the times of the passes."""
        batch, length, decode = self.point
        first, *later = (self.plan.spread(seconds[one], one, self.machine) for one in self.passes)
        at_once = batch * self.plan.pipeline  # a pipeline keeps a batch in flight for each of its stages
        found: dict[tuple[str, str], Seconds | float] = {}
        whole, phase, tokens = first, "classify", length
        if decode:
            found["ttft_ms", "prefill"] = first.times(1e3)
            phase, tokens = "generate", length + decode
        for further in later:
            decoding = further.times(decode - 1)
            found["tpot_ms", "decode"] = further.times(1e3)
            found["latency_ms", "decode"] = decoding.times(1e3)
            found["throughput_tokens_per_s", "decode"] = further.rate(at_once)
            whole = first.and_then(decoding)
        found["latency_ms", phase] = whole.times(1e3)
        found["throughput_tokens_per_s", phase] = whole.rate(at_once * tokens)
        found["examples_per_s", phase] = whole.rate(at_once)
        for metric, per_second in (
            ("cost_per_million", None if self.machine.price is None else self.machine.price / 3600 * 1e6),
            ("energy_j_per_example", self.machine.watts),
        ):
            if per_second is not None:
                found[metric, phase] = whole.times(per_second * self.plan.devices / at_once)
        return found

    def _memory(self) -> dict[tuple[str, str], Seconds | float]:
        """Bytes of each device, all that is neither weights nor state as activations."""
        model = self.model.dimensions
        memory = memory_of(self.model, self.precision, self.point).divided(
            self.plan.tensor,
            self.plan.pipeline,
            model.width if model.family == "matmul-free" else model.kv_heads,
        )
        phase = "generate" if self.point.decode else "classify"
        return {
            ("peak_memory_bytes", phase): memory.peak,
            ("weight_bytes", ""): memory.weights,
            ("state_bytes", phase): memory.state,
            ("activation_bytes", phase): memory.activations + memory.room,
            ("machine_memory_bytes", ""): self.machine.memory,
        }

    def _lacking(self, metric: str) -> str:
        """Why a metric of a case that can be forecast has no value."""
        lacks = {"cost_per_million": "price", "energy_j_per_example": "watts"}.get(metric)
        return f"the machine has no {lacks}" if lacks else "no token is generated after the first"


def _asked(point: OperatingPoint) -> list[tuple[str, Phase]]:
    """Metrics that are forecast of an operating point, each in every phase that the point has."""
    own = {"", "prefill", "decode", "generate"} if point.decode else {"", "classify"}
    pairs = ((metric, phase) for metric in FORECAST for phase in METRICS[metric].phases or ("",))
    return [(metric, phase) for metric, phase in pairs if phase in own]


_versions = cache(versions)
