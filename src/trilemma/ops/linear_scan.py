"""First-order linear recurrence by element, the time mixing of HGRN and of MatMul-free LM's MLGRU.

    h_t = f_t * h_{t-1} + x_t

(Qin et al. 2023, arXiv 2311.04823; Zhu et al. 2024, arXiv 2406.02528, section 3.3.) Nothing is ever divided
by a product of gates, so gates of exactly 0 are exact.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trilemma import _native
from trilemma.ops import fla_kernels
from trilemma.ops.states import check_state, state_or_zeros, sum_dtype

LOOP_ELEMENTS = 8192
"""On a CPU, steps of at least this many elements are done one by one: the work then outweighs the call."""

_LOOP_STEPS = 4
"""Scans of at most this many steps are always done one by one."""


def kernel(device: torch.device | str) -> str:
    """Name of the path that runs on ``device``."""
    return fla_kernels.kernel(device) or _native.kernel(device) or "torch-scan"


def linear_scan(
    x: Tensor, f: Tensor, initial_state: Tensor | None = None, output_final_state: bool = False
) -> tuple[Tensor, Tensor | None]:
    """``h_t = f_t * h_{t-1} + x_t`` over whole sequences.

    A step with ``x = 0`` and ``f = 1`` leaves the state as it is: that is how padding is expressed.

    Args:
        x: inputs ``[B, T, D]``.
        f: forget gates ``[B, T, D]``, in 0..1.
        initial_state: ``[B, D]``; zeros when None.
        output_final_state: whether to return the state after the last step.

    Returns:
        The states ``[B, T, D]`` in the dtype of ``x``, and the last one ``[B, D]`` in float32 (float64 for
        float64 inputs) or None. The recurrence runs in the dtype of the state.
    """
    shape = (x.shape[0], x.shape[2])
    check_state(initial_state, shape)
    if x.numel() == 0:
        return x.clone(), state_or_zeros(initial_state, x, shape) if output_final_state else None
    if fla_kernels.serves_scan(x, f):
        return fla_kernels.linear_scan(x, f, initial_state, output_final_state)
    state_fits = initial_state is None or initial_state.dtype == torch.float32
    compiled = state_fits and x.dtype == f.dtype and _native.serves(x, f, initial_state)
    function: Any = _CompiledScan if compiled else _LinearScan
    h, state = function.apply(x, f, initial_state, output_final_state)
    return h, state


def _scan_(h: Tensor, links: Tensor, reverse: bool = False) -> Tensor:
    """Scan ``h [B, T, D]`` in place from zero; ``links[:, t]`` ``[B, T - 1, D]`` joins steps t and t + 1."""
    time = h.shape[1]
    batch, channels = h.shape[0], h.shape[2]
    if time <= _LOOP_STEPS or (h.device.type == "cpu" and batch * channels >= LOOP_ELEMENTS):
        steps, joins = h.unbind(1), links.unbind(1)
        for t in range(time - 2, -1, -1) if reverse else range(time - 1):
            source, target = (t + 1, t) if reverse else (t, t + 1)
            steps[target].addcmul_(joins[t], steps[source])
        return h
    # Pair steps (0, 1), (2, 3), ...; scan the ends of the pairs, half as many; then fill in the rest.
    pairs = time // 2
    single = time > 2 * pairs
    if single and reverse:
        h[:, -2].addcmul_(links[:, -1], h[:, -1])
    inner, outer = links[:, 0 : 2 * pairs : 2], links[:, 1 : 2 * pairs - 1 : 2]
    even, odd = h[:, 0 : 2 * pairs : 2], h[:, 1 : 2 * pairs : 2]
    if reverse:
        even.addcmul_(inner, odd)
        _scan_(even, outer * inner[:, :-1], reverse=True)
        odd[:, :-1].addcmul_(outer, even[:, 1:])
    else:
        odd.addcmul_(inner, even)
        _scan_(odd, outer * inner[:, 1:])
        even[:, 1:].addcmul_(outer, odd[:, :-1])
    if single and not reverse:
        h[:, -1].addcmul_(links[:, -1], h[:, -2])
    return h


class _LinearScan(torch.autograd.Function):
    """Gradients by a scan backwards: ``G_t = dh_t + f_{t+1} G_{t+1}``, ``dx = G``, ``df_t = G_t h_{t-1}``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, f: Tensor, initial_state: Tensor | None, output_final_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        dtype = sum_dtype(x.dtype)
        h = x.to(dtype, copy=True, memory_format=torch.contiguous_format)
        if initial_state is not None:
            h[:, 0].addcmul_(f[:, 0].to(dtype), initial_state.to(dtype))
        _scan_(h, f[:, 1:].to(dtype))
        output = h.to(x.dtype)
        ctx.save_for_backward(f, output, initial_state)
        ctx.set_materialize_grads(False)
        return output, h[:, -1].clone() if output_final_state else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        f, h, initial_state = ctx.saved_tensors
        dtype = sum_dtype(h.dtype)
        if d_output is None:
            total = torch.zeros_like(h, dtype=dtype)
        else:
            total = d_output.to(dtype, copy=True, memory_format=torch.contiguous_format)
        if d_final is not None:
            total[:, -1].add_(d_final)
        _scan_(total, f[:, 1:].to(dtype), reverse=True)
        df = torch.empty_like(f, memory_format=torch.contiguous_format)
        df[:, 1:].copy_(total[:, 1:] * h[:, :-1])
        d_initial = None
        if initial_state is None:
            df[:, 0].zero_()
        else:
            df[:, 0].copy_(total[:, 0] * initial_state)
            d_initial = (total[:, 0] * f[:, 0]).to(initial_state.dtype)
        return total.to(h.dtype), df, d_initial, None


class _CompiledScan(torch.autograd.Function):
    """The scan by the compiled kernels (``_native/scan.h``): one read of the inputs, one write."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, f: Tensor, initial_state: Tensor | None, output_final_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        x, f = x.contiguous(), f.contiguous()
        initial_state = None if initial_state is None else initial_state.contiguous()
        h = torch.empty_like(x)
        final = x.new_empty(x.shape[0], x.shape[2], dtype=torch.float32) if output_final_state else None
        _native.call("scan", *x.shape, x.dtype, x, f, initial_state, h, final)
        ctx.save_for_backward(f, h, initial_state)
        ctx.set_materialize_grads(False)
        return h, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        f, h, initial_state = ctx.saved_tensors
        dx, df = torch.empty_like(h), torch.empty_like(f)
        d_initial = None if initial_state is None else torch.empty_like(initial_state)
        d_output = None if d_output is None else d_output.to(h.dtype).contiguous()
        d_final = None if d_final is None else d_final.float().contiguous()
        _native.call(
            "scan_gradient", *h.shape, h.dtype, f, h, d_output, initial_state, d_final, dx, df, d_initial
        )
        return dx, df, d_initial, None
