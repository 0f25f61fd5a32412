"""BitLinear: a linear layer with ternary weights and 8-bit activations (Ma et al. 2024, arXiv 2402.17764).

As MatMul-free LM uses it (Zhu et al. 2024, arXiv 2406.02528, section 3.2), with a norm of its own:

    y   = rms_norm(x) * norm_weight
    q   = clamp(round(y * s), -128, 127),  s = 127 / max(max|y|, 1e-5)      per token
    t   = clamp(round(W / a), -1, 1),      a = max(mean|W|, 1e-5)           per stored tensor
    out = (q / s) (t * a)^T = (a / s) (q t^T)

The product is one of small integers, so it is computed on the integers and scaled afterwards. Latent
weights are kept in full precision for training; gradients pass both roundings as if they were not there.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trilemma import _native
from trilemma.ops.norms import rms_norm_gradients

_SMALLEST = 1e-5
"""Lower bound of both absolute maxima and means, so that an all-zero token or tensor divides by no zero."""

_LEVELS = 128
"""Levels of an activation on either side of 0."""

_INT8_INSTRUCTIONS: bool = torch.cpu._is_vnni_supported()
"""Whether this processor has AVX-512's products of bytes, all of which PyTorch can tell."""

_FEW_TOKENS = 4
"""Up to here PyTorch's int8 product is the faster one without such instructions too.

Measured from 4096 to 11008 channels on an AMD EPYC of the first generation, the weight's conversion to
float32 included: 2.4 times as fast for one token, equal for four, 3.6 times slower for sixteen.
"""

_EXACT = 1 << 24
"""Up to here float32 holds every whole number, so that a product of levels is exact in any order."""


def kernel(device: torch.device | str) -> str:
    """Name of the path that runs on ``device``: weights are not packed, so no memory is saved."""
    return f"{path(device)}, fake-quantised"


def path(device: torch.device | str) -> str:
    """What multiplies levels by levels on ``device``."""
    return "torch-int8" if _multiplies_int8(torch.device(device), _FEW_TOKENS + 1) else "torch"


def ternary_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight to -1, 0 or 1 times its mean absolute value.

    Args:
        weight: ``[out, in]``, the whole stored tensor (fused projections share one scale).

    Returns:
        The levels, int8 ``[out, in]``, and the scale, a float32 scalar (float64 for a float64 weight).
    """
    values = weight.detach().to(_compute_dtype(weight.dtype))
    # Summed by row, then over rows in float64: no dependence on the number of threads, which could move the
    # scale and so a weight across a rounding, and with it every token.
    mean = values.abs().sum(dim=-1).sum(dtype=torch.float64) / values.numel()
    scale = mean.clamp_min_(_SMALLEST).to(values.dtype)
    return (values * scale.reciprocal()).round_().clamp_(-1, 1).to(torch.int8), scale


def normed_levels(rows: Tensor, norm_weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """RMS norm, then rounding to 8 bits by token.

    Squares are summed in float64: whatever the order of summation, the same float32 comes of it, and so the
    same levels on every path, compiled or not.

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
    dtype = _compute_dtype(rows.dtype)
    rows = rows.to(dtype)
    mean = rows.square().sum(-1, keepdim=True, dtype=torch.float64) / channels
    inverse_rms = mean.add_(eps).rsqrt_().to(dtype)
    normed = (rows * inverse_rms).mul_(norm_weight.to(dtype))
    largest = normed.abs().amax(dim=-1, keepdim=True).clamp_min_(_SMALLEST)
    # At most 127 by construction: nothing to clamp.
    return normed.mul_(127.0 / largest).round_().to(torch.int8), largest / 127.0, inverse_rms


