"""BitLinear: golden vectors, rounding, straight-through gradients."""

import pytest
import torch

from tests.stand_ins.ops_golden import load_golden
from trilemma.ops.ternary import bit_linear, kernel
from trilemma.ops.ternary import levels as levels_module
from trilemma.ops.ternary.levels import levels_product, normed_levels, ternary_weight
from trilemma.ops.ternary.reference import bit_linear_reference

pytestmark = pytest.mark.usefixtures("kernels")


def draw(tokens=(3, 7), inputs=48, outputs=40, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, weight, norm = normal(*tokens, inputs), normal(outputs, inputs), 1 + 0.25 * normal(inputs)
    return [y.to(dtype).requires_grad_() for y in (x, weight, norm)]


@pytest.mark.parametrize("function", [bit_linear, bit_linear_reference])
def test_golden(function):
    golden = load_golden("ops-bitlinear-1")
    inputs = [golden[key].requires_grad_() for key in ("x", "weight", "norm_weight")]
    y = function(*inputs)
    torch.testing.assert_close(y, golden["y"], atol=1e-5, rtol=0)
    gradients = torch.autograd.grad(y, inputs, golden["dy"])
    for gradient, key in zip(gradients, ("dx", "dweight", "dnorm_weight"), strict=True):
        torch.testing.assert_close(
            gradient, golden[key], atol=1e-6 * golden[key].abs().max().item(), rtol=1e-5
        )


def test_golden_ternary_weight():
    golden = load_golden("ops-bitlinear-1")
    levels, scale = ternary_weight(golden["weight"])
    assert levels.dtype == torch.int8
    assert torch.equal(levels, golden["ternary"])
    torch.testing.assert_close(scale, golden["absmean"][0], atol=0, rtol=1e-6)


def test_norm_constant_is_the_published_one():
    golden = load_golden("ops-bitlinear-1")
    wrong = bit_linear(golden["x"], golden["weight"], golden["norm_weight"], eps=1e-8)
    assert (wrong - golden["y"]).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_definition(dtype):
    inputs = draw(dtype=dtype)
    y, reference = bit_linear(*inputs), bit_linear_reference(*inputs)
    assert y.dtype == dtype
    torch.testing.assert_close(y, reference)
    d_y = torch.linspace(-1, 1, y.numel(), dtype=dtype).view(y.shape)
    ours, theirs = (torch.autograd.grad(out, inputs, d_y) for out in (y, reference))
    torch.testing.assert_close(ours, theirs, atol=1e-4 if dtype == torch.float32 else 1e-7, rtol=1e-5)


def test_gradients_of_the_norm_are_its_derivatives():
    """With levels held, the output is linear in the normed input: compare to finite differences of that."""
    x, weight, norm = draw(tokens=(2,), dtype=torch.float64)
    levels, scale = ternary_weight(weight)
    d_y = torch.ones(2, 40, dtype=torch.float64)
    d_x, d_norm = torch.autograd.grad(bit_linear(x, weight, norm), (x, norm), d_y)

    def smooth(x, norm):
        y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * norm
        return (y @ (levels.double() * scale).T).sum()

    for name, gradient, at in (("x", d_x, x), ("norm", d_norm, norm)):
        direction = torch.linspace(-1, 1, at.numel(), dtype=torch.float64).view_as(at)
        step = 1e-6 * direction
        moved = [smooth(x + s * step, norm) if name == "x" else smooth(x, norm + s * step) for s in (1, -1)]
        torch.testing.assert_close(
            (moved[0] - moved[1]) / 2e-6, (gradient * direction).sum(), rtol=1e-6, atol=1e-6
        )


def test_activations_round_to_eight_bits():
    x = torch.tensor([[0.0, 0.0, 0.0], [1.2, -2.0, 0.004], [1.0, 1.0, 1.0]])
    levels, step, inverse_rms = normed_levels(x, torch.tensor([1.0, 1.0, 4.0]), 0.0625)
    assert levels.tolist() == [[0, 0, 0], [76, -127, 1], [32, 32, 127]]
    torch.testing.assert_close(inverse_rms[:, 0], (x.square().mean(-1) + 0.0625).rsqrt())
    largest = torch.stack([torch.tensor(1e-5), 2 * inverse_rms[1, 0], 4 * inverse_rms[2, 0]])
    torch.testing.assert_close(step[:, 0], largest / 127)


def test_zero_tokens_and_zero_weights_are_finite():
    x, weight, norm = draw()
    y = bit_linear(torch.zeros_like(x).requires_grad_(), torch.zeros_like(weight).requires_grad_(), norm)
    assert not y.any()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), norm))


