"""Linear layers while decoding: a weight times a few tokens.

Reading the weight takes all the time. PyTorch's CPU path for bfloat16 rearranges the weight in every call,
and that for float32 reads it on one processor: measured on an AMD EPYC (Zen 4), they reached a fifth of the
memory's rate.
"""

import torch
from torch import Tensor
from torch.nn import functional

from trilemma import _native

FEW_TOKENS = 4
"""Up to this many tokens of a batch take the compiled kernels; more are faster by PyTorch."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``.

    Args:
        x: ``[..., in]``.
        weight: ``[out, in]``.
        bias: ``[out]``.

    Returns:
        ``[..., out]``. Few tokens on a CPU are summed in float32, without gradients.
    """
    tokens = x.numel() // max(1, x.shape[-1])
    few = 0 < tokens <= FEW_TOKENS and x.dtype == weight.dtype and x.dtype in (torch.bfloat16, torch.float32)
    if not few or torch.is_grad_enabled() or not _native.serves(x, weight, bias):
        return functional.linear(x, weight, bias)
    out = x.new_empty(*x.shape[:-1], weight.shape[0])
    _native.call("dense", weight.dtype, weight.contiguous(), *weight.shape, x.contiguous(), tokens, out)
    return out if bias is None else out.add_(bias)