def bit_linear(
    x: Tensor,
    weight: Tensor,
    norm_weight: Tensor,
    eps: float = 1e-6,
    quantized: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """BitLinear layer: norm, rounding of activations and weight, product; straight-through gradients.

    Args:
        x: ``[..., in]``.
        weight: latent weight ``[out, in]``.
        norm_weight: weight of the layer's own RMS norm ``[in]``.
        eps: added to the mean square in the norm; published models were trained and run with 1e-6.
        quantized: what :func:`ternary_weight` gave for ``weight``, where it is at hand; without it the
            weight is rounded anew.

    Returns:
        ``[..., out]``, in the dtype of ``x``, or in autocast's. Norm and rounding run in float32.
    """
    device = x.device.type
    product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    levels, scale = ternary_weight(weight) if quantized is None else quantized
    with torch.autocast(device, enabled=False):
        y: Tensor = _BitLinear.apply(  # type: ignore[no-untyped-call]
            x, weight, norm_weight, levels, scale, eps, product
        )
    return y


def shared_input(x: Tensor) -> Tensor:
    """``x`` in autocast's dtype where it is on: several layers that read it then keep one tensor of that."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def bit_linear_reference(x: Tensor, weight: Tensor, norm_weight: Tensor, eps: float = 1e-6) -> Tensor:
    """The definition, recorded by autograd: reference for :func:`bit_linear`."""
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * norm_weight
    s = 127.0 / y.detach().abs().amax(-1, keepdim=True).clamp_min(_SMALLEST)
    y_rounded = (y * s).round().clamp(-128, 127) / s
    a = weight.detach().abs().mean().clamp_min(_SMALLEST)
    weight_rounded = (weight / a).round().clamp(-1, 1) * a
    y = y + (y_rounded - y).detach()
    return y @ (weight + (weight_rounded - weight).detach()).T


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _multiplies_int8(device: torch.device, tokens: int) -> bool:
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return tokens <= _FEW_TOKENS or _INT8_INSTRUCTIONS


def _fractions(activations: Tensor, dtype: torch.dtype) -> Tensor:
    """Levels / 128: as exact as the levels in any float dtype, and their sums do not overflow float16."""
    return activations.to(dtype).div_(_LEVELS)


def levels_product(
    activations: Tensor, step: Tensor, ternary: Tensor, scale: Tensor, product: torch.dtype
) -> Tensor:
    """The product of rounded activations and a rounded weight.

    Exact on CPUs, elsewhere up to accumulation and the result's rounding in ``product``.

    Args:
        activations: int8 levels ``[tokens, in]``.
        step: between levels ``[tokens, 1]``.
        ternary: int8 ``[out, in]``.
        scale: of the weight.
        product: dtype in which to multiply where there are no int8 units.

    Returns:
        ``[tokens, out]`` in the dtype of ``step``.
    """
    # torch 2.13 leaves the product of one channel unwritten
    if _multiplies_int8(activations.device, activations.shape[0]) and activations.shape[1] > 1:
        sums = torch._int_mm(activations, ternary.T).to(step.dtype)
        return sums.mul_(step * scale)
    if activations.device.type == "cpu" and activations.shape[1] * _LEVELS <= _EXACT:
        sums = activations.float() @ ternary.float().T
        return sums.to(step.dtype).mul_(step * scale)
    fractions = (_fractions(activations, product) @ ternary.to(product).T).to(step.dtype)
    return fractions.mul_((step * _LEVELS) * scale)


class _BitLinear(torch.autograd.Function):
    """Saves the input and the rounded weight by reference; norm and rounding are cheap to do again."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        norm_weight: Tensor,
        levels: Tensor,
        scale: Tensor,
        eps: float,
        product: torch.dtype,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        activations, step, _ = normed_levels(rows, norm_weight, eps)
        out = levels_product(activations, step, levels, scale, product)
        ctx.save_for_backward(x, norm_weight, levels, scale)
        ctx.product, ctx.weight_dtype, ctx.eps = product, weight.dtype, eps
        return out.view(*x.shape[:-1], out.shape[-1]).to(product)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(d_out.device.type, enabled=False):
            return _backward(ctx, d_out)


def _backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    x, norm_weight, levels, scale = ctx.saved_tensors
    product = ctx.product
    rows, d_rows = x.reshape(-1, x.shape[-1]), d_out.reshape(-1, d_out.shape[-1])
    activations, step, inverse_rms = normed_levels(rows, norm_weight, ctx.eps)
    d_weight = d_x = d_norm_weight = None
    if ctx.needs_input_grad[1]:
        scaled = (d_rows * (step * _LEVELS)).to(product)
        d_weight = (scaled.T @ _fractions(activations, product)).to(ctx.weight_dtype)
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[2]:
        d_y = d_rows.to(product) @ levels.to(product)  # lacks the weight's scale
        d_x, d_norm_weight = rms_norm_gradients(d_y, rows, norm_weight * scale, inverse_rms)
        d_x = d_x.view(x.shape)
        d_norm_weight = (d_norm_weight * scale).to(norm_weight.dtype)
    return d_x, d_weight, d_norm_weight, None, None, None, None