def test_a_given_weight_is_used():
    x, weight, norm = draw()
    quantized = ternary_weight(weight)
    assert torch.equal(bit_linear(x, weight, norm, quantized=quantized), bit_linear(x, weight, norm))
    doubled = bit_linear(x, weight, norm, quantized=(quantized[0], quantized[1] * 2))
    torch.testing.assert_close(doubled, bit_linear(x, weight, norm) * 2)


def test_autocast_keeps_norm_and_rounding_in_float32():
    inputs = draw(tokens=(4, 9), inputs=256, outputs=96)
    reference = bit_linear_reference(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = bit_linear(*inputs)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), reference, rtol=2**-7, atol=1e-3)
    d_y = torch.linspace(-1, 1, y.numel()).view(y.shape)
    ours = torch.autograd.grad(y, inputs, d_y.bfloat16())
    for gradient, exact, given in zip(ours, torch.autograd.grad(reference, inputs, d_y), inputs, strict=True):
        assert gradient.dtype == given.dtype
        assert (gradient - exact).norm() < 1e-2 * exact.norm()


def test_bfloat16_model():
    inputs = [y.detach().bfloat16().requires_grad_() for y in draw()]
    y = bit_linear(*inputs)
    exact = bit_linear_reference(*(x.detach().double() for x in inputs))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=2**-7, atol=1e-2)
    assert [g.dtype for g in torch.autograd.grad(y.sum(), inputs)] == [torch.bfloat16] * 3


def test_rounding_is_per_token_and_per_tensor():
    x, weight, norm = (y.detach() for y in draw())
    y = bit_linear(x, weight, norm)
    scaled = x.clone()
    scaled[0, 0] *= 1e3
    again = bit_linear(scaled, weight, norm)
    assert torch.equal(again[1:], y[1:])
    halves = torch.cat([bit_linear(x, part, norm) for part in (weight[:20] * 4, weight[20:])], dim=-1)
    whole = bit_linear(x, torch.cat([weight[:20] * 4, weight[20:]]), norm)
    assert (whole - halves).abs().max() > 0.1


def test_one_channel():
    x, weight, norm = (y.detach() for y in draw())
    x, weight, norm = x[..., :1].contiguous(), weight[:, :1].contiguous(), norm[:1].contiguous()
    for _ in range(3):  # unwritten memory would change
        torch.testing.assert_close(bit_linear(x, weight, norm), bit_linear_reference(x, weight, norm))


def test_non_contiguous_and_single_token():
    x, weight, norm = (y.detach() for y in draw(tokens=(6, 5)))
    strided = x.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(
        bit_linear(strided, weight.T.contiguous().T, norm), bit_linear(x, weight, norm)
    )
    torch.testing.assert_close(bit_linear(x[0, 0], weight, norm), bit_linear(x, weight, norm)[0, 0])
    assert bit_linear(x[:0], weight, norm).shape == (0, 5, 40)


def test_kernel_says_that_weights_are_not_packed():
    assert "fake-quantised" in kernel("cpu")
    assert "fake-quantised" in kernel("cuda")


@pytest.mark.parametrize("has_int8_units", [True, False])
@pytest.mark.parametrize("channels", [2, 257, 4096])
def test_products_of_levels_are_exact_whatever_multiplies(has_int8_units, channels, monkeypatch):
    if has_int8_units and not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no int8 product on CPUs (no oneDNN)")
    monkeypatch.setattr(levels_module, "INT8_INSTRUCTIONS", has_int8_units)
    generator = torch.Generator().manual_seed(0)
    activations = torch.randint(-127, 128, (5, channels), dtype=torch.int8, generator=generator)
    activations[0] = 127
    levels = torch.randint(-1, 2, (7, channels), dtype=torch.int8, generator=generator)
    levels[0] = 1
    step, scale = torch.rand(5, 1, generator=generator), torch.tensor(0.37)
    expected = (activations.long() @ levels.long().T).float() * (step * scale)
    for product in (torch.float32, torch.bfloat16):
        assert torch.equal(levels_product(activations, step, levels, scale, product), expected)
