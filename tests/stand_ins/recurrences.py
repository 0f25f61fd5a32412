"""Recurrences step by step, by PyTorch alone: what every faster path of an operator must compute."""

import torch
from torch import Tensor

from trilemma.ops.gla import step_recurrent
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
    """Reference for :func:`trilemma.ops.gla.gla`, which has further options."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    state = state_or_zeros(initial_state, k, (k.shape[0], *k.shape[2:], v.shape[-1]))
    outputs = [torch.zeros_like(v)[:, :0]]
    for t in range(q.shape[1]):
        now = slice(t, t + 1)
        output, state = step_recurrent(q[:, now], k[:, now], v[:, now], g[:, now], state, scale)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state if output_final_state else None


def linear_scan_recurrent(
    x: Tensor, f: Tensor, initial_state: Tensor | None = None, output_final_state: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The recurrence step by step: reference for :func:`linear_scan`, with its signature."""
    h = state_or_zeros(initial_state, x, (x.shape[0], x.shape[2]))
    states = [torch.zeros_like(x)[:, :0]]
    for t in range(x.shape[1]):
        h = f[:, t].to(h.dtype) * h + x[:, t].to(h.dtype)
        states.append(h.to(x.dtype).unsqueeze(1))
    return torch.cat(states, dim=1), h if output_final_state else None
