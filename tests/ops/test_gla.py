"""Gated linear attention: golden vectors, gradients, and the chunkwise form against the recurrence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stand_ins.ops_golden import load_golden
from tests.stand_ins.recurrences import gla_recurrent
from trilemma import _native
from trilemma.ops.gla import gla, gla_step, kernel

pytestmark = pytest.mark.usefixtures("kernels")


def draw(batch, time, heads, key_dim, value_dim, decay, seed=0, dtype=torch.float32):
    """Random inputs; a quarter of the gates lie near ``-decay``, the others near 0."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = (batch, time, heads, key_dim)
    q, k, v = normal(*shape), normal(*shape), normal(batch, time, heads, value_dim)
    strong = torch.rand(shape, generator=generator, dtype=torch.float64) < 0.25
    g = -torch.rand(shape, generator=generator, dtype=torch.float64) * torch.where(strong, decay, 0.1)
    state = normal(batch, heads, key_dim, value_dim)
    return [x.to(dtype) for x in (q, k, v, g, state)]


def gradients(function, inputs, seed=1):
    """Outputs and gradients of a random weighting of both outputs."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    output, state = function(*inputs, output_final_state=True)
    generator = torch.Generator().manual_seed(seed)
    loss = sum((y * torch.randn(y.shape, generator=generator).to(y)).sum() for y in (output, state))
    return [output, state, *torch.autograd.grad(loss, inputs, materialize_grads=True)]


@pytest.mark.parametrize(("name", "tolerance"), [("ops-gla-1", 2e-5), ("ops-gla-2-hard", 3e-5)])
@pytest.mark.parametrize("function", [gla, gla_recurrent])
def test_golden(name, tolerance, function):
    golden = load_golden(name)
    inputs = [golden[key].requires_grad_() for key in ("q", "k", "v", "g", "h0")]
    output, state = function(*inputs, output_final_state=True)
    torch.testing.assert_close(output, golden["o"], atol=tolerance, rtol=0)
    torch.testing.assert_close(state, golden["ht"], atol=tolerance, rtol=0)
    loss = (output * golden["do"]).sum() + (state * golden["dht"]).sum()
    for gradient, key in zip(torch.autograd.grad(loss, inputs), ("dq", "dk", "dv", "dg", "dh0"), strict=True):
        torch.testing.assert_close(
            gradient, golden[key], atol=1e-4, rtol=0, msg=lambda m, key=key: f"{key}: {m}"
        )


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    time=st.integers(0, 150),
    heads=st.integers(1, 3),
    key_dim=st.integers(1, 9),
    value_dim=st.integers(1, 9),
    decay=st.sampled_from([0.0, 1.0, 4.0, 20.0, 100.0, 1e4]),
    seed=st.integers(0, 2**31),
)
def test_chunkwise_is_the_recurrence(batch, time, heads, key_dim, value_dim, decay, seed):
    inputs = draw(batch, time, heads, key_dim, value_dim, decay, seed)
    exact = gradients(gla_recurrent, [x.double() for x in inputs])
    for ours, reference in zip(gradients(gla, inputs), exact, strict=True):
        tolerance = 2e-5 * max(1.0, reference.abs().max().item()) if reference.numel() else 0.0
        torch.testing.assert_close(ours.double(), reference, atol=tolerance, rtol=0)


@pytest.mark.parametrize("time", [1, 5, 67])
@pytest.mark.parametrize("decay", [0.5, 30.0])
def test_gradcheck(time, decay):
    inputs = [x.requires_grad_() for x in draw(1, time, 2, 2, 3, decay, dtype=torch.float64)]

    def both(*arguments):
        return gla(*arguments, output_final_state=True)

    assert torch.autograd.gradcheck(both, inputs, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *x: gla(*x)[0], inputs[:4], fast_mode=True)


@pytest.mark.parametrize("wanted", [0, 1])
def test_either_output_alone_has_gradients(wanted):
    inputs = [x.requires_grad_() for x in draw(2, 70, 1, 3, 4, 2.0, dtype=torch.float64)]
    losses = [function(*inputs, output_final_state=True)[wanted].sum() for function in (gla, gla_recurrent)]
    ours, theirs = (torch.autograd.grad(loss, inputs, materialize_grads=True) for loss in losses)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("decay", [0.5, 100.0])
@pytest.mark.parametrize("split", [0, 1, 40, 64, 99, 100])
def test_prefill_then_continue_is_the_whole(split, decay):
    q, k, v, g, state = draw(2, 100, 2, 4, 5, decay)
    whole, last = gla(q, k, v, g, state, output_final_state=True)
    head, between = gla(*(x[:, :split] for x in (q, k, v, g)), state, output_final_state=True)
    tail, end = gla(*(x[:, split:] for x in (q, k, v, g)), between, output_final_state=True)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole, atol=3e-5, rtol=0)
    torch.testing.assert_close(end, last, atol=3e-5, rtol=0)


def test_steps_are_the_whole():
    q, k, v, g, state = draw(2, 9, 2, 4, 5, 3.0)
    whole, last = gla(q, k, v, g, state, output_final_state=True)
    given_state = state.clone()
    for t in range(9):
        output, state = gla_step(*(x[:, t : t + 1] for x in (q, k, v, g)), state)
        torch.testing.assert_close(output, whole[:, t : t + 1], atol=2e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=2e-5, rtol=0)
    torch.testing.assert_close(given_state, draw(2, 9, 2, 4, 5, 3.0)[4])


@pytest.mark.parametrize("padding", ["left", "right", "inside"])
def test_padded_steps_do_not_touch_the_state(padding):
    q, k, v, g, state = draw(1, 80, 2, 4, 5, 5.0)
    real = torch.ones(80, dtype=torch.bool)
    real[{"left": slice(0, 13), "right": slice(67, 80), "inside": slice(30, 50)}[padding]] = False
    mask = real.view(1, 80, 1, 1)
    padded, padded_state = gla(q, k * mask, v, g * mask, state, output_final_state=True)
    bare, bare_state = gla(*(x[:, real] for x in (q, k, v, g)), state, output_final_state=True)
    torch.testing.assert_close(padded[:, real], bare, atol=2e-5, rtol=0)
    torch.testing.assert_close(padded_state, bare_state, atol=2e-5, rtol=0)


def test_the_future_is_not_seen():
    q, k, v, g, _ = draw(1, 90, 2, 4, 5, 1.0)
    before, _ = gla(q, k, v, g)
    k[:, 50:], v[:, 50:], g[:, 50:] = 1e3, -1e3, -3.0
    after, _ = gla(q, k, v, g)
    torch.testing.assert_close(after[:, :50], before[:, :50], atol=1e-5, rtol=0)


def test_non_contiguous_inputs():
    inputs = draw(2, 70, 3, 4, 5, 2.0)
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs[:4]]
    strided.append(inputs[4].transpose(2, 3).contiguous().transpose(2, 3))
    for ours, reference in zip(gradients(gla, strided), gradients(gla, inputs), strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_inputs_accumulate_in_float32(autocast):
    inputs = [x.bfloat16() for x in draw(2, 70, 2, 8, 8, 0.5)]
    exact, exact_state = gla_recurrent(*(x.double() for x in inputs), output_final_state=True)
    with torch.autocast("cpu", enabled=autocast):
        output, state = gla(*inputs, output_final_state=True)
    assert output.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    torch.testing.assert_close(output.double(), exact, rtol=2**-8, atol=1e-4)
    torch.testing.assert_close(state.double(), exact_state, rtol=0, atol=1e-4)


def test_gradients_come_back_in_the_inputs_dtypes():
    q, k, v, g, state = draw(1, 20, 1, 4, 4, 0.5)
    inputs = [q.bfloat16(), k.bfloat16(), v.bfloat16(), g, state]
    inputs = [x.requires_grad_() for x in inputs]
    with torch.autocast("cpu"):
        output, last = gla(*inputs, output_final_state=True)
        loss = output.float().sum() + last.sum()
    for gradient, x in zip(torch.autograd.grad(loss, inputs), inputs, strict=True):
        assert gradient.dtype == x.dtype
        assert gradient.is_contiguous()
        assert gradient.isfinite().all()


def test_empty_time_keeps_the_state():
    q, k, v, g, state = draw(2, 0, 2, 4, 5, 1.0)
    output, last = gla(q, k, v, g, state, output_final_state=True)
    assert output.shape == (2, 0, 2, 5)
    torch.testing.assert_close(last, state)
    assert not gla(q, k, v, g, output_final_state=True)[1].any()


def test_empty_batch():
    output, last = gla(*draw(0, 7, 2, 4, 5, 1.0), output_final_state=True)
    assert output.shape == (0, 7, 2, 5)
    assert last.shape == (0, 2, 4, 5)


def test_scale_and_absent_state():
    q, k, v, g, state = draw(1, 30, 1, 4, 5, 1.0)
    output, last = gla(q, k, v, g, scale=2.0)
    assert last is None
    default, _ = gla(q, k, v, g, torch.zeros_like(state))
    torch.testing.assert_close(output, default * 4)


def test_kernel_names_the_path():
    path = _native.path()
    expected = "torch-chunkwise" if path == "torch" else f"compiled-{path}"
    assert kernel("cpu") == kernel(torch.device("cpu")) == expected
    assert kernel("cuda") == "torch-chunkwise"
