"""Packed ternary weights: layout, exact integers, equality with the fake-quantised layer."""

import pytest
import torch

from trilemma import _native
from trilemma.ops.ternary import bit_linear
from trilemma.ops.ternary.levels import ternary_weight
from trilemma.ops.ternary.packed import pack, packed_linear, packed_width, unpack

pytestmark = pytest.mark.usefixtures("kernels")


def draw(tokens, channels, rows, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, channels, generator=generator).to(dtype)
    weight = torch.randn(rows, channels, generator=generator)
    return x, weight, torch.rand(channels, generator=generator) + 0.5


@pytest.mark.parametrize("channels", [1, 64, 255, 256, 257, 700])
def test_packing_is_undone(channels):
    levels = torch.randint(-1, 2, (5, channels), dtype=torch.int8)
    packed = pack(levels)
    assert packed.dtype == torch.uint8 and packed.shape == (5, packed_width(channels))
    assert torch.equal(unpack(packed, channels), levels)


def test_packed_weights_keep_no_memory_but_their_own():
    packed = pack(torch.randint(-1, 2, (5, 300), dtype=torch.int8))
    # Of a view, moving the data would leave the old memory to the tensor that it is a view of.
    assert not packed._is_view() and packed.untyped_storage().nbytes() == packed.numel()


def test_layout_is_the_documented_one():
    levels = torch.zeros(1, 256, dtype=torch.int8)
    levels[0, 3], levels[0, 64 + 3], levels[0, 128 + 3], levels[0, 192 + 3] = 1, -1, 0, 1
    packed = pack(levels)
    assert packed[0, 3] == 0b10_01_00_10 and packed[0, 0] == 0b01_01_01_01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("tokens", "channels", "rows"),
    [(1, 1, 3), (0, 5, 2), (1, 256, 1), (2, 700, 67), (5, 255, 16), (3, 1024, 100), (130, 64, 9)],
)
def test_equals_the_fake_quantised_layer_bit_for_bit(tokens, channels, rows, dtype):
    x, weight, norm = draw(tokens, channels, rows, dtype)
    levels, scale = ternary_weight(weight)
    with _native.using(_native.TORCH):
        expected = bit_linear(x, weight, norm)
    actual = packed_linear(x, pack(levels), scale, norm, 1e-6)
    assert actual.dtype == dtype
    assert torch.equal(actual, expected)


def test_few_and_many_tokens_agree():
    x, weight, norm = draw(40, 300, 33)
    levels, scale = ternary_weight(weight)
    packed = pack(levels)
    expected = packed_linear(x, packed, scale, norm, 1e-6)
    assert torch.equal(packed_linear(x, packed, scale, norm, 1e-6, lambda: levels), expected)
    for few in (1, 2, 3, 7):
        assert torch.equal(packed_linear(x[:few], packed, scale, norm, 1e-6), expected[:few])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_show_in_the_output(value):
    x, weight, norm = draw(3, 300, 8)
    x[1, 17] = value
    levels, scale = ternary_weight(weight)
    y = packed_linear(x, pack(levels), scale, norm, 1e-6)
    assert not y[1].isfinite().any()
    assert y[[0, 2]].isfinite().all()


def test_strided_input():
    x, weight, norm = draw(6, 128, 10)
    levels, scale = ternary_weight(weight)
    packed = pack(levels)
    wide = torch.cat([x, x], dim=-1)[:, :128]
    expected = packed_linear(x, packed, scale, norm, 1e-6)
    assert torch.equal(packed_linear(wide, packed, scale, norm, 1e-6), expected)
    shaped = packed_linear(x.view(2, 3, 128), packed, scale, norm, 1e-6)
    assert shaped.shape == (2, 3, 10)
