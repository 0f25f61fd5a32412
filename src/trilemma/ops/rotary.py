"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), channels paired by halves."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trilemma import _native


def rotary_angles(positions: Tensor, channels: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of ``position * theta^(-2j / channels)``.

    Args:
        positions: whole numbers ``[..., T]``.
        channels: channels of a head, even.
        theta: base of the wavelengths.

    Returns:
        Two float32 tensors ``[..., T, channels / 2]``.
    """
    exponents = torch.arange(0, channels, 2, device=positions.device, dtype=torch.float32) / channels
    angles = positions.to(torch.float32).unsqueeze(-1) * theta**-exponents
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn channel pairs ``(j, j + K / 2)`` of every head by the angles.

    Args:
        x: ``[B, T, H, K]``.
        cos: cosines ``[B or 1, T, K / 2]`` from :func:`rotary_angles`.
        sin: sines ``[B or 1, T, K / 2]``.

    Returns:
        ``[B, T, H, K]`` in the dtype of ``x``.
    """
    if _native.serves(x, cos, sin) and cos.dtype == torch.float32:
        if not torch.is_grad_enabled():
            return _turned(x, cos.contiguous(), sin.contiguous(), 1.0)
        y: Tensor = _CompiledRotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
        return y
    cos, sin = cos.to(x.dtype).unsqueeze(-2), sin.to(x.dtype).unsqueeze(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class _CompiledRotation(torch.autograd.Function):
    """Rotation by the compiled kernels (``_native/attention.h``); gradients turn back, angles get none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        cos, sin = cos.contiguous(), sin.contiguous()
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(d_y, cos, sin, -1.0), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, direction: float) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    shape = (ctypes.c_int64 * 4)(*x.shape)
    _native.call("rotate", shape, len(cos), x.dtype, x, cos, sin, ctypes.c_float(direction), y)
    return y
