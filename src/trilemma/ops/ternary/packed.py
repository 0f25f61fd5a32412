"""The deployed form of a ternary weight: two bits per weight, and its product with 8-bit activations.

Rows are cut into blocks of 256 weights and 64 bytes. Byte j of a block holds the weights j, 64 + j, 128 + j
and 192 + j in its bit pairs, from the lowest up, each as weight + 1: a vector of 64 bytes gives four vectors
of 64 weights by shifts and masks alone. A row ends in weights of 0 where its length is not a multiple of 256.
"""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from trilemma import _native
from trilemma.ops.ternary import triton
from trilemma.ops.ternary.levels import levels_product, normed_levels
from trilemma.ops.ternary.levels import path as levels_path

BLOCK = 256
"""Weights per block of a packed row."""

_BLOCK_BYTES = BLOCK // 4


def kernel(device: torch.device | str) -> str:
    """Name of the path that runs on ``device``."""
    if torch.device(device).type == "cuda" and triton.available():
        return triton.kernel()
    if multiplies_packed(device):
        return f"compiled-{_native.path()}, packed 2-bit"
    return f"{levels_path(device)}, unpacked to int8"


def packed_width(channels: int) -> int:
    """Bytes of a packed row of ``channels`` weights."""
    return -(-channels // BLOCK) * _BLOCK_BYTES


def pack(levels: Tensor) -> Tensor:
    """Levels -1, 0 or 1 ``[out, in]`` of any dtype, at two bits each: uint8 ``[out, 64 * blocks]``."""
    rows, channels = levels.shape
    codes = torch.nn.functional.pad(levels.to(torch.int8), (0, -channels % BLOCK)).add_(1).to(torch.uint8)
    quarters = codes.view(rows, -1, 4, _BLOCK_BYTES)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=levels.device).view(4, 1)
    # Not a view, which would keep the whole memory alive after the weight has moved.
    packed = torch.empty(rows, quarters.shape[1] * _BLOCK_BYTES, dtype=torch.uint8, device=levels.device)
    torch.sum(quarters << shifts, dim=2, dtype=torch.uint8, out=packed.view(rows, -1, _BLOCK_BYTES))
    return packed


def unpack(packed: Tensor, channels: int) -> Tensor:
    """Inverse of :func:`pack`: int8 ``[out, channels]``."""
    rows = packed.shape[0]
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=packed.device).view(4, 1)
    codes = (packed.view(rows, -1, 1, _BLOCK_BYTES) >> shifts) & 3
    return codes.view(rows, -1)[:, :channels].to(torch.int8).sub_(1).contiguous()


# Traced, it would unpack the weights and keep them beside the packed ones: the compiled kernels cannot be
# traced.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def packed_linear(
    x: Tensor,
    packed: Tensor,
    scale: Tensor,
    norm_weight: Tensor,
    eps: float,
    levels: Callable[[], Tensor] | None = None,
) -> Tensor:
    """:func:`trilemma.ops.ternary.bit_linear` on a packed weight, without gradients.

    Integers are summed exactly, on every path.

    Args:
        x: ``[..., in]``.
        packed: from :func:`pack`, uint8 ``[out, 64 * blocks]``.
        scale: the weight's scale, one float32 number.
        norm_weight: weight of the layer's own RMS norm ``[in]``.
        eps: added to the mean square in the norm.
        levels: returns the result of :func:`unpack`, where the caller keeps it; called on paths that cannot
            multiply by packed weights.

    Returns:
        ``[..., out]`` in the dtype of ``x``.
    """
    if triton.serves(x):
        return triton.packed_linear(x, packed, scale, norm_weight, eps)
    channels = x.shape[-1]
    rows = x.reshape(-1, channels)
    if _native.serves(rows):
        out = _native_product(rows, packed, scale, norm_weight, eps)
    else:
        activations, step, _ = normed_levels(rows, norm_weight, eps)
        ternary = unpack(packed, channels) if levels is None else levels()
        out = levels_product(activations, step, ternary, scale, x.dtype)
    return out.view(*x.shape[:-1], packed.shape[0]).to(x.dtype)


def multiplies_packed(device: torch.device | str) -> bool:
    """Whether ``device`` has a path that multiplies by packed weights as they are."""
    if torch.device(device).type == "cuda":
        return triton.available()
    return torch.device(device).type == "cpu" and _native.available()


def _native_product(rows: Tensor, packed: Tensor, scale: Tensor, norm_weight: Tensor, eps: float) -> Tensor:
    tokens, channels = rows.shape
    blocks = packed.shape[1] // _BLOCK_BYTES
    levels = torch.empty(tokens, blocks * BLOCK, dtype=torch.int8)
    sums, steps = torch.empty(tokens, dtype=torch.int32), torch.empty(tokens)
    out = torch.empty(tokens, packed.shape[0])
    rows = rows.contiguous()
    norm_weight = norm_weight.float().contiguous()
    _native.call(
        "quantize", rows, rows.dtype, tokens, channels, norm_weight, float(eps),
        levels, levels.shape[1], sums, steps, None,
    )  # fmt: skip
    _native.call(
        "ternary", packed, packed.shape[0], blocks, ctypes.c_float(float(scale)),
        levels, sums, steps, tokens, out,
    )  # fmt: skip
    return out
