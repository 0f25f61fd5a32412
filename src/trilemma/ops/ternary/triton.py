"""Product of packed ternary weights and 8-bit activations on GPUs, by this package's Triton kernels.

Two kernels: the first norms and rounds every token to 8 bits, the second multiplies. For one token the
product takes as long as reading the weights, two bits each; for a few tokens it runs on int8 matrix units.
Integers are summed exactly, so the result is that of the CPU's kernels, whichever tiling was fastest.
"""

import importlib.util
from functools import cache

import torch
from torch import Tensor

MOST_TOKENS = 64
"""More tokens than this are left to PyTorch, which unpacks the weight once and multiplies densely."""

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)
_LEAST_TILE_COLUMNS = 16
"""Fewest tokens that a tile on matrix units holds; absent ones are computed and dropped."""


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def kernel() -> str:
    """Name of this path."""
    return "triton, packed 2-bit"


def available() -> bool:
    """Whether there is Triton and a GPU."""
    return _installed() and torch.cuda.is_available()


def serves(x: Tensor) -> bool:
    """Whether :func:`packed_linear` takes these activations: on a GPU, at most :data:`MOST_TOKENS` tokens."""
    return x.is_cuda and x.dtype in _FLOATS and 0 < x.numel() <= MOST_TOKENS * x.shape[-1] and _installed()


def packed_linear(x: Tensor, packed: Tensor, scale: Tensor, norm_weight: Tensor, eps: float) -> Tensor:
    """:func:`trilemma.ops.ternary.packed.packed_linear` for inputs that :func:`serves` accepts."""
    rows = x.reshape(-1, x.shape[-1])
    levels, steps, sums = normed_levels(rows, norm_weight, eps, 4 * packed.shape[1])
    out = levels_product(levels, steps, sums, packed, scale, x.dtype)
    return out.view(*x.shape[:-1], packed.shape[0])


def normed_levels(
    rows: Tensor, norm_weight: Tensor, eps: float, padded: int
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`trilemma.ops.ternary.levels.normed_levels`, padded by levels of 0 to ``padded`` channels.

    Returns:
        int8 levels -127..127 ``[tokens, padded]``; the step between levels, float32 ``[tokens]``; the sum of
        the levels, int32 ``[tokens]``.
    """
    import triton

    from trilemma.ops.ternary import triton_kernels

    tokens, channels = rows.shape
    levels = rows.new_empty(tokens, padded, dtype=torch.int8)
    steps = rows.new_empty(tokens, dtype=torch.float32)
    sums = rows.new_empty(tokens, dtype=torch.int32)
    block = triton.next_power_of_2(padded)
    with torch.cuda.device_of(rows):  # type: ignore[no-untyped-call]
        triton_kernels.normed_levels[(tokens,)](
            rows.contiguous(), norm_weight.contiguous(), levels, steps, sums, channels, padded,
            EPS=eps, BLOCK=block, num_warps=min(16, max(1, block // 512)), enable_fp_fusion=False,
        )  # fmt: skip
    return levels, steps, sums


def levels_product(
    levels: Tensor, steps: Tensor, sums: Tensor, packed: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """The product of rounded activations and a packed weight.

    Args:
        levels: int8 ``[tokens, 256 * blocks]``.
        steps: between levels, float32 ``[tokens]``.
        sums: sums of the levels, int32 ``[tokens]``.
        packed: uint8 ``[out, 64 * blocks]``.
        scale: the weight's scale, one float32 number.
        dtype: dtype of the result.

    Returns:
        ``[tokens, out]``.
    """
    import triton

    from trilemma.ops.ternary import triton_kernels as kernels

    tokens, (rows, width) = len(levels), packed.shape
    out = levels.new_empty(tokens, rows, dtype=dtype)
    packed = packed.contiguous()
    ptx = levels.is_cuda and torch.version.hip is None
    with torch.cuda.device_of(levels):  # type: ignore[no-untyped-call]
        if tokens == 1:
            kernels.one_token[lambda tile: (triton.cdiv(rows, tile["ROWS"]),)](
                packed.view(torch.int32), levels.view(torch.int32), sums, steps, scale, out,
                rows, width // 4, PTX=ptx,
            )  # fmt: skip
        else:
            kernels.few_tokens[lambda tile: (triton.cdiv(rows, tile["ROWS"]),)](
                packed, levels, sums, steps, scale, out, tokens, rows, width,
                PTX=ptx, TOKENS=max(_LEAST_TILE_COLUMNS, triton.next_power_of_2(tokens)),
            )  # fmt: skip
    return out
