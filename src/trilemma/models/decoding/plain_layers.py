"""Weights of layers as their architecture made them, for compiled steps that stand for those layers.

A model with a layer that was replaced, hooked into, parametrised or given another ``forward`` is left to its
modules. A ``forward`` replaced on the class itself is not noticed.
"""

from typing import Any

from torch import Tensor, nn

from trilemma.models.blocks import Block, GatedMLP, Linear, RMSNorm


class ChangedLayerError(Exception):
    """A layer is not as its architecture made it; whoever asked for it leaves the token to the modules."""


def child(parent: nn.Module, name: str, kind: type[nn.Module]) -> Any:
    """The submodule of that name.

    Raises:
        ChangedLayerError: unless it is of exactly that class and has no hooks.
    """
    module = parent._modules.get(name)  # much faster than the attribute
    if type(module) is not kind or "forward" in module.__dict__:  # accelerate's hooks replace forward
        raise ChangedLayerError
    if module._forward_hooks or module._forward_pre_hooks:
        raise ChangedLayerError
    return module


def parameter(module: nn.Module, name: str) -> Tensor:
    """A parameter of a module.

    Raises:
        ChangedLayerError: if there is none of that name.
    """
    found = module._parameters.get(name)
    if found is None:
        raise ChangedLayerError
    return found


def weight(parent: nn.Module, name: str) -> Tensor:
    """Weight of a linear layer without bias.

    Raises:
        ChangedLayerError: if the layer is something else.
    """
    layer = child(parent, name, Linear)
    if layer._parameters.get("bias") is not None:
        raise ChangedLayerError
    return parameter(layer, "weight")


def norm_weight(parent: nn.Module, name: str, eps: float) -> Tensor:
    """Weight of a norm.

    Raises:
        ChangedLayerError: if its epsilon is not that of the configuration.
    """
    norm = child(parent, name, RMSNorm)
    if norm.eps != eps:
        raise ChangedLayerError
    return parameter(norm, "weight")


def mlp_weights(block: Block, eps: float) -> dict[str, Tensor]:
    """Weights of the second half of a block, by their names in the kernels."""
    mlp = child(block, "mlp", GatedMLP)
    gate, up, down = (weight(mlp, name) for name in ("gate_proj", "up_proj", "down_proj"))
    return {"mlp_norm": norm_weight(block, "mlp_norm", eps), "gate": gate, "up": up, "down": down}
