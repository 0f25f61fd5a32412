"""A step of gated linear attention by PyTorch alone: what every faster path must compute."""

import torch
from torch import Tensor


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
