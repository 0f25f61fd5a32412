"""MLGRU, the token mixer of MatMul-free LM (Zhu et al. 2024, arXiv 2406.02528, section 3.3).

    f_t = b + (1 - b) sigmoid(f_t)        h_t = f_t h_{t-1} + (1 - f_t) silu(i_t)

elementwise, with b a lower bound of the forget gate.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trilemma import _native
from trilemma.ops.linear_scan import linear_scan
from trilemma.ops.states import check_state


def mlgru(
    i: Tensor,
    f: Tensor,
    lower_bound: Tensor | None = None,
    pads: Tensor | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The recurrence over whole sequences, gates included.

    Args:
        i: inputs before their activation ``[B, T, D]``.
        f: forget gates before their activation ``[B, T, D]``.
        lower_bound: lower bound of the forget gates ``[D]``; 0 when None.
        pads: ``[B, T, 1]``, True where the state must neither decay nor take input.
        initial_state: ``[B, D]``; zeros when None.
        output_final_state: whether to return the state after the last step.

    Returns:
        The states ``[B, T, D]`` in the dtype of ``i``, and the last one ``[B, D]`` in float32 or None.
    """
    check_state(initial_state, (i.shape[0], i.shape[2]))
    state_fits = initial_state is None or initial_state.dtype == torch.float32
    if state_fits and i.dtype == f.dtype and i.numel() and _native.serves(i, f, initial_state):
        h, state = _CompiledMLGRU.apply(  # type: ignore[no-untyped-call]
            i, f, lower_bound, pads, initial_state, output_final_state
        )
        return h, state
    forget = torch.sigmoid(f)
    if lower_bound is not None:
        bound = lower_bound.to(f.dtype)
        forget = bound + (1 - bound) * forget
    inputs = functional.silu(i) * (1 - forget)
    if pads is not None:
        inputs, forget = inputs.masked_fill(pads, 0), forget.masked_fill(pads, 1)
    return linear_scan(inputs, forget, initial_state, output_final_state)


class _CompiledMLGRU(torch.autograd.Function):
    """MLGRU by the compiled kernels (``_native/mlgru.h``); gates are computed again for the gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        i: Tensor,
        f: Tensor,
        lower_bound: Tensor | None,
        pads: Tensor | None,
        initial_state: Tensor | None,
        output_final_state: bool,
    ) -> tuple[Tensor, Tensor | None]:
        i, f = i.contiguous(), f.contiguous()
        bound = None if lower_bound is None else lower_bound.detach().float().contiguous()
        pads = None if pads is None else pads.expand(*i.shape[:2], 1).contiguous()
        initial_state = None if initial_state is None else initial_state.contiguous()
        h = torch.empty_like(i)
        final = i.new_empty(i.shape[0], i.shape[2], dtype=torch.float32) if output_final_state else None
        _native.call("mlgru", *i.shape, i.dtype, i, f, bound, pads, initial_state, h, final)
        ctx.save_for_backward(i, f, h, bound, pads, initial_state)
        ctx.bound_dtype = None if lower_bound is None else lower_bound.dtype
        ctx.set_materialize_grads(False)
        return h, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        i, f, h, bound, pads, initial_state = ctx.saved_tensors
        d_i, d_f = torch.empty_like(i), torch.empty_like(f)
        d_bound = i.new_empty(i.shape[0], i.shape[2], dtype=torch.float32)
        d_initial = None if initial_state is None else torch.empty_like(initial_state)
        d_h = None if d_h is None else d_h.to(h.dtype).contiguous()
        d_final = None if d_final is None else d_final.float().contiguous()
        _native.call(
            "mlgru_gradient", *i.shape, i.dtype, i, f, h, bound, pads, initial_state, d_h, d_final,
            d_i, d_f, d_bound, d_initial,
        )  # fmt: skip
        summed = None if bound is None else d_bound.sum(0).to(ctx.bound_dtype)
        return d_i, d_f, summed, None, d_initial, None
