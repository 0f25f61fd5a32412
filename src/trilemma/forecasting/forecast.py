"""What a model would do on a machine: times, throughput and memory of one workload under one plan."""

from dataclasses import dataclass
from typing import Literal

from trilemma.errors import DeployError
from trilemma.forecasting.cases import Case, Phase
from trilemma.forecasting.forecaster import Forecaster, Seconds
from trilemma.forecasting.memory import Memory, memory_of
from trilemma.hardware.catalogue import Machine
from trilemma.profiling.operations import ACTIVATION_BYTES, Shape

KEPT_FREE = 0.1
"""Of a device's memory, for everything else."""


MOST = 10_000_000
"""Of sequences, and of tokens."""


@dataclass(frozen=True)
class Plan:
    """How one copy of a model is spread over devices.

    Attributes:
        tensor: devices that share each matrix (Shoeybi et al. 2019, arXiv 1909.08053).
        pipeline: devices that each hold a run of layers.
    """

    tensor: int = 1
    pipeline: int = 1

    @property
    def devices(self) -> int:
        """All of them."""
        return self.tensor * self.pipeline

    def __str__(self) -> str:
        if self.devices == 1:
            return "one device"
        parts = [f"tensor {self.tensor}"] * (self.tensor > 1) + [f"pipeline {self.pipeline}"] * (
            self.pipeline > 1
        )
        return " x ".join(parts)


@dataclass(frozen=True)
class Workload:
    """What is asked of a model at once.

    Attributes:
        batch: sequences.
        length: tokens of each prompt, or of each text to classify.
        decode: tokens generated for each; 0 where texts are classified.
    """

    batch: int
    length: int
    decode: int

    def __post_init__(self) -> None:
        least = (1, 1, 0)
        given = (self.batch, self.length, self.decode)
        if not all(low <= one <= MOST for low, one in zip(least, given, strict=True)):
            raise DeployError(
                "a workload has at least one sequence of one token and at most ten million of anything; "
                "mend batch, length or decode"
            )


@dataclass(frozen=True)
class Candidate:
    """A model in one precision.

    Attributes:
        name: for tables.
        shape: its dimensions.
        precision: of its weights.
        weights: bytes of them.
    """

    name: str
    shape: Shape
    precision: str
    weights: float


@dataclass(frozen=True)
class Forecast:
    """A forecast of one workload.

    Attributes:
        ttft: seconds to the first token, or of a classifier's pass.
        tpot: seconds a further token, of all sequences; None where none is generated.
        batch_latency: seconds until the whole batch is answered.
        throughput: sequences a second, devices busy.
        decode_throughput: generated tokens a second of all sequences; None where none is generated.
        memory: bytes of each device.
        fits: whether a device has them, a tenth of its memory kept free.
        devices: of the plan.
        basis: ``measured`` where passes timed on the machine stand behind it, else ``description``.
    """

    ttft: Seconds
    tpot: Seconds | None
    batch_latency: Seconds
    throughput: Seconds
    decode_throughput: Seconds | None
    memory: Memory
    fits: bool
    devices: int
    basis: Literal["measured", "description"]


