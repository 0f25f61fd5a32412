"""BitLinear: a linear layer with ternary weights and 8-bit activations (Ma et al. 2024, arXiv 2402.17764).

As MatMul-free LM uses it (Zhu et al. 2024, arXiv 2406.02528, section 3.2), with its own norm:

    y   = rms_norm(x) * norm_weight
    q   = clamp(round(y * s), -128, 127),  s = 127 / max(max|y|, 1e-5)      per token
    t   = clamp(round(W / a), -1, 1),      a = max(mean|W|, 1e-5)           per stored tensor
    out = (q / s) (t * a)^T = (a / s) (q t^T)

The product is one of small integers, so it is computed on the integers and scaled afterwards. Latent
weights are kept in full precision for training; gradients pass both roundings as if there were none.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trilemma.ops.norms import rms_norm_gradients
from trilemma.ops.ternary.levels import LEVELS, fractions, levels_product, normed_levels, path, ternary_weight


def kernel(device: torch.device | str) -> str:
    """Name of the path that runs on ``device``: weights are not packed, so no memory is saved."""
    return f"{path(device)}, fake-quantised"


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
        quantized: the result of :func:`~trilemma.ops.ternary.levels.ternary_weight` for ``weight``, where
            the caller has kept it; else the weight is rounded in this call.

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
    """``x`` in autocast's dtype where that is on, so that several layers that read it keep one tensor."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


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
        scaled = (d_rows * (step * LEVELS)).to(product)
        d_weight = (scaled.T @ fractions(activations, product)).to(ctx.weight_dtype)
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[2]:
        d_y = d_rows.to(product) @ levels.to(product)  # lacks the weight's scale
        d_x, d_norm_weight = rms_norm_gradients(d_y, rows, norm_weight * scale, inverse_rms)
        d_x = d_x.view(x.shape)
        d_norm_weight = (d_norm_weight * scale).to(norm_weight.dtype)
    return d_x, d_weight, d_norm_weight, None, None, None, None
