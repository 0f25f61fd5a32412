"""Triton kernels of :mod:`trilemma.ops.ternary.triton`, which imports this file at the first use.

A row of packed weights is read byte by byte: byte j of a block of 64 holds the weights j, 64 + j, 128 + j and
192 + j, one in each *quarter* of the block's 256 weights. Codes are weight + 1, so that sum(level * code)
exceeds the product by sum(level): that is taken off at the end, not weight by weight.

``PTX`` says whether to work on four bytes at once by instructions that only NVIDIA's processors have; without
it plain arithmetic, which runs anywhere, gives the same integers.
"""

from functools import partial

import triton
import triton.language as tl
import triton.testing

SMALLEST = tl.constexpr(1e-5)
ROUNDING = tl.constexpr(1.5 * 2**23)
"""Added to a float32 below 2^22 and taken off again: leaves it rounded, half to even."""


@triton.jit
def normed_levels(
    rows: tl.tensor,
    norm_weight: tl.tensor,
    levels: tl.tensor,
    steps: tl.tensor,
    sums: tl.tensor,
    channels: tl.tensor,
    padded: tl.tensor,
    EPS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Levels, step and sum of levels of one token, as :func:`trilemma.ops.ternary.levels.normed_levels`.

    Compile it without fused multiply-add, which would round differently.
    """
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < channels
    values = tl.load(rows + token * channels + at, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum((values * values).to(tl.float64)) / channels + EPS
    inverse_rms = (1.0 / tl.sqrt(mean)).to(tl.float32)
    normed = values * inverse_rms * tl.load(norm_weight + at, mask=inside, other=0.0).to(tl.float32)
    largest = tl.maximum(tl.max(tl.abs(normed)), SMALLEST)
    largest += tl.sum(normed * 0.0)  # maxima pass over NaN: this makes the step NaN, and so the output
    scaled = normed * (tl.div_rn(1.0, largest) * 127.0)
    level = ((scaled + ROUNDING) - ROUNDING).to(tl.int8)
    tl.store(levels + token * padded + at, level, mask=at < padded)
    tl.store(steps + token, tl.div_rn(largest, 127.0))
    tl.store(sums + token, tl.sum(level.to(tl.int32)))


@triton.jit
def _add_products(total: tl.tensor, activations: tl.tensor, codes: tl.tensor, PTX: tl.constexpr) -> tl.tensor:
    """``total`` plus the products of four pairs of bytes, all int32 words."""
    if PTX:
        return tl.inline_asm_elementwise(
            "dp4a.s32.s32 $0, $1, $2, $3;",
            "=r,r,r,r",
            [activations, codes, total],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    for byte in tl.static_range(4):
        total += (activations << (24 - 8 * byte) >> 24) * (codes >> (8 * byte) & 255)
    return total


@triton.jit
def _lowest_codes(quads: tl.tensor, PTX: tl.constexpr) -> tl.tensor:
    """The lowest bit pair of every byte, int8."""
    if PTX:
        return tl.inline_asm_elementwise(
            "and.b32 $0, $1, 0x03030303;", "=r,r", [quads], dtype=tl.int8, is_pure=True, pack=4
        )
    return (quads & 3).to(tl.int8)


@triton.jit
def _next_codes(quads: tl.tensor, PTX: tl.constexpr) -> tl.tensor:
    """Moves the next bit pair of every byte down to the lowest; what is above it is undefined."""
    if PTX:
        return tl.inline_asm_elementwise(
            "shr.b32 $0, $1, 2;", "=r,r", [quads], dtype=tl.uint8, is_pure=True, pack=4
        )
    return quads >> 2


_time = partial(triton.testing.do_bench, warmup=5, rep=20)
"""Milliseconds of a launch with the cache emptied; briefly, since a shape is tuned at its first use."""


def _configs(names: tuple[str, ...], settings: list[tuple[int, ...]]) -> list[triton.Config]:
    """Launch settings, of which the fastest is used; the interpreter times nothing and takes the first."""
    configs = [
        triton.Config(dict(zip(names, tile, strict=True)), num_warps=warps, num_stages=stages)
        for *tile, warps, stages in settings
    ]
    return configs[:1] if triton.knobs.runtime.interpret else configs


@triton.autotune(
    configs=_configs(
        ("ROWS", "WORDS"),
        [
            (4, 128, 1, 1),
            (8, 128, 1, 1),
            (2, 256, 1, 1),
            (4, 256, 1, 1),
            (2, 512, 1, 1),
            (4, 256, 2, 1),
            (8, 256, 2, 1),
            (2, 512, 4, 1),
            (4, 512, 4, 1),
        ],
    ),
    key=["rows", "words"],
    do_bench=_time,
)
@triton.jit
def one_token(
    packed: tl.tensor,
    levels: tl.tensor,
    sums: tl.tensor,
    steps: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    words: tl.tensor,
    PTX: tl.constexpr,
    ROWS: tl.constexpr,
    WORDS: tl.constexpr,
) -> None:
    """Matrix times vector: packed weights as int32 ``[rows, words]``, levels as int32 ``[4 * words]``."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lines = packed + row.to(tl.int64)[:, None] * words
    total = tl.zeros([ROWS, WORDS], tl.int32)
    for start in range(0, words, WORDS):
        word = start + tl.arange(0, WORDS)
        inside = word < words
        codes = tl.load(lines + word[None, :], mask=(row < rows)[:, None] & inside[None, :], other=0)
        first_quarter = levels + word // 16 * 64 + word % 16
        for quarter in tl.static_range(4):
            activations = tl.load(first_quarter + 16 * quarter, mask=inside, other=0)
            total = _add_products(total, activations[None, :], (codes >> (2 * quarter)) & 0x03030303, PTX)
    product = (tl.sum(total, axis=1) - tl.load(sums)).to(tl.float32) * (tl.load(steps) * tl.load(scale))
    tl.store(out + row, product, mask=row < rows)


@triton.autotune(
    configs=_configs(
        ("ROWS", "BYTES"),
        [
            (64, 128, 4, 3),
            (16, 128, 1, 4),
            (16, 256, 2, 3),
            (32, 64, 2, 5),
            (32, 128, 2, 4),
            (32, 256, 4, 3),
            (64, 64, 4, 3),
            (128, 64, 4, 4),
            (128, 128, 8, 3),
        ],
    ),
    key=["rows", "width", "TOKENS"],
    do_bench=_time,
)
@triton.jit
def few_tokens(
    packed: tl.tensor,
    levels: tl.tensor,
    sums: tl.tensor,
    steps: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    tokens: tl.tensor,
    rows: tl.tensor,
    width: tl.tensor,
    PTX: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    BYTES: tl.constexpr,
) -> None:
    """Matrix times matrix on int8 units: packed uint8 ``[rows, width]``, levels ``[tokens, 4 * width]``."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.arange(0, TOKENS)
    lines = packed + row.to(tl.int64)[:, None] * width
    total = tl.zeros([ROWS, TOKENS], tl.int32)
    for start in range(0, width, BYTES):
        byte = start + tl.arange(0, BYTES)
        inside = byte < width
        quads = tl.load(lines + byte[None, :], mask=(row < rows)[:, None] & inside[None, :], other=0)
        first_quarter = token[:, None] * (4 * width) + (byte // 64 * 256 + byte % 64)[None, :]
        for quarter in tl.static_range(4):
            activations = tl.load(
                levels + first_quarter + 64 * quarter,
                mask=(token < tokens)[:, None] & inside[None, :],
                other=0,
            )
            total = tl.dot(_lowest_codes(quads, PTX), tl.trans(activations), total, out_dtype=tl.int32)
            quads = _next_codes(quads, PTX)
    token_mask = token < tokens
    step = tl.load(steps + token, mask=token_mask, other=0.0) * tl.load(scale)
    sums_of_levels = tl.load(sums + token, mask=token_mask, other=0)
    product = (total - sums_of_levels[None, :]).to(tl.float32) * step[None, :]
    tl.store(
        out + token[:, None] * rows + row[None, :],
        tl.trans(product),
        mask=token_mask[:, None] & (row < rows)[None, :],
    )