def forecast(
    candidate: Candidate, forecaster: Forecaster, workload: Workload, plan: Plan | None = None
) -> Forecast:
    """Forecast a workload.

    Tensor parallelism divides the work of a pass and adds two all-reduces a layer, each of
    2 (n - 1) / n of the stream's bytes over the link and two latencies; a pipeline leaves the time of a pass
    as it is, adds a transfer between stages, and keeps as many batches in flight as it has stages.

    Args:
        candidate: the model.
        forecaster: of the machine.
        workload: what is asked.
        plan: over which devices; one by default.

    Raises:
        DeployError: if the model cannot do it, or the machine has no link between devices, or too few.
    """
    plan = plan or Plan()
    shape, machine = candidate.shape, forecaster.machine
    _check(candidate, machine, workload, plan)
    generates = workload.decode > 0
    first_case = Case(
        shape,
        candidate.precision,
        "prefill" if generates else "classify",
        workload.batch,
        workload.length,
    )
    further = max(0, workload.decode - 1)
    # Time grows nearly linearly with the context, so that of the middle one is the mean.
    later_case = Case(
        shape, candidate.precision, "decode", workload.batch, workload.length + max(1, workload.decode) // 2
    )
    first = forecaster.seconds([first_case])[0]
    later = forecaster.seconds([later_case])[0] if further else None
    phases = {first_case.phase} | ({later_case.phase} if further else set())
    ttft = _spread(first, first_case, machine, plan)
    tpot = _spread(later, later_case, machine, plan) if later else None
    whole = Seconds(*(a + further * (b if tpot else 0.0) for a, b in zip(ttft, tpot or ttft, strict=True)))
    in_flight = workload.batch * plan.pipeline
    memory = memory_for(candidate, workload).divided(
        plan.tensor, plan.pipeline, shape.width if shape.family == "matmul-free" else shape.kv_heads
    )
    return Forecast(
        ttft=ttft,
        tpot=tpot,
        batch_latency=whole,
        throughput=_rate(in_flight, whole),
        decode_throughput=_rate(in_flight, tpot) if tpot else None,
        memory=memory,
        fits=memory.peak <= machine.memory * (1 - KEPT_FREE),
        devices=plan.devices,
        basis="measured" if all(forecaster.measured(phase) for phase in phases) else "description",
    )


def memory_for(candidate: Candidate, workload: Workload) -> Memory:
    """Bytes on one device that serves the workload."""
    phase: Phase = "prefill" if workload.decode else "classify"
    case = Case(candidate.shape, candidate.precision, phase, workload.batch, workload.length)
    # The last token is chosen, but not fed back.
    kept = workload.length + workload.decode - 1 if workload.decode else 0
    return memory_of(case, candidate.weights, kept)


def _check(candidate: Candidate, machine: Machine, workload: Workload, plan: Plan) -> None:
    shape = candidate.shape
    if workload.decode and not shape.causal:
        raise DeployError(f"{candidate.name} generates nothing; leave out decode, or name a causal model")
    needed = workload.length + workload.decode
    if shape.positions is not None and needed > shape.positions:
        raise DeployError(f"{candidate.name} has {shape.positions} positions, the workload needs {needed}")
    if plan.tensor < 1 or plan.pipeline < 1:
        raise DeployError("a plan has at least one device in each direction")
    if plan.devices > machine.devices:
        raise DeployError(f"{machine.name} has {machine.devices} devices, the plan needs {plan.devices}")
    if plan.devices > 1 and machine.link is None:
        raise DeployError(f"{machine.name} has no `link` between devices; give its bandwidth")
    # Attention and GLA are divided by heads; an elementwise recurrence by channels.
    parts, what = (shape.width, "channels") if shape.family == "matmul-free" else (shape.heads, "heads")
    if parts % plan.tensor or shape.layers % plan.pipeline:
        raise DeployError(
            f"{parts} {what} and {shape.layers} layers do not divide into {plan}; choose other degrees"
        )


def _spread(time: Seconds, case: Case, machine: Machine, plan: Plan) -> Seconds:
    """The time of a pass of one device, spread over several."""
    if plan.devices == 1 or machine.link is None:
        return time
    tokens = case.batch * (1 if case.phase == "decode" else case.length)
    message = tokens * case.shape.width * ACTIVATION_BYTES[case.precision]
    reduced = 2 * (plan.tensor - 1) / plan.tensor * message / machine.link.bandwidth
    reduces = 2 * case.shape.layers * (reduced + 2 * machine.link.latency) if plan.tensor > 1 else 0.0
    # Every device starts every kernel.
    launches = machine.launch * sum(one.launches for one in case.operations(machine))
    alike = min(1.0, launches / time.value)
    share = alike + (1 - alike) / plan.tensor
    transfers = (plan.pipeline - 1) * (message / machine.link.bandwidth + machine.link.latency)
    return Seconds(*(one * share + reduces + transfers for one in time))


def _rate(work: float, time: Seconds) -> Seconds:
    return Seconds(work / time.value, work / time.high, work / time.low)
