"""BitLinear as it is defined, by PyTorch alone: what every faster path must compute."""

import torch
from torch import Tensor

from trilemma.ops.ternary.levels import SMALLEST


def bit_linear_reference(x: Tensor, weight: Tensor, norm_weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Reference for :func:`trilemma.ops.ternary.bit_linear`."""
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * norm_weight
    s = 127.0 / y.detach().abs().amax(-1, keepdim=True).clamp_min(SMALLEST)
    y_rounded = (y * s).round().clamp(-128, 127) / s
    a = weight.detach().abs().mean().clamp_min(SMALLEST)
    weight_rounded = (weight / a).round().clamp(-1, 1) * a
    y = y + (y_rounded - y).detach()
    return y @ (weight + (weight_rounded - weight).detach()).T
