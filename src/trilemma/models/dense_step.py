"""What the compiled step of dense models stands for: layers as their architecture made them.

A layer that somebody replaced, hooked into or parametrised is left to the modules.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from trilemma.models.blocks import Block, GatedMLP, Linear, RMSNorm
from trilemma.ops.dense_step import GatedMLPWeights


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
    if type(module) is not kind or module._forward_hooks or module._forward_pre_hooks:
        raise ChangedLayerError
    return module


def weights(parent: nn.Module, names: Sequence[str]) -> list[torch.Tensor]:
    """Weights of linear layers without bias.

    Raises:
        ChangedLayerError: if one is something else.
    """
    found = []
    for name in names:
        layer = child(parent, name, Linear)
        if layer._parameters["bias"] is not None:
            raise ChangedLayerError
        found.append(layer._parameters["weight"])
    return found


def norm_weight(parent: nn.Module, name: str) -> torch.Tensor:
    """Weight of a norm."""
    weight: torch.Tensor = child(parent, name, RMSNorm)._parameters["weight"]
    return weight


def mlp_weights(block: Block) -> GatedMLPWeights:
    """Weights of the second half of a block."""
    mlp = child(block, "mlp", GatedMLP)
    gate, up, down = weights(mlp, ("gate_proj", "up_proj", "down_proj"))
    return GatedMLPWeights(norm_weight(block, "mlp_norm"), gate, up, down)
