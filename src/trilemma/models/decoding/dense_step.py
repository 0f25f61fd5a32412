"""What the compiled step of dense models stands for: layers as their architecture made them.

A model with a layer that was replaced, hooked into, parametrised or given another ``forward`` is left to its
modules. What is not seen is a ``forward`` replaced on the class itself.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from trilemma.models.blocks import Block, GatedMLP, Linear, RMSNorm
from trilemma.ops.decoding.dense_step import GatedMLPWeights


class ChangedLayerError(Exception):
    """A layer is not as its architecture made it."""


def check_hooks() -> None:
    """Refuse hooks on all modules, such as profilers set.

    Raises:
        ChangedLayerError: if there is one.
    """
    if _has_any_global_hook():  # type: ignore[no-untyped-call]
        raise ChangedLayerError


def child(parent: nn.Module, name: str, kind: type[nn.Module]) -> Any:
    """The submodule of that name.

    Raises:
        ChangedLayerError: unless it is of exactly that class and has no hooks.
    """
    module = parent._modules.get(name)  # much faster than the attribute
    if type(module) is not kind or "forward" in module.__dict__:  # as accelerate's hooks put it there
        raise ChangedLayerError
    if module._forward_hooks or module._forward_pre_hooks:
        raise ChangedLayerError
    return module


def parameter(module: nn.Module, name: str) -> torch.Tensor:
    """A parameter of a module.

    Raises:
        ChangedLayerError: if there is none of that name.
    """
    found = module._parameters.get(name)
    if found is None:
        raise ChangedLayerError
    return found


def weights(parent: nn.Module, names: Sequence[str]) -> list[torch.Tensor]:
    """Weights of linear layers without bias.

    Raises:
        ChangedLayerError: if one is something else.
    """
    found = []
    for name in names:
        layer = child(parent, name, Linear)
        if layer._parameters.get("bias") is not None:
            raise ChangedLayerError
        found.append(parameter(layer, "weight"))
    return found


def norm_weight(parent: nn.Module, name: str, eps: float) -> torch.Tensor:
    """Weight of a norm.

    Raises:
        ChangedLayerError: if its epsilon is not that of the configuration.
    """
    norm = child(parent, name, RMSNorm)
    if norm.eps != eps:
        raise ChangedLayerError
    return parameter(norm, "weight")


def mlp_weights(block: Block, eps: float) -> GatedMLPWeights:
    """Weights of the second half of a block."""
    mlp = child(block, "mlp", GatedMLP)
    gate, up, down = weights(mlp, ("gate_proj", "up_proj", "down_proj"))
    return GatedMLPWeights(norm_weight(block, "mlp_norm", eps), gate, up, down)
