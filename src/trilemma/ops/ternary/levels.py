"""Weights as -1, 0, 1 and activations as 8-bit levels, and the product of the two."""

import torch
from torch import Tensor

from trilemma import _native
from trilemma.ops.states import sum_dtype

SMALLEST = 1e-5
"""Lower bound of absolute maxima and means, so that an all-zero token or tensor divides nothing by 0."""

LEVELS = 128
"""Levels of an activation on either side of 0."""

INT8_INSTRUCTIONS: bool = torch.cpu._is_vnni_supported()
"""Whether this processor has AVX-512's products of bytes, the only such instructions that PyTorch reports."""

_INT8_TOKENS = 4
"""Tokens up to which PyTorch's int8 product is the faster one on processors without such instructions too.

Measured from 4096 to 11008 channels on an AMD EPYC of the first generation, the weight's conversion to
float32 included: 2.4 times as fast for one token, equal for four, 3.6 times slower for sixteen.
"""

_EXACT_INTEGERS = 1 << 24
"""Float32 holds every whole number up to here, so that a product of levels is exact in any order."""


def path(device: torch.device | str) -> str:
    """Name of what multiplies levels by levels on ``device``."""
    return "torch-int8" if _multiplies_int8(torch.device(device), _INT8_TOKENS + 1) else "torch"


def ternary_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight to -1, 0 or 1 times its mean absolute value.

    Args:
        weight: ``[out, in]``, the whole stored tensor (fused projections share one scale).

    Returns:
        The levels, int8 ``[out, in]``, and the scale, a float32 scalar (float64 for a float64 weight).
    """
    values = weight.detach().to(sum_dtype(weight.dtype))
    # Summed by row, then over rows in float64: the number of threads could otherwise move the scale, and so a
    # weight across a rounding, and with it every token.
    mean = values.abs().sum(dim=-1).sum(dtype=torch.float64) / values.numel()
    scale = mean.clamp_min_(SMALLEST).to(values.dtype)
    return (values * scale.reciprocal()).round_().clamp_(-1, 1).to(torch.int8), scale


def normed_levels(rows: Tensor, norm_weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """RMS norm, then rounding to 8 bits by token.

    Squares are summed in float64: whatever the order of summation, the float32 result is the same, and so are
    the levels on every path, compiled or not.

    Args:
        rows: ``[tokens, channels]``, contiguous.
        norm_weight: weight of the norm ``[channels]``.
        eps: added to the mean square.

    Returns:
        int8 levels -127..127 ``[tokens, channels]``; the step between levels and the inverse root mean
        square, each ``[tokens, 1]`` in float32 (float64 for float64 rows). ``levels * step`` is the rounded
        activation.
    """
    tokens, channels = rows.shape
    if _native.serves(rows):
        rows = rows.contiguous()
        levels = torch.empty(tokens, channels, dtype=torch.int8)
        step, inverse_rms = torch.empty(tokens, 1), torch.empty(tokens, 1)
        sums = torch.empty(tokens, dtype=torch.int32)
        _native.call(
            "quantize", rows, rows.dtype, tokens, channels, norm_weight.float().contiguous(), eps,
            levels, channels, sums, step, inverse_rms,
        )  # fmt: skip
        return levels, step, inverse_rms
    dtype = sum_dtype(rows.dtype)
    rows = rows.to(dtype)
    mean = rows.square().sum(-1, keepdim=True, dtype=torch.float64) / channels
    inverse_rms = mean.add_(eps).rsqrt_().to(dtype)
    normed = (rows * inverse_rms).mul_(norm_weight.to(dtype))
    largest = normed.abs().amax(dim=-1, keepdim=True).clamp_min_(SMALLEST)
    # At most 127 by construction: nothing to clamp.
    return normed.mul_(127.0 / largest).round_().to(torch.int8), largest / 127.0, inverse_rms


def _multiplies_int8(device: torch.device, tokens: int) -> bool:
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return tokens <= _INT8_TOKENS or INT8_INSTRUCTIONS


def fractions(activations: Tensor, dtype: torch.dtype) -> Tensor:
    """Levels / 128: as exact as the levels in any float dtype, and their sums do not overflow float16."""
    return activations.to(dtype).div_(LEVELS)


def levels_product(
    activations: Tensor, step: Tensor, ternary: Tensor, scale: Tensor, product: torch.dtype
) -> Tensor:
    """The product of rounded activations and a rounded weight.

    Exact on CPUs, elsewhere up to accumulation and the result's rounding in ``product``.

    Args:
        activations: int8 levels ``[tokens, in]``.
        step: between levels ``[tokens, 1]``.
        ternary: int8 ``[out, in]``.
        scale: the weight's scale.
        product: dtype in which to multiply where there are no int8 units.

    Returns:
        ``[tokens, out]`` in the dtype of ``step``.
    """
    # torch 2.13 leaves the product of one channel unwritten
    if _multiplies_int8(activations.device, activations.shape[0]) and activations.shape[1] > 1:
        sums = torch._int_mm(activations, ternary.T).to(step.dtype)
        return sums.mul_(step * scale)
    if activations.device.type == "cpu" and activations.shape[1] * LEVELS <= _EXACT_INTEGERS:
        sums = activations.float() @ ternary.float().T
        return sums.to(step.dtype).mul_(step * scale)
    summed = (fractions(activations, product) @ ternary.to(product).T).to(step.dtype)
    return summed.mul_((step * LEVELS) * scale)
