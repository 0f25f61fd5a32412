"""Gated linear attention and the linear scan on GPUs, by the Triton kernels of flash-linear-attention.

(Yang and Zhang 2024, https://github.com/fla-org/flash-linear-attention; package ``fla-core``, 0.6 or later.)
They take what :func:`serves_gla` and :func:`serves_scan` accept; PyTorch computes the rest:

- tensors off the GPU, float64, queries, keys and values of different dtypes;
- scans of a few steps, where PyTorch needs no more launches;
- gated linear attention over long float32 sequences, unless PyTorch may use TF32, as fla's products do.
"""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)

_RECURRENT_GLA_STEPS = 64
"""Gated linear attention over up to this many steps is one kernel that goes step by step, in full float32, as
in fla's own layer."""

_RECURRENT_SCAN_STEPS = 128
"""Scans over up to this many steps, the length of fla's chunks, are one kernel that goes step by step."""

_PYTORCH_SCAN_STEPS = 4
"""Scans over up to this many steps are left to PyTorch."""

_OLDEST_VERSION = (0, 6)
"""The first version of fla whose functions have the signatures that are used here."""


@cache
def version() -> str | None:
    """Version of fla's kernels; None where they, or Triton, are not installed or too old."""
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        found = importlib.metadata.version("fla-core")
    except importlib.metadata.PackageNotFoundError:
        return None
    return found if tuple(int(part) for part in found.split(".")[:2]) >= _OLDEST_VERSION else None


def kernel(device: torch.device | str) -> str:
    """Name of this path where it runs on ``device``; "" elsewhere."""
    gpu = torch.device(device).type == "cuda" and torch.cuda.is_available()
    return f"fla {version()}" if gpu and version() is not None else ""


def serves_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> bool:
    """Whether :func:`gla` takes these inputs."""
    if not q.is_cuda or q.numel() == 0 or v.numel() == 0 or version() is None:
        return False
    if q.dtype not in _FLOATS or not q.dtype == k.dtype == v.dtype or g.dtype not in _FLOATS:
        return False
    may_use_tf32: bool = torch.backends.cuda.matmul.fp32_precision == "tf32"
    return q.dtype != torch.float32 or q.shape[1] <= _RECURRENT_GLA_STEPS or may_use_tf32


def serves_scan(x: Tensor, f: Tensor) -> bool:
    """Whether :func:`linear_scan` takes these inputs."""
    if not x.is_cuda or x.numel() == 0 or x.shape[1] <= _PYTORCH_SCAN_STEPS or version() is None:
        return False
    return x.dtype in _FLOATS and f.dtype in _FLOATS


def gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    initial_state: Tensor | None,
    scale: float,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """:func:`trilemma.ops.gla.gla` for inputs that :func:`serves_gla` accepts.

    Decay is summed over chunks of 64 steps in float32, so after a gate of -10000 the milder ones of its chunk
    are accurate to 1% only; the gates of gated linear attention are sixteenths of log-sigmoids.
    """
    if initial_state is not None:
        initial_state = initial_state.float()
    options = {"scale": scale, "initial_state": initial_state, "output_final_state": output_final_state}
    if q.shape[1] <= _RECURRENT_GLA_STEPS:
        output, state = operators().fused_recurrent_gla(q, k, v, gk=g, **options)
    else:
        output, state = operators().chunk_gla(q, k, v, g, **options)
    return output, state


def linear_scan(
    x: Tensor, f: Tensor, initial_state: Tensor | None, output_final_state: bool
) -> tuple[Tensor, Tensor | None]:
    """:func:`trilemma.ops.linear_scan.linear_scan` for inputs that :func:`serves_scan` accepts."""
    h, state = _Scan.apply(x, f, initial_state, output_final_state)  # type: ignore[no-untyped-call]
    return h, state


class _Scan(torch.autograd.Function):
    """Forward scans alone are fla's; the gradient is a scan backwards, as in :mod:`trilemma.ops.linear_scan`.

    fla's own gradients are those to log gates, undefined at gates of 0, and its chunks give none to states.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, f: Tensor, initial_state: Tensor | None, output_final_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        h = _scan(x.float(), f, None if initial_state is None else initial_state.float())
        output = h.to(x.dtype)
        ctx.save_for_backward(f, output, initial_state)
        ctx.set_materialize_grads(False)
        return output, h[:, -1].clone() if output_final_state else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        f, h, initial_state = ctx.saved_tensors
        d_h = torch.zeros_like(h, dtype=torch.float32) if d_output is None else d_output.float()
        start = torch.zeros_like(d_h[:, 0]) if d_final is None else d_final.float()
        # G_t = d_t + f_(t+1) G_(t+1), and the last takes the gradient of the final state as it is.
        ones = torch.ones_like(f[:, :1])
        total = _scan(d_h.flip(1), torch.cat([ones, f[:, 1:].flip(1)], dim=1), start).flip(1)
        before = h.new_zeros(h[:, :1].shape) if initial_state is None else initial_state.unsqueeze(1)
        d_f = torch.cat([total[:, :1] * before, total[:, 1:] * h[:, :-1]], dim=1)
        d_initial = None if initial_state is None else (total[:, 0] * f[:, 0]).to(initial_state.dtype)
        return total.to(h.dtype), d_f.to(f.dtype), d_initial, None


def _scan(x: Tensor, f: Tensor, initial_state: Tensor | None) -> Tensor:
    """The states ``[B, T, D]`` of float32 inputs. The logarithm of a gate of 0 is -inf, and back to 0."""
    short = x.shape[1] <= _RECURRENT_SCAN_STEPS
    operator = operators().fused_recurrent_hgrn if short else operators().chunk_hgrn
    h: Tensor = operator(x, f.float().log(), initial_state=initial_state)[0]
    return h


@cache
def operators() -> Any:
    """The functions of fla that are used here, by their names there; imported at the first use."""
    with _without_models():
        from fla.ops.gla import chunk_gla, fused_recurrent_gla
        from fla.ops.hgrn import chunk_hgrn, fused_recurrent_hgrn
    return SimpleNamespace(
        chunk_gla=chunk_gla,
        fused_recurrent_gla=fused_recurrent_gla,
        chunk_hgrn=chunk_hgrn,
        fused_recurrent_hgrn=fused_recurrent_hgrn,
    )


@contextmanager
def _without_models() -> Iterator[None]:
    """Import fla without its models, where those are installed too.

    They register with Transformers' Auto classes under the same published model types, and would replace
    those of this package.
    """
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in ("fla.layers", "fla.models") if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
