"""The number format of matrix products."""

from typing import Literal, NamedTuple

import torch


class Precision(NamedTuple):
    """Number format of matrix products in training, and why it was chosen."""

    name: Literal["float32", "bfloat16"]
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose_precision(wanted: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """Resolve ``auto``: bfloat16 autocast where the hardware multiplies it natively, else float32."""
    if wanted != "auto":
        return Precision(wanted, "as asked")
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bfloat16", "auto: the GPU multiplies bfloat16")
        return Precision("float32", "auto: the GPU does not multiply bfloat16")
    # Native instructions are of use only through oneDNN; without either bfloat16 is many times slower.
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if onednn and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        for name in ("amx_bf16", "avx512_bf16", "sve_bf16"):
            if capabilities.get(name):
                return Precision("bfloat16", f"auto: the CPU has {name}")
    return Precision("float32", "auto: the CPU is not known to multiply bfloat16")
