"""Gated linear attention (Yang et al. 2024, arXiv 2312.06635, equation 3 and section 4).

    S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T        o_t = (scale * q_t)^T S_t

The fast paths cut time into chunks, carry the state from chunk to chunk, and do everything inside a chunk by
matrix products: :mod:`trilemma.ops.gla.compiled` on CPUs, :mod:`trilemma.ops.fla_kernels` on GPUs,
:mod:`trilemma.ops.gla.chunkwise` everywhere.
"""

import torch
from torch import Tensor

from trilemma import _native
from trilemma.ops import fla_kernels
from trilemma.ops.gla import compiled
from trilemma.ops.gla.chunkwise import gla_chunkwise
from trilemma.ops.states import check_state, state_or_zeros


def kernel(device: torch.device | str) -> str:
    """Name of the path that runs on ``device``."""
    return fla_kernels.kernel(device) or _native.kernel(device) or "torch-chunkwise"


def gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    initial_state: Tensor | None = None,
    scale: float | None = None,
    output_final_state: bool = False,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Gated linear attention over whole sequences, chunkwise.

    A step with ``k = 0`` and ``g = 0`` leaves the state as it is: that is how padding is expressed.

    Args:
        q: queries ``[B, T, H, K]``.
        k: keys ``[B, T, H, K]``; grouped heads are repeated by the caller.
        v: values ``[B, T, H, V]``.
        g: log decay ``[B, T, H, K]``, finite and at most 0.
        initial_state: ``[B, H, K, V]``; zeros when None.
        scale: factor on the queries; ``K ** -0.5`` when None.
        output_final_state: whether to return the state after the last step.
        lengths: steps of every sequence, int64 ``[B]``; later ones give zeros, leave the state as it is and
            cost nothing on compiled paths. None for all.

    Returns:
        The output ``[B, T, H, V]`` in the dtype of ``v``, and the final state ``[B, H, K, V]`` in float32
        (float64 for float64 inputs) or None. Sums are accumulated in the dtype of the state.
    """
    if scale is None:
        scale = q.shape[-1] ** -0.5
    shape = (q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    check_state(initial_state, shape)
    if v.numel() == 0:
        return v.clone(), state_or_zeros(initial_state, k, shape) if output_final_state else None
    with torch.autocast(q.device.type, enabled=False):
        if compiled.serves(q, k, v, g, initial_state):
            output, state = compiled.CompiledGLA.apply(  # type: ignore[no-untyped-call]
                q, k, v, g, initial_state, scale, output_final_state, lengths
            )
            return output, state
        if lengths is not None:
            beyond = torch.arange(q.shape[1], device=q.device) >= lengths.unsqueeze(-1)
            q, k, v, g = (x.masked_fill(beyond[:, :, None, None], 0) for x in (q, k, v, g))
        if fla_kernels.serves_gla(q, k, v, g):
            return fla_kernels.gla(q, k, v, g, initial_state, scale, output_final_state)
        return gla_chunkwise(q, k, v, g, initial_state, scale, output_final_state)


def gla_step(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """One step of :func:`gla`, for decoding: its inputs with T = 1.

    Returns:
        The output ``[B, 1, H, V]`` in the dtype of ``v`` and the new state. ``state`` is not to be used
        afterwards, since compiled paths update it in place.
    """
    if scale is None:
        scale = q.shape[-1] ** -0.5
    check_state(state, (q.shape[0], q.shape[2], q.shape[3], v.shape[3]))
    if state.is_contiguous() and not torch.is_grad_enabled() and compiled.serves(q, k, v, g, state):
        return compiled.step_compiled(q, k, v, g, state, scale), state
    return step_recurrent(q, k, v, g, state, scale)


def step_recurrent(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """:func:`gla_step` by PyTorch alone, what every faster path must compute; leaves ``state`` as it is."""
    dtype = state.dtype
    with torch.autocast(q.device.type, enabled=False):
        decayed = state * g[:, 0].to(dtype).exp().unsqueeze(-1)
        state = torch.addcmul(decayed, k[:, 0].to(dtype).unsqueeze(-1), v[:, 0].to(dtype).unsqueeze(-2))
        output = (q.to(dtype) * scale).transpose(1, 2) @ state
    return output.transpose(1, 2).to(v.dtype), state
