"""The elementwise part of a gated MLP: ``silu(gate) * up`` (Shazeer 2020, arXiv 2002.05202)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trilemma import _native


def glu(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up`` of tensors ``[..., W]``; only they are kept for the gradients."""
    if gate.dtype == up.dtype and _native.serves(gate, up):
        if not torch.is_grad_enabled():
            return _forward(gate.contiguous(), up.contiguous(), gate.shape[-1])
        y: Tensor = _CompiledGLU.apply(gate, up)  # type: ignore[no-untyped-call]
        return y
    return functional.silu(gate) * up


def joint_glu(both: Tensor) -> Tensor:
    """:func:`glu` of gate and up side by side in one tensor ``[..., 2 * W]``."""
    if _native.serves(both):
        y: Tensor = _CompiledJointGLU.apply(both)  # type: ignore[no-untyped-call]
        return y
    gate, up = both.chunk(2, dim=-1)
    return functional.silu(gate) * up


def _forward(gate: Tensor, up: Tensor, stride: int) -> Tensor:
    width = gate.shape[-1]
    y = gate.new_empty(gate.shape)
    rows = y.numel() // max(1, width)
    _native.call("glu", rows, width, stride, gate.dtype, _native.strided(gate), _native.strided(up), y)
    return y


def _backward(d_y: Tensor, gate: Tensor, up: Tensor, d_gate: Tensor, d_up: Tensor, stride: int) -> None:
    width = gate.shape[-1]
    d_y = d_y.to(gate.dtype).contiguous()
    _native.call(
        "glu_gradient", d_y.numel() // max(1, width), width, stride, gate.dtype, _native.strided(gate),
        _native.strided(up), d_y, _native.strided(d_gate), _native.strided(d_up),
    )  # fmt: skip


class _CompiledGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        return _forward(gate, up, gate.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        _backward(d_y, gate, up, d_gate, d_up, gate.shape[-1])
        return d_gate, d_up


class _CompiledJointGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        both = both.contiguous()
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, dim=-1)
        return _forward(gate, up, both.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        d_both = torch.empty_like(both)
        gate, up = both.chunk(2, dim=-1)
        d_gate, d_up = d_both.chunk(2, dim=-1)
        _backward(d_y, gate, up, d_gate, d_up, both.shape[-1])
        return d_both
