"""Machines: what is to be known of any of them, and what this one is."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Literal, get_args

import psutil
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trilemma.errors import DeployError, TrilemmaError

Precision = Literal["float32", "bfloat16", "float16", "int8", "packed"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Precisions of products of matrices; ``packed``: ternary weights at two bits each."""

HERE = "here"
"""Name of the machine that this process runs on."""


class Link(BaseModel):
    """What joins the devices of one machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    bandwidth: float = Field(gt=0, description="bytes per second, each device in one direction")
    latency: float = Field(default=5e-6, ge=0, description="seconds per message")


class Machine(BaseModel):
    """One kind of machine, this one or one of the catalogue; rates are those of one device."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1, description="by which commands know it")
    kind: Literal["cpu", "gpu"] = Field(description="what computes")
    cores: int = Field(default=1, ge=1, description="cores that one model uses; 1 for a GPU")
    flops: dict[Precision, float] = Field(
        description="peak FLOP/s (int8: operations per second) of matrix products by precision"
    )
    bandwidth: float = Field(gt=0, description="bytes per second that memory is read at")
    memory: float = Field(gt=0, description="bytes of one device")
    launch: float = Field(default=1e-5, ge=0, description="seconds that starting one kernel costs")
    devices: int = Field(default=1, ge=1, description="devices of the machine")
    link: Link | None = Field(default=None, description="between its devices; needed for parallel plans")
    watts: float | None = Field(default=None, gt=0, description="of one device under load, as specified")
    price: float | None = Field(default=None, ge=0, description="of one device per hour, in your currency")
    sources: tuple[str, ...] = Field(default=(), description="where the figures come from")

    @field_validator("flops")
    @classmethod
    def _positive(cls, flops: dict[Precision, float]) -> dict[Precision, float]:
        if not all(rate > 0 for rate in flops.values()):
            raise ValueError("rates are positive numbers")
        return flops

    def rate(self, precision: str) -> float:
        """Peak operations per second for weights of a precision.

        Raises:
            DeployError: if it cannot multiply them.
        """
        if not self.multiplies(precision):
            known = ", ".join(self.flops) or "none"
            raise DeployError(f"{self.name} has no rate for products in {precision}; it has {known}")
        return self.flops.get(precision) or self.flops["int8"]  # type: ignore[call-overload]

    def multiplies(self, precision: str) -> bool:
        """Whether it has a rate; packed ternary weights can be multiplied as bytes."""
        return precision in self.flops or (precision == "packed" and "int8" in self.flops)


def cpu_model() -> str:
    """Name of the processor as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def clock_mhz() -> float | None:
    """Highest current clock of the cores in MHz; None where the system does not report it."""
    cores = psutil.cpu_freq(percpu=True) or []
    current = [core.current for core in cores if core.current]
    return max(current) if current else None


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, its control group and itself if limited."""
    available = min(int(psutil.virtual_memory().available), _addresses_left())
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, max(0, int(limit) - used))


def _addresses_left() -> int:
    """Bytes until the limit of this process's address space (``ulimit -v``)."""
    try:
        import resource
    except ImportError:  # not on Windows
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return (
        sys.maxsize if limit == resource.RLIM_INFINITY else max(0, limit - psutil.Process().memory_info().vms)
    )


def memory_of(device: str) -> int:
    """Bytes of memory of a torch device."""
    import torch

    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def default_device() -> str:
    """The GPU where there is one, else the processor."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def require_device(device: str | None) -> None:
    """Refuse a torch device that this machine lacks; None stands for the default.

    Raises:
        TrilemmaError: naming those that there are.
    """
    import torch

    if device is None:
        return
    known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    try:
        kind = torch.device(device).type
        if kind not in ("cpu", "cuda") or (kind == "cuda" and device not in ("cuda", *known)):
            raise RuntimeError
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without CUDA
        raise TrilemmaError(f"there is no device {device!r} here; known: {', '.join(known)}") from error


def hardware(device: str = "cpu", clock: bool = True) -> str:
    """What a measurement ran on, in one line: processor, cores, threads, clock, memory; the GPU if used.

    Args:
        device: torch device of the measurement.
        clock: whether to name the momentary clock, which differs from call to call.
    """
    import torch

    threads = torch.get_num_threads()
    parts = [cpu_model(), f"{os.cpu_count()} cores", f"{threads} thread{'s' * (threads > 1)}"]
    if clock:
        now = clock_mhz()
        parts.append(f"{now:.0f} MHz" if now else "clock unknown")
    parts.append(f"{psutil.virtual_memory().total / 2**30:.0f} GiB")
    if os.environ.get("OMP_WAIT_POLICY"):
        parts.append(f"OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']}")
    if torch.device(device).type == "cuda":
        parts.insert(0, gpu_name(torch.device(device).index or 0))
    return ", ".join(parts)


def gpu_name(index: int) -> str:
    """Name and memory of a GPU."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name} {properties.total_memory / 2**30:.0f} GiB"


def versions() -> str:
    """Versions that a measured value depends on, in one line."""
    names = ("trilemma", "torch", "transformers")
    found = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return ", ".join([*found, f"Python {platform.python_version()}"])
