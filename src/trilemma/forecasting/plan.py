"""How one copy of a model is spread over the devices of a machine, and what that costs."""

import re
from dataclasses import dataclass

from trilemma.errors import DeployError
from trilemma.forecasting.forecaster import Seconds
from trilemma.forecasting.passes import ForwardPass
from trilemma.hardware.machine import Machine
from trilemma.profiling.operations import ACTIVATION_BYTES, Dimensions

_PLAN = re.compile(r"\s*([1-9][0-9]{0,5})\s*(?:x\s*([1-9][0-9]{0,5}))?\s*")


@dataclass(frozen=True)
class ParallelPlan:
    """How one copy of a model is spread over devices.

    Attributes:
        tensor: devices that share each matrix (Shoeybi et al. 2019, arXiv 1909.08053).
        pipeline: devices that each hold a run of layers.
    """

    tensor: int = 1
    pipeline: int = 1

    def __post_init__(self) -> None:
        if self.tensor < 1 or self.pipeline < 1:
            raise DeployError("a plan has at least one device in each direction")

    @property
    def devices(self) -> int:
        """All devices of the plan."""
        return self.tensor * self.pipeline

    def __str__(self) -> str:
        degrees = {"tensor": self.tensor, "pipeline": self.pipeline}
        return " x ".join(f"{name} {count}" for name, count in degrees.items() if count > 1) or "one device"

    @classmethod
    def parse(cls, text: str) -> "ParallelPlan":
        """Read ``4``, which shares each matrix among four devices, or ``4x2``, with a pipeline of two stages.

        Raises:
            DeployError: for anything else.
        """
        match = _PLAN.fullmatch(text)
        if match is None:
            raise DeployError(
                f"{text[:20]!r} is not a number of devices; write for example 4, or 4x2 for a pipeline of two"
            )
        return cls(int(match[1]), int(match[2] or 1))

    def refusal(self, model: Dimensions, machine: Machine) -> str:
        """Why a model cannot be spread like that over a machine's devices; "" if it can."""
        if self.devices > machine.devices:
            own = f"{machine.devices} device{'s' * (machine.devices > 1)}"
            return f"{machine.name} has {own}, the plan needs {self.devices}"
        if self.devices > 1 and machine.link is None:
            return f"{machine.name} has no `link` between devices; give its bandwidth"
        # Attention and GLA are divided by heads; an elementwise recurrence by channels.
        parts, what = (model.width, "channels") if model.family == "matmul-free" else (model.heads, "heads")
        if parts % self.tensor or model.layers % self.pipeline:
            return f"{parts} {what} and {model.layers} layers do not divide into {self}; choose other degrees"
        return ""

    def spread(self, time: Seconds, one: ForwardPass, machine: Machine) -> Seconds:
        """The time of a pass of one device, spread over the plan's.

        Tensor parallelism divides the work of a pass and adds two all-reduces per layer, each of
        2 (n - 1) / n of the stream's bytes over the link and two latencies; a pipeline leaves the time of a
        pass as it is and adds a transfer between stages.
        """
        if self.devices == 1 or machine.link is None:
            return time
        message = one.tokens * one.dimensions.width * ACTIVATION_BYTES[one.precision]
        reduced = 2 * (self.tensor - 1) / self.tensor * message / machine.link.bandwidth
        reduces = 2 * one.dimensions.layers * (reduced + 2 * machine.link.latency) if self.tensor > 1 else 0.0
        # Every device starts every kernel.
        launches = machine.launch * sum(operation.launches for operation in one.operations(machine))
        alike = min(1.0, launches / time.value)
        share = alike + (1 - alike) / self.tensor
        transfers = (self.pipeline - 1) * (message / machine.link.bandwidth + machine.link.latency)
        return time.times(share, reduces + transfers)
