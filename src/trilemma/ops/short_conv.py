"""Short depthwise causal convolution over time, then SiLU, as GLA uses it on queries, keys and values."""

import torch
from torch import Tensor
from torch.nn import functional


def short_conv(x: Tensor, weight: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Convolve every channel with its own kernel over its last W inputs, then apply SiLU.

    Works for whole sequences and, given the state, for their continuation by any number of steps.

    Args:
        x: ``[B, T, D]``.
        weight: ``[D, 1, W]``; the last tap meets the current step.
        state: the W inputs before ``x``, newest last ``[B, D, W]``; zeros when None.

    Returns:
        The output ``[B, T, D]`` and the last W inputs ``[B, D, W]``.
    """
    channels, _, width = weight.shape
    if state is None:
        state = x.new_zeros(x.shape[0], channels, width)
    inputs = torch.cat([state.to(x.dtype), x.mT], dim=-1)
    output = functional.conv1d(inputs[..., 1:], weight.to(x.dtype), groups=channels)
    return functional.silu(output).mT, inputs[..., -width:]
