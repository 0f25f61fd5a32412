"""Softmax attention: PyTorch's fused kernels, and a compiled one for the newest token on CPUs.

For one query PyTorch's bfloat16 path on CPUs takes many times as long as reading the cache.
"""

import ctypes

import torch
from torch import Tensor
from torch.nn import functional

from trilemma import _native


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """Scaled dot-product attention; a key-value head serves ``H / H_kv`` query heads.

    Args:
        q: queries ``[B, H, T, d]``.
        k: keys ``[B, H_kv, S, d]``.
        v: values ``[B, H_kv, S, d]``.
        mask: ``[B or 1, 1, T, S]``, True where a query sees a key.
        is_causal: plain causal order of as many queries as keys, instead of a mask.

    Returns:
        ``[B, H, T, d]``.
    """
    one = q.shape[2] == 1 and not is_causal and not torch.is_grad_enabled() and k.shape[2] > 0
    same = q.dtype == k.dtype == v.dtype and k.stride(3) == v.stride(3) == 1
    if one and same and _native.serves(q, k, v):
        return _attention_step(q, k, v, mask)
    return functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=q.shape[1] != k.shape[1]
    )


def _attention_step(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    batch, heads, _, size = q.shape
    shape = (ctypes.c_int64 * 5)(batch, heads, k.shape[1], size, k.shape[2])
    strides = [(ctypes.c_int64 * 3)(*x.stride()[:3]) for x in (k, v)]
    if mask is not None:
        mask = mask.contiguous()
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    _native.call(
        "attention_step", shape, q.dtype, q.contiguous(), _native.strided(k), strides[0],
        _native.strided(v), strides[1], mask, 0 if mask is None or len(mask) == 1 else k.shape[2],
        ctypes.c_float(size**-0.5), out,
    )  # fmt: skip
    return out
