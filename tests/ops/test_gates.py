"""Operators with their gates inside: MLGRU, gated norms, gated linear units."""

import pytest
import torch
from torch.nn import functional

from trilemma.ops.glu import glu, joint_glu
from trilemma.ops.mlgru import mlgru
from trilemma.ops.norms import gated_rms_norm

pytestmark = pytest.mark.usefixtures("kernels")

CLOSE = {torch.float32: {"atol": 2e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 5e-2, "rtol": 2**-6}}


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact(*tensors):
    return [t.detach().double().requires_grad_() for t in tensors]


def compare(ours, theirs, inputs, exact_inputs, dtype, seed=9):
    """Values, and gradients of the same weighting."""
    d_y = draw(*ours.shape, dtype=dtype, seed=seed)
    torch.testing.assert_close(ours.double(), theirs, **CLOSE[dtype])
    gradients = torch.autograd.grad(ours, inputs, d_y)
    expected = torch.autograd.grad(theirs, exact_inputs, d_y.double())
    tolerance = {name: 4 * value for name, value in CLOSE[dtype].items()}
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a.double(), b, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 33), (5, 64)])
def test_gated_linear_units(shape, dtype):
    gate, up = (draw(*shape, dtype=dtype, seed=s).requires_grad_() for s in (0, 1))
    g, u = exact(gate, up)
    compare(glu(gate, up), functional.silu(g) * u, (gate, up), (g, u), dtype)
    both = torch.cat([gate, up], dim=-1).detach().requires_grad_()
    (b,) = exact(both)
    first, second = b.chunk(2, dim=-1)
    compare(joint_glu(both), functional.silu(first) * second, (both,), (b,), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (2, 70, 3, 33), (3, 64)])
def test_gated_norms(shape, dtype):
    x, gate = (draw(*shape, dtype=dtype, seed=s).requires_grad_() for s in (0, 1))
    weight = (draw(shape[-1], seed=2) + 2).requires_grad_()
    a, b, w = exact(x, gate, weight)

    def reference():
        normed = a * torch.rsqrt(a.square().mean(-1, keepdim=True) + 1e-6) * w
        return normed * functional.silu(b)

    compare(gated_rms_norm(x, gate, weight, 1e-6), reference(), (x, gate), (a, b), dtype)
    d_y = draw(*shape, dtype=dtype, seed=3)
    (ours,) = torch.autograd.grad(gated_rms_norm(x, gate, weight, 1e-6), weight, d_y)
    (theirs,) = torch.autograd.grad(reference(), w, d_y.double())
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-3
    torch.testing.assert_close(ours.double(), theirs, atol=tolerance, rtol=1e-2)


def plain_mlgru(i, f, bound, pads, state):
    states = []
    for t in range(i.shape[1]):
        forget = bound + (1 - bound) * torch.sigmoid(f[:, t])
        updated = forget * state + (1 - forget) * functional.silu(i[:, t])
        state = updated if pads is None else torch.where(pads[:, t], state, updated)
        states.append(state)
    return torch.stack(states, dim=1), state


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 9, 70), (3, 40, 5)])
def test_mlgru(shape, dtype, padded):
    batch, time, channels = shape
    i, f = (draw(*shape, dtype=dtype, seed=s).requires_grad_() for s in (0, 1))
    bound = torch.rand(channels, generator=torch.Generator().manual_seed(2)).requires_grad_()
    state = draw(batch, channels, seed=3).requires_grad_()
    pads = draw(batch, time, 1, seed=4) > 0.5 if padded else None
    inputs = [i, f, bound, state]
    references = exact(*inputs)
    h, final = mlgru(i, f, bound, pads, state, output_final_state=True)
    expected, last = plain_mlgru(*references[:3], pads, references[3])
    torch.testing.assert_close(h.double(), expected, **CLOSE[dtype])
    torch.testing.assert_close(final.double(), last, **CLOSE[dtype])
    d_h, d_final = draw(*shape, dtype=dtype, seed=5), draw(batch, channels, seed=6)
    ours = torch.autograd.grad([h, final], inputs, [d_h, d_final])
    theirs = torch.autograd.grad([expected, last], references, [d_h.double(), d_final.double()])
    for a, b in zip(ours, theirs, strict=True):
        tolerance = 2e-5 if dtype == torch.float32 else 0.15
        torch.testing.assert_close(a.double(), b, atol=tolerance * (1 + b.abs().max().item()), rtol=1e-3)


def test_mlgru_without_what_is_optional():
    i, f = draw(2, 6, 8), draw(2, 6, 8, seed=1)
    h, final = mlgru(i, f)
    expected, _ = plain_mlgru(i.double(), f.double(), torch.zeros(8), None, torch.zeros(2, 8))
    assert final is None
    torch.testing.assert_close(h.double(), expected, **CLOSE[torch.float32])
