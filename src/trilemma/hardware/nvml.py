"""NVIDIA's management library (NVML): opened once, its GPUs found as torch counts them.

NVML numbers GPUs by their place on the bus, torch by speed and by ``CUDA_VISIBLE_DEVICES``; what both agree
on is the UUID.
"""

import importlib
from typing import Any

from trilemma.hardware import Unmeasured

INSTALL = "pip install 'trilemma[energy]'"


def load() -> Any:
    """The module ``pynvml`` of NVIDIA's bindings, initialised; an Unmeasured where there is none."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return Unmeasured(f"no NVML bindings; {INSTALL} brings them")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Unmeasured(f"NVML cannot be initialised ({error})")
    return nvml


def uuid(device: str) -> str:
    """The UUID of a CUDA device as NVML writes it, ``GPU-...``."""
    import torch

    index = torch.device(device).index
    found = str(
        torch.cuda.get_device_properties(torch.cuda.current_device() if index is None else index).uuid
    )
    return found if found.startswith(("GPU-", "MIG-")) else f"GPU-{found}"
