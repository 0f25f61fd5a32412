"""Root-mean-square norms (Zhang and Sennrich 2019, arXiv 1910.07467), statistics in float32."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trilemma import _native
from trilemma.ops.states import sum_dtype

_ROWS_PER_BLOCK = 64
"""The weight's gradient is summed over blocks of this many rows first, so that it does not depend on the
number of threads."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension.

    Args:
        x: ``[..., D]``.
        weight: ``[D]``.
        eps: added to the mean square.

    Returns:
        ``[..., D]`` in the dtype of ``x``.
    """
    if x.device.type == "cuda":  # one kernel, where on a CPU PyTorch runs a chain of them
        return functional.rms_norm(x, weight.shape, weight.to(x.dtype), eps)
    if _native.serves(x, weight):
        return _compiled(x, None, weight, eps)
    y: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return y


def gated_rms_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``rms_norm(x) * silu(gate)``, with a gate ``[..., D]``; all else as of :func:`rms_norm`.

    Gated linear attention norms the recurrent output and gates it by a projection; MatMul-free LM norms the
    projection and gates it by the recurrent output.
    """
    if gate.dtype == x.dtype and gate.shape == x.shape and _native.serves(x, gate, weight):
        return _compiled(x, gate, weight, eps)
    return rms_norm(x, weight, eps) * functional.silu(gate).to(x.dtype)


def _compiled(x: Tensor, gate: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    if not torch.is_grad_enabled():
        return _compiled_forward(x.contiguous(), gate, weight, eps, None)
    y: Tensor = _CompiledRMSNorm.apply(x, gate, weight, eps)  # type: ignore[no-untyped-call]
    return y


def _compiled_forward(
    x: Tensor, gate: Tensor | None, weight: Tensor, eps: float, inverse_rms: Tensor | None
) -> Tensor:
    channels = weight.numel()
    gate = None if gate is None else gate.contiguous()
    y = torch.empty_like(x)
    rows = x.numel() // channels
    _native.call("norm", rows, channels, x.dtype, x, gate, _floats(weight), eps, y, inverse_rms)
    return y


class _CompiledRMSNorm(torch.autograd.Function):
    """The norm by the compiled kernels (``_native/norm.h``), times ``silu(gate)`` where there is a gate."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        gate = None if gate is None else gate.contiguous()
        inverse_rms = torch.empty(x.numel() // weight.numel()) if any(ctx.needs_input_grad) else None
        y = _compiled_forward(x, gate, weight, eps, inverse_rms)
        ctx.save_for_backward(x, gate, weight, inverse_rms)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, weight, inverse_rms = ctx.saved_tensors
        d_x, d_gate, d_weight = _compiled_gradients(d_y, x, gate, weight, inverse_rms)
        return d_x, d_gate, d_weight.to(weight.dtype), None


def _compiled_gradients(
    d_y: Tensor, x: Tensor, gate: Tensor | None, weight: Tensor, inverse_rms: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    channels = weight.numel()
    rows = x.numel() // channels
    d_x = torch.empty_like(x)
    d_gate = None if gate is None else torch.empty_like(gate)
    blocks = torch.empty(-(-rows // _ROWS_PER_BLOCK), channels)
    _native.call(
        "norm_gradient", rows, channels, _ROWS_PER_BLOCK, x.dtype, x, gate, _floats(weight), inverse_rms,
        d_y.to(x.dtype).contiguous(), d_x, d_gate, blocks,
    )  # fmt: skip
    return d_x, d_gate, blocks.sum(0)


def _floats(weight: Tensor) -> Tensor:
    return weight.detach().float().contiguous()


class _RMSNorm(torch.autograd.Function):
    """Saves its input and one number per row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        values = x.to(sum_dtype(x.dtype))
        inverse_rms = values.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse_rms)
        return (values * inverse_rms).mul_(weight).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse_rms = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            d_x, d_weight = rms_norm_gradients(d_y, x, weight, inverse_rms)
        return d_x, d_weight.to(weight.dtype), None


def rms_norm_gradients(d_y: Tensor, x: Tensor, weight: Tensor, inverse_rms: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of ``y = x * inverse_rms * weight``, where ``inverse_rms`` depends on x.

    Args:
        d_y: gradient to y ``[..., D]``.
        x: ``[..., D]``.
        weight: ``[D]``.
        inverse_rms: ``[..., 1]``, float32 or float64.

    Returns:
        The gradient to x in its dtype, ``[..., D]``, and that to the weight in the dtype of ``inverse_rms``,
        ``[D]``.
    """
    if _native.serves(x, inverse_rms):
        d_x, _, d_weight = _compiled_gradients(d_y, x.contiguous(), None, weight, inverse_rms)
        return d_x, d_weight
    dtype = inverse_rms.dtype
    d_y, weight, normed = d_y.to(dtype), weight.to(dtype), x.to(dtype) * inverse_rms
    shared = d_y * normed
    mean = (shared @ weight).unsqueeze(-1) / weight.numel()
    d_x = (d_y * weight).addcmul_(normed, mean, value=-1).mul_(inverse_rms)
    return d_x.to(x.dtype), shared.reshape(-1, weight.numel()).sum(0)
