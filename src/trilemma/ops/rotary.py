"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), channels paired by halves."""

import torch
from torch import Tensor


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
        sin: sines, likewise.

    Returns:
        ``[B, T, H, K]`` in the dtype of ``x``.
    """
    cos, sin = cos.to(x.dtype).unsqueeze(-2), sin.to(x.dtype).unsqueeze(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
