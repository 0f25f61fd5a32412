"""Norms, rotary embedding and short convolution against golden vectors."""

import pytest
import torch

from tests.stand_ins.ops_golden import load_golden
from trilemma.ops.norms import gated_rms_norm, rms_norm
from trilemma.ops.rotary import rotary_angles, rotate
from trilemma.ops.short_conv import short_conv


def close(ours, golden):
    torch.testing.assert_close(ours, golden, atol=1e-5, rtol=0)


def test_rms_norm_golden():
    golden = load_golden("ops-misc-fla")
    close(rms_norm(golden["x"], golden["norm_weight"], 1e-5), golden["rmsnorm_eps1e5"])
    gated = gated_rms_norm(golden["x"], golden["gate"], golden["norm_weight"], 1e-6)
    close(gated, golden["gated_rmsnorm_eps1e6"])


def test_rms_norm_golden_of_matmul_free():
    golden = load_golden("ops-misc-mmfree")
    close(gated_rms_norm(golden["g_proj"], golden["o"], golden["norm_weight"], 1e-6), golden["g_norm_out"])
    residual = golden["prenorm_x"] + golden["prenorm_residual"]
    close(residual, golden["prenorm_residual_out"])
    close(rms_norm(residual, golden["norm_weight"], 1e-6), golden["prenorm_out"])


def test_rms_norm_of_bfloat16_has_float32_statistics():
    x = (torch.randn(4, 512, generator=torch.Generator().manual_seed(0)) * 300).bfloat16()
    weight = torch.linspace(0.5, 1.5, 512)
    exact = x.double() * torch.rsqrt(x.double().square().mean(-1, keepdim=True) + 1e-6) * weight
    ours = rms_norm(x, weight, 1e-6)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), exact, rtol=2**-6, atol=0)


@pytest.mark.parametrize("shape", [(3, 5, 24), (24,), (0, 24)])
def test_rms_norm_is_torchs_in_values_and_gradients(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(24, dtype=torch.float64, requires_grad=True)
    ours, theirs = rms_norm(x, weight, 1e-3), torch.nn.functional.rms_norm(x, (24,), weight, 1e-3)
    torch.testing.assert_close(ours, theirs)
    d_y = torch.randn(shape, dtype=torch.float64)
    gradients = [torch.autograd.grad(y, (x, weight), d_y) for y in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("offset", [0, 5])
def test_rotary_golden(offset):
    golden = load_golden("ops-misc-fla")
    cos, sin = rotary_angles(torch.arange(offset, offset + 9).unsqueeze(0), channels=16)
    close(rotate(golden["rope_q"], cos, sin), golden[f"rope_q_off{offset}"])
    close(rotate(golden["rope_k"], cos, sin), golden[f"rope_k_off{offset}"])


def test_short_conv_golden_and_its_continuation():
    golden = load_golden("ops-misc-fla")
    y, state = short_conv(golden["conv_x"], golden["conv_weight"])
    close(y, golden["conv_y"])
    close(state, golden["conv_state"])
    y, state = short_conv(golden["conv_step_x"], golden["conv_weight"], state)
    close(y, golden["conv_step_y"])
    close(state, golden["conv_step_state"])


@pytest.mark.parametrize("split", [1, 2, 6, 10])
def test_short_conv_split_is_the_whole(split):
    golden = load_golden("ops-misc-fla")
    x, weight = golden["conv_x"], golden["conv_weight"]
    head, state = short_conv(x[:, :split], weight)
    tail, state = short_conv(x[:, split:], weight, state)
    close(torch.cat([head, tail], dim=1), golden["conv_y"])
    close(state, golden["conv_state"])
