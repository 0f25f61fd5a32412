"""Checkpoints of the older layout: gate and up of the MLP in one tensor ``mlp.gate_proj.weight`` [2I, D]."""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import safe_open
from transformers.modeling_utils import load_state_dict

GATE = "mlp.gate_proj.weight"


def separate_gates(
    state_dict: dict[str, Any] | None, files: Sequence[str] | None, width: int
) -> dict[str, Any] | None:
    """The checkpoint's tensors with every fused gate split, or ``state_dict`` itself where none is fused.

    The first half of the rows is the gate, the second the up projection. The layout is recognised by
    shape, since the configuration does not say which it is.

    Args:
        state_dict: tensors, if they were given instead of files.
        files: checkpoint files.
        width: MLP width I.
    """
    if state_dict is None:
        if not files or not any(_has_fused_gate(file, width) for file in files):
            return None
        state_dict = {name: tensor for file in files for name, tensor in load_state_dict(file).items()}
    separate: dict[str, Any] = {}
    for name, tensor in state_dict.items():
        if _is_fused(name, tensor.shape, width):
            gate, up = tensor.chunk(2)
            # clones, since tensors that share memory cannot be saved as safetensors
            separate[name] = gate.clone()
            separate[name.replace("gate_proj", "up_proj")] = up.clone()
        else:
            separate[name] = tensor
    return separate


def _is_fused(name: str, shape: Sequence[int] | torch.Size, width: int) -> bool:
    return name.endswith(GATE) and shape[0] == 2 * width


def _has_fused_gate(file: str, width: int) -> bool:
    if not file.endswith(".safetensors"):
        return any(_is_fused(name, tensor.shape, width) for name, tensor in load_state_dict(file).items())
    with safe_open(file, framework="pt") as tensors:
        return any(
            _is_fused(name, tensors.get_slice(name).get_shape(), width)
            for name in tensors.keys()  # noqa: SIM118
            if name.endswith(GATE)
        )
