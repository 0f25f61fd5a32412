"""Gated linear attention step by step, by PyTorch alone: what every faster path must compute."""

import torch
from torch import Tensor

from trilemma.ops.states import state_or_zeros


def gla_recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    initial_state: Tensor | None = None,
    scale: float | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Reference for :func:`trilemma.ops.gla.gla`, with its signature."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    state = state_or_zeros(initial_state, k, (k.shape[0], *k.shape[2:], v.shape[-1]))
    outputs = [torch.zeros_like(v)[:, :0]]
    for t in range(q.shape[1]):
        now = slice(t, t + 1)
        output, state = step_recurrent(q[:, now], k[:, now], v[:, now], g[:, now], state, scale)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state if output_final_state else None


def step_recurrent(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Reference for :func:`trilemma.ops.gla.gla_step`; leaves ``state`` as it is."""
    dtype = state.dtype
    with torch.autocast(q.device.type, enabled=False):
        decayed = state * g[:, 0].to(dtype).exp().unsqueeze(-1)
        state = torch.addcmul(decayed, k[:, 0].to(dtype).unsqueeze(-1), v[:, 0].to(dtype).unsqueeze(-2))
        output = (q.to(dtype) * scale).transpose(1, 2) @ state
    return output.transpose(1, 2).to(v.dtype), state
