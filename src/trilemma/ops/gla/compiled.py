"""Gated linear attention by the compiled CPU kernels (``_native/gla.h``): float32 and bfloat16 inputs.

The gradients need the inputs and the state before every segment of some hundred steps; everything else is
computed again.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trilemma import _native


def serves(q: Tensor, k: Tensor, v: Tensor, g: Tensor, initial_state: Tensor | None) -> bool:
    """Whether the compiled kernels take these inputs."""
    same = q.dtype == k.dtype == v.dtype
    state = initial_state is None or initial_state.dtype == torch.float32
    return same and state and _native.serves(q, k, v, g, initial_state)


def step_compiled(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, scale: float) -> Tensor:
    """One step ``[B, 1, H, .]``; the float32 ``state`` is updated in place. Returns the output."""
    batch, _, heads, key = q.shape
    output = torch.empty_like(v, memory_format=torch.contiguous_format)
    _native.call(
        "gla_step", batch * heads, key, v.shape[-1], v.dtype, g.dtype,
        q.contiguous(), k.contiguous(), v.contiguous(), g.contiguous(), ctypes.c_float(scale), state, output,
    )  # fmt: skip
    return output


def _shape(q: Tensor, v: Tensor) -> Any:
    return (ctypes.c_int64 * 5)(*q.shape, v.shape[-1])


class CompiledGLA(torch.autograd.Function):
    """:func:`trilemma.ops.gla.gla` for inputs that :func:`serves` accepts and that are not empty."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        initial_state: Tensor | None,
        scale: float,
        output_final_state: bool,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Output and final state."""
        q, k, v, g = (x.contiguous() for x in (q, k, v, g))
        initial_state = None if initial_state is None else initial_state.contiguous()
        batch, time, heads, key = q.shape
        size = (batch, heads, key, v.shape[-1])
        output = torch.empty_like(v)
        final = torch.empty(size) if output_final_state else None
        kept = None
        if any(ctx.needs_input_grad):
            kept = torch.empty(batch, heads, -(-time // _native.gla_segment(key, v.shape[-1])), *size[2:])
        _native.call(
            "gla", _shape(q, v), v.dtype, g.dtype, q, k, v, g, lengths, initial_state, ctypes.c_float(scale),
            output, final, kept,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, g, kept, lengths)
        ctx.scale, ctx.size = scale, size
        ctx.set_materialize_grads(False)
        return output, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients to q, k, v, g and the initial state."""
        q, k, v, g, kept, lengths = ctx.saved_tensors
        gradients = [torch.empty_like(x) for x in (q, k, v, g)]
        d_initial = torch.empty(ctx.size) if ctx.needs_input_grad[4] else None
        d_output = None if d_output is None else d_output.to(v.dtype).contiguous()
        d_final = None if d_final is None else d_final.float().contiguous()
        _native.call(
            "gla_gradient", _shape(q, v), v.dtype, g.dtype, q, k, v, g, lengths, ctypes.c_float(ctx.scale),
            d_output, d_final, kept, *gradients, d_initial,
        )  # fmt: skip
        return *gradients, d_initial, None, None, None
