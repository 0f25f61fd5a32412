"""Linear recurrence: golden vectors, gradients, and agreement of the scan with the loop."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stand_ins.ops_golden import load_golden
from tests.stand_ins.recurrences import linear_scan_recurrent
from trilemma import _native
from trilemma.ops import linear_scan as module
from trilemma.ops.linear_scan import kernel, linear_scan


@pytest.fixture(params=[*_native.paths(), "step by step", "pairs"], autouse=True)
def every_path(request, monkeypatch):
    """Small cases would all take one PyTorch path on a CPU: force each in turn, and the compiled ones."""
    if request.param in ("step by step", "pairs"):
        monkeypatch.setattr(module, "LOOP_ELEMENTS", 0 if request.param == "step by step" else 2**60)
    with _native.using(request.param if request.param in _native.paths() else _native.TORCH):
        yield


def draw(batch, time, channels, zeros=0.0, seed=0, dtype=torch.float32):
    """Random inputs; a share ``zeros`` of the gates is exactly 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, time, channels, generator=generator, dtype=torch.float64)
    f = torch.rand(batch, time, channels, generator=generator, dtype=torch.float64).sqrt()
    f[torch.rand(f.shape, generator=generator) < zeros] = 0.0
    state = torch.randn(batch, channels, generator=generator, dtype=torch.float64)
    return [y.to(dtype) for y in (x, f, state)]


def gradients(function, inputs, seed=1):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    output, state = function(*inputs, output_final_state=True)
    generator = torch.Generator().manual_seed(seed)
    loss = sum((y * torch.randn(y.shape, generator=generator).to(y)).sum() for y in (output, state))
    return [output, state, *torch.autograd.grad(loss, inputs, materialize_grads=True)]


@pytest.mark.parametrize("function", [linear_scan, linear_scan_recurrent])
def test_golden(function):
    golden = load_golden("ops-hgrn-linear")
    inputs = [golden[key].requires_grad_() for key in ("x", "g", "h0")]
    output, state = function(*inputs, output_final_state=True)
    torch.testing.assert_close(output, golden["o"], atol=1e-5, rtol=0)
    torch.testing.assert_close(state, golden["ht"], atol=1e-5, rtol=0)
    dx, df, _ = torch.autograd.grad(output, inputs, golden["do"])
    torch.testing.assert_close(dx, golden["dx"], atol=1e-5, rtol=0)
    torch.testing.assert_close(df, golden["dg"], atol=1e-5, rtol=0)


def test_golden_log_gates():
    golden = load_golden("ops-hgrn-log")
    output, state = linear_scan(golden["x"], golden["g"].exp(), golden["h0"], output_final_state=True)
    torch.testing.assert_close(output, golden["o"], atol=1e-5, rtol=0)
    torch.testing.assert_close(state, golden["ht"], atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(1, 3),
    time=st.integers(0, 150),
    channels=st.integers(1, 9),
    zeros=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_scan_is_the_recurrence(batch, time, channels, zeros, seed):
    inputs = draw(batch, time, channels, zeros, seed)
    exact = gradients(linear_scan_recurrent, [x.double() for x in inputs])
    for ours, reference in zip(gradients(linear_scan, inputs), exact, strict=True):
        torch.testing.assert_close(ours.double(), reference, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("time", [1, 2, 5, 16, 37])
def test_gradcheck(time):
    inputs = [x.requires_grad_() for x in draw(2, time, 3, 0.2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: linear_scan(*x, output_final_state=True), inputs)
    assert torch.autograd.gradcheck(lambda *x: linear_scan(*x)[0], inputs[:2])


def test_gradients_of_the_final_state_alone():
    inputs = [x.requires_grad_() for x in draw(2, 21, 3, dtype=torch.float64)]
    ours = torch.autograd.grad(linear_scan(*inputs, output_final_state=True)[1].sum(), inputs)
    theirs = torch.autograd.grad(linear_scan_recurrent(*inputs, output_final_state=True)[1].sum(), inputs)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("split", [0, 1, 7, 32, 50])
def test_prefill_then_continue_is_the_whole(split):
    x, f, state = draw(2, 50, 6, 0.1)
    whole, last = linear_scan(x, f, state, output_final_state=True)
    head, between = linear_scan(x[:, :split], f[:, :split], state, output_final_state=True)
    tail, end = linear_scan(x[:, split:], f[:, split:], between, output_final_state=True)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(end, last, atol=1e-5, rtol=0)


def test_padded_steps_do_not_touch_the_state():
    x, f, state = draw(1, 40, 4)
    real = torch.ones(40, dtype=torch.bool)
    real[:5] = real[20:30] = real[37:] = False
    mask = real.view(1, 40, 1)
    padded, padded_state = linear_scan(x * mask, f.where(mask, 1.0), state, output_final_state=True)
    bare, bare_state = linear_scan(x[:, real], f[:, real], state, output_final_state=True)
    torch.testing.assert_close(padded[:, real], bare)
    torch.testing.assert_close(padded_state, bare_state)


def test_inputs_are_left_as_they_were_and_may_be_strided():
    inputs = draw(2, 30, 4)
    strided = [inputs[0].mT.contiguous().mT, inputs[1].mT.contiguous().mT, inputs[2].T.contiguous().T]
    for ours, reference in zip(gradients(linear_scan, strided), gradients(linear_scan, inputs), strict=True):
        torch.testing.assert_close(ours, reference)
    linear_scan(*inputs)
    torch.testing.assert_close(inputs, draw(2, 30, 4))


def test_bfloat16_inputs_accumulate_in_float32():
    inputs = [x.bfloat16() for x in draw(2, 60, 4)]
    exact, exact_state = linear_scan_recurrent(*(x.double() for x in inputs), output_final_state=True)
    output, state = linear_scan(*inputs, output_final_state=True)
    assert output.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    torch.testing.assert_close(output.double(), exact, rtol=2**-8, atol=1e-4)
    torch.testing.assert_close(state.double(), exact_state, rtol=0, atol=1e-4)
    assert [g.dtype for g in gradients(linear_scan, inputs)[2:]] == [torch.bfloat16] * 3


@pytest.mark.parametrize(("batch", "time"), [(2, 0), (0, 7)])
def test_nothing_to_scan_keeps_the_state(batch, time):
    x, f, state = draw(batch, time, 4)
    output, last = linear_scan(x, f, state, output_final_state=True)
    assert output.shape == (batch, time, 4)
    torch.testing.assert_close(last, state)


def test_kernel_names_the_path():
    path = _native.path()
    assert kernel("cpu") == ("torch-scan" if path == "torch" else f"compiled-{path}")
