"""flash-linear-attention's kernels behind our operators: what goes in, and on a GPU what comes out."""

import inspect
import warnings

import pytest
import torch
from transformers import AutoConfig

import trilemma.models
from tests.stand_ins.recurrences import gla_recurrent, linear_scan_recurrent
from trilemma.ops import fla_kernels


@pytest.fixture
def needs_fla():
    if fla_kernels.version() is None:
        pytest.skip("flash-linear-attention's kernels are not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import draws in parts of torch that torch itself deprecates
        fla_kernels.operators()


@pytest.fixture
def needs_gpu(needs_fla):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def stand_in(needs_fla, monkeypatch):
    """fla's naive functions in place of its kernels, behind the kernels' signatures; holds who was called."""
    real = fla_kernels.operators()
    from fla.ops.gla.naive import naive_recurrent_gla
    from fla.ops.hgrn.naive import naive_recurrent_hgrn

    def gla(q, k, v, scale, initial_state, output_final_state, g=None, gk=None):
        assert initial_state is None or initial_state.dtype == torch.float32  # as the kernels assert
        scaled = q * (scale * q.shape[-1] ** 0.5)  # the naive function has a fixed scale
        return naive_recurrent_gla(scaled, k, v, g if gk is None else gk, initial_state, output_final_state)

    class StandIn:
        def __init__(self):
            self.called = []

        def __getattr__(self, name):
            def operator(*args, **kwargs):
                self.called.append(name)
                bound = inspect.signature(getattr(real, name)).bind(*args, **kwargs)
                return (gla if name.endswith("gla") else naive_recurrent_hgrn)(**bound.arguments)

            return operator

    operators = StandIn()
    monkeypatch.setattr(fla_kernels, "operators", lambda: operators)
    return operators


def draw_gla(time, heads=2, key_dim=32, value_dim=64, device="cpu"):
    """Queries, keys, values, log gates, state; gates as gated linear attention makes them."""
    generator = torch.Generator().manual_seed(time)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    shape = (2, time, heads, key_dim)
    g = torch.nn.functional.logsigmoid(3 * normal(*shape)) / 16
    inputs = [normal(*shape), normal(*shape), normal(2, time, heads, value_dim), g]
    return [x.to(device) for x in (*inputs, normal(2, heads, key_dim, value_dim))]


def draw_scan(time, zeros, channels=40, device="cpu"):
    """Inputs, gates of which a share is exactly 0, state."""
    generator = torch.Generator().manual_seed(time)
    x = torch.randn(2, time, channels, generator=generator)
    f = torch.rand(2, time, channels, generator=generator).sqrt()
    f[torch.rand(f.shape, generator=generator) < zeros] = 0.0
    return [y.to(device) for y in (x, f, torch.randn(2, channels, generator=generator))]


def our_gla(q, k, v, g, state, scale=0.3):
    return fla_kernels.gla(q, k, v, g, state, scale, True)


def reference_gla(q, k, v, g, state, scale=0.3):
    return gla_recurrent(q, k, v, g, state, scale, True)


def our_scan(x, f, state):
    return fla_kernels.linear_scan(x, f, state, True)


def reference_scan(x, f, state):
    return linear_scan_recurrent(x, f, state, True)


def with_gradients(function, inputs):
    """Outputs and gradients of a random weighting of both outputs."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = function(*inputs)
    generator = torch.Generator().manual_seed(0)
    loss = sum((y * torch.randn(y.shape, generator=generator).to(y)).sum() for y in outputs)
    return [*outputs, *torch.autograd.grad(loss, inputs)]


def assert_near(ours, exact, tolerance):
    """Every tensor's error is small beside its norm."""
    for place, (y, reference) in enumerate(zip(ours, exact, strict=True)):
        error = (y.double() - reference).norm() / reference.norm().clamp_min(1e-9)
        assert error < tolerance, f"tensor {place} is off by {error:.1e}"


@pytest.mark.parametrize(
    ("time", "called"), [(1, "fused_recurrent_gla"), (64, "fused_recurrent_gla"), (65, "chunk_gla")]
)
def test_gla_arguments(time, called, stand_in):
    inputs = draw_gla(time)
    exact = with_gradients(reference_gla, [x.double() for x in inputs])
    assert_near(with_gradients(our_gla, inputs), exact, 1e-5)
    assert stand_in.called == [called]


def test_gla_without_a_state(stand_in):
    q, k, v, g, _ = draw_gla(20)
    output, state = fla_kernels.gla(q, k, v, g, None, 0.3, False)
    assert state is None
    assert_near([output], gla_recurrent(*(x.double() for x in (q, k, v, g)), scale=0.3)[:1], 1e-5)


def test_gla_takes_a_state_of_any_dtype(stand_in):
    q, k, v, g, state = draw_gla(20)
    _, last = our_gla(q, k, v, g, state.bfloat16())
    assert last.dtype == torch.float32


@pytest.mark.parametrize(
    ("time", "called"), [(7, "fused_recurrent_hgrn"), (128, "fused_recurrent_hgrn"), (129, "chunk_hgrn")]
)
@pytest.mark.parametrize("zeros", [0.0, 0.3, 1.0])
def test_scan_arguments(time, called, zeros, stand_in):
    inputs = draw_scan(time, zeros)
    exact = with_gradients(reference_scan, [x.double() for x in inputs])
    assert_near(with_gradients(our_scan, inputs), exact, 1e-5)
    assert stand_in.called == [called] * 2  # there and back


def test_scan_without_a_state(stand_in):
    x, f, _ = (y.requires_grad_() for y in draw_scan(20, 0.3))
    output, state = fla_kernels.linear_scan(x, f, None, False)
    assert state is None
    ours = torch.autograd.grad(output.sum(), (x, f))
    exact = torch.autograd.grad(linear_scan_recurrent(x, f)[0].sum(), (x, f))
    assert_near(ours, exact, 1e-5)


def test_scan_of_the_final_state_alone_has_gradients(stand_in):
    inputs = [y.requires_grad_() for y in draw_scan(20, 0.3)]
    ours = torch.autograd.grad(our_scan(*inputs)[1].sum(), inputs)
    assert_near(ours, torch.autograd.grad(reference_scan(*inputs)[1].sum(), inputs), 1e-5)


def test_scan_of_bfloat16_keeps_the_state_in_float32(stand_in):
    inputs = [y.bfloat16() for y in draw_scan(20, 0.3)]
    output, state, *gradients = with_gradients(our_scan, inputs)
    assert (output.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert [y.dtype for y in gradients] == [torch.bfloat16] * 3
    assert_near([state], [reference_scan(*(y.double() for y in inputs))[1]], 1e-6)


def test_our_models_stay_registered(needs_fla):
    assert isinstance(AutoConfig.for_model("gla"), trilemma.models.gla.GLAConfig)


def test_tensors_off_the_gpu_are_not_served():
    q, k, v, g, _ = draw_gla(80)
    assert not fla_kernels.serves_gla(q, k, v, g)
    assert not fla_kernels.serves_scan(*draw_scan(80, 0.0)[:2])


@pytest.mark.gpu
@pytest.mark.parametrize("time", [1, 64, 65, 200])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-2), (torch.bfloat16, 3e-2)])
def test_gla_on_a_gpu(time, dtype, tolerance, needs_gpu):
    *inputs, state = draw_gla(time, device="cuda")
    inputs = [x.to(dtype) for x in inputs[:3]] + [inputs[3], state]  # gates and states stay in float32
    exact = with_gradients(reference_gla, [x.double() for x in inputs])
    ours = with_gradients(our_gla, inputs)
    assert_near(ours, exact, tolerance)
    assert ours[0].dtype == dtype
    assert ours[1].dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("time", [5, 128, 129, 500])
@pytest.mark.parametrize("zeros", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_scan_on_a_gpu(time, zeros, dtype, tolerance, needs_gpu):
    inputs = [y.to(dtype) for y in draw_scan(time, zeros, device="cuda")]
    assert fla_kernels.serves_scan(*inputs[:2])
    exact = with_gradients(reference_scan, [y.double() for y in inputs])
    assert_near(with_gradients(our_scan, inputs), exact, tolerance)


@pytest.mark.gpu
def test_what_a_gpu_leaves_to_pytorch(needs_gpu, monkeypatch):
    q, k, v, g, _ = draw_gla(200, device="cuda")
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    assert not fla_kernels.serves_gla(q, k, v, g)
    assert fla_kernels.serves_gla(*(x[:, :64] for x in (q, k, v, g)))
    assert fla_kernels.serves_gla(q.bfloat16(), k.bfloat16(), v.bfloat16(), g)
    assert not fla_kernels.serves_gla(q.bfloat16(), k, v, g)
    assert not fla_kernels.serves_gla(*(x.double() for x in (q, k, v, g)))
    assert not fla_kernels.serves_scan(*draw_scan(4, 0.0, device="cuda")[:2])
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    assert fla_kernels.serves_gla(q, k, v, g)
