"""Layers that several architectures share: linear layer, norm, gated MLP, residual block."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from trilemma.ops.dense import linear
from trilemma.ops.glu import glu
from trilemma.ops.norms import rms_norm


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` by :func:`trilemma.ops.dense.linear`, which is fast for one token too."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        return linear(x, self.weight, self.bias)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension, :func:`trilemma.ops.norms.rms_norm`."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Norm of ``x`` [..., size]."""
        return rms_norm(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Size and epsilon."""
        return f"{self.weight.shape[0]}, eps={self.eps}"


class GatedMLP(nn.Module):
    """SwiGLU, ``down(silu(gate(x)) * up(x))`` (Shazeer 2020)."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, width, bias=False)
        self.up_proj = Linear(hidden_size, width, bias=False)
        self.down_proj = Linear(width, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out: Tensor = self.down_proj(glu(self.gate_proj(x), self.up_proj(x)))
        return out


class Block(GradientCheckpointingLayer):  # type: ignore[misc]
    """Pre-norm residual block: token mixer, then MLP.

    Args:
        hidden_size: width of the residual stream.
        eps: epsilon of both norms.
        attn: token mixer, called with ``(x, *context, past_key_values=...)``; the published name of the
            submodule is ``attn``, attention or not.
        mlp: channel mixer, called with ``x``.
    """

    def __init__(self, hidden_size: int, eps: float, attn: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(hidden_size, eps)
        self.attn = attn
        self.mlp_norm = RMSNorm(hidden_size, eps)
        self.mlp = mlp

    def forward(self, x: Tensor, *context: Any, past_key_values: Cache | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; ``context`` is what the backbone computed once for all mixers."""
        x = x + self.attn(self.attn_norm(x), *context, past_key_values=past_key_values)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out
