"""What serves a few tokens at a time: dense products, attention of one query, rotation and norms."""

import pytest
import torch
from torch.nn import functional

from trilemma.ops.attention import attention
from trilemma.ops.dense import linear
from trilemma.ops.norms import rms_norm
from trilemma.ops.rotary import rotary_angles, rotate

pytestmark = pytest.mark.usefixtures("kernels")


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize(("dtype", "eps"), [(torch.bfloat16, 2**-7), (torch.float32, 1e-5)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 70), (3, 1, 256), (4, 33), (5, 64), (2, 0, 8)])
def test_dense_products_are_those_of_float64(shape, bias, dtype, eps):
    x, weight = draw(*shape, dtype=dtype), draw(40, shape[-1], dtype=dtype, seed=1)
    offset = draw(40, dtype=dtype, seed=2) if bias else None
    with torch.no_grad():
        y = linear(x, weight, offset)
    expected = functional.linear(x.double(), weight.double(), None if offset is None else offset.double())
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), expected, rtol=eps, atol=4 * eps)


def test_dense_products_have_gradients():
    x = draw(1, 1, 16, dtype=torch.bfloat16).requires_grad_()
    weight = draw(8, 16, dtype=torch.bfloat16, seed=1).requires_grad_()
    assert all(g is not None for g in torch.autograd.grad(linear(x, weight).sum(), (x, weight)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(4, 4, 64), (6, 2, 10), (3, 1, 33)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_of_one_query(heads, kv_heads, size, masked, dtype):
    """Keys and values as a cache has them: a part of a longer buffer."""
    q = draw(2, heads, 1, size, dtype=dtype)
    k, v = (draw(2, kv_heads, 50, size, dtype=dtype, seed=s)[:, :, :37] for s in (1, 2))
    mask = draw(2, 1, 1, 37, seed=3) > 0 if masked else None
    with torch.no_grad():
        out = attention(q, k, v, mask)
    repeats = heads // kv_heads
    k, v = (x.double().repeat_interleave(repeats, dim=1) for x in (k, v))
    expected = functional.scaled_dot_product_attention(q.double(), k, v, attn_mask=mask)
    assert out.dtype == dtype and out.shape == q.shape
    torch.testing.assert_close(out.double(), expected, atol=1e-5 if dtype == torch.float32 else 2e-2, rtol=0)


def test_grouped_heads_with_gradients_and_causal_order():
    q = draw(1, 4, 9, 8).requires_grad_()
    k, v = (draw(1, 2, 9, 8, seed=s).requires_grad_() for s in (1, 2))
    out = attention(q, k, v, is_causal=True)
    repeated = functional.scaled_dot_product_attention(
        q, k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1), is_causal=True
    )
    torch.testing.assert_close(out, repeated)
    ours, theirs = (torch.autograd.grad(y.sin().sum(), (q, k, v)) for y in (out, repeated))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_and_its_gradient(dtype, batch):
    x = draw(3, 5, 2, 8, dtype=dtype).requires_grad_()
    cos, sin = rotary_angles(torch.arange(5).repeat(batch, 1) + torch.arange(batch)[:, None], 8)
    y = rotate(x, cos, sin)
    first, second = x.detach().double().requires_grad_().chunk(2, dim=-1)
    c, s = cos.double().unsqueeze(-2), sin.double().unsqueeze(-2)
    expected = torch.cat([first * c - second * s, first * s + second * c], dim=-1)
    tolerance = 1e-6 if dtype == torch.float32 else 2**-6
    torch.testing.assert_close(y.double(), expected, atol=tolerance, rtol=tolerance)
    d_y = draw(3, 5, 2, 8, dtype=dtype, seed=1)
    (d_x,) = torch.autograd.grad(y, x, d_y)
    torch.testing.assert_close(rotate(d_x, cos, sin).float(), d_y.float(), atol=8 * tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 100, 33), (0, 4, 8), (3, 64)])
def test_norm_and_its_gradients(shape, dtype):
    x = draw(*shape, dtype=dtype).requires_grad_()
    weight = (draw(shape[-1], seed=1) + 2).requires_grad_()
    y = rms_norm(x, weight, 1e-6)
    exact_x, exact_weight = (t.detach().double().requires_grad_() for t in (x, weight))
    exact = exact_x * torch.rsqrt(exact_x.square().mean(-1, keepdim=True) + 1e-6) * exact_weight
    assert y.dtype == dtype
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 2**-7}
    torch.testing.assert_close(y.double(), exact, **tolerance)
    d_y = draw(*shape, dtype=dtype, seed=2)
    ours = torch.autograd.grad(y, (x, weight), d_y)
    theirs = torch.autograd.grad(exact, (exact_x, exact_weight), d_y.double())
    torch.testing.assert_close(ours[0].double(), theirs[0], **tolerance)
    torch.testing.assert_close(ours[1].double(), theirs[1], atol=1e-3, rtol=1e-3)
