"""One token through all layers of a model with dense weights, by one call of the compiled kernels.

Between two products of a decoding step there is less to do than a call from Python costs
(``_native/dense_step.cpp``). Nothing is kept between calls: weights may change or move at any time.
"""

import ctypes
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from trilemma import _native
from trilemma.ops.dense import FEW_TOKENS

Layer = Mapping[str, Tensor]
"""Weights of a layer, and its part of the cache, by their names in the kernels."""

_MLP = ("mlp_norm", "gate", "up", "down")


def _pointers(*names: str) -> tuple[tuple[str, type], ...]:
    return tuple((name, ctypes.c_void_p) for name in names)


_Strides = ctypes.c_int64 * 3


class _AttentionLayer(ctypes.Structure):
    _fields_ = (
        *_pointers("norm", "q", "k", "v", "o", "keys", "values"),
        ("key_strides", _Strides),
        ("value_strides", _Strides),
        *_pointers(*_MLP),
    )


class _GLALayer(ctypes.Structure):
    _fields_ = _pointers(
        *("norm", "q", "k", "v", "gate_down", "gate_up", "gate_bias", "out_gate", "out_norm", "o", "state"),
        *_MLP,
    )


class _Dimensions(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "width", "mlp_width")),
        ("type", ctypes.c_int32),
        ("eps", ctypes.c_double),
    )


class _AttentionDimensions(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("heads", "kv_heads", "size", "seen", "angle_batch")),
        *_pointers("cos", "sin", "mask"),
        ("mask_stride", ctypes.c_int64),
    )


class _GLADimensions(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("heads", "key", "value", "gate_rank")),
        ("gate_divisor", ctypes.c_float),
    )


def kernel(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the path that decodes, to append to that of a language model's kernel; "" for no such path."""
    compiled = device.type == "cpu" and dtype in _native.FLOATS and _native.available()
    return f", compiled-{_native.path()} decoding of up to {FEW_TOKENS} sequences" if compiled else ""


def serves(hidden: Tensor) -> bool:
    """Whether the compiled step takes these activations, ``[B, 1, D]``: one token per sequence, of a few."""
    few = hidden.shape[1] == 1 and 0 < hidden.shape[0] <= FEW_TOKENS
    plain = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    return few and plain and _native.serves(hidden)


def transformer_step(
    hidden: Tensor,
    layers: Sequence[Layer],
    seen: int,
    heads: int,
    angles: tuple[Tensor, Tensor],
    mask: Tensor | None,
    eps: float,
) -> Tensor | None:
    """Run all layers of Transformer++ on one token per sequence, whose keys and values join the cache.

    Args:
        hidden: ``[B, 1, D]`` that :func:`serves` accepts.
        layers: weights ``norm`` ``[D]`` before the mixer, ``q`` ``[H * d, D]``, ``k`` and ``v``
            ``[H_kv * d, D]``, ``o`` ``[D, H * d]`` and those of :func:`_mlp_shapes`; cached ``keys`` and
            ``values`` ``[B, H_kv, S, d]`` with room for one more, channels neighbours in memory.
        seen: tokens in the caches.
        heads: query heads.
        angles: float32 cosines and sines ``[B or 1, 1, d / 2]`` of the token's position.
        mask: bool ``[B or 1, 1, 1, seen + 1]``, True where a key is seen, or None.
        eps: epsilon of all norms.

    Returns:
        ``[B, 1, D]``; None, and nothing is done, where a tensor is of another shape, dtype or layout.
    """
    batch, _, width = hidden.shape
    _, kv_heads, _, size = layers[0]["keys"].shape
    mlp_width = layers[0]["gate"].shape[0]
    q_width, kv_width = heads * size, kv_heads * size
    shapes = {"norm": (width,), "q": (q_width, width), "k": (kv_width, width), "v": (kv_width, width)}
    shapes |= {"o": (width, q_width), **_mlp_shapes(width, mlp_width)}
    native = (_AttentionLayer * len(layers))()
    for target, layer in zip(native, layers, strict=True):
        if not _fill(target, layer, shapes, hidden.dtype):
            return None
        keys, values = layer["keys"], layer["values"]
        for cached in (keys, values):
            fits = (*cached.shape[:2], cached.shape[3]) == (batch, kv_heads, size) and cached.shape[2] > seen
            if not fits or cached.dtype != hidden.dtype or cached.stride(3) != 1 or not cached.is_cpu:
                return None
        target.keys, target.values = keys.data_ptr(), values.data_ptr()
        target.key_strides, target.value_strides = (
            _Strides(*keys.stride()[:3]),
            _Strides(*values.stride()[:3]),
        )
    cos, sin = (angle.contiguous() for angle in angles)
    mask = None if mask is None else mask.contiguous()
    if any(angle.shape not in ((1, 1, size // 2), (batch, 1, size // 2)) for angle in (cos, sin)):
        return None
    if mask is not None and mask.shape not in ((1, 1, 1, seen + 1), (batch, 1, 1, seen + 1)):
        return None
    seen_by = (None, 0) if mask is None else (mask.data_ptr(), 0 if len(mask) == 1 else seen + 1)
    angles_at = (len(cos), cos.data_ptr(), sin.data_ptr())
    shape = _AttentionDimensions(heads, kv_heads, size, seen, *angles_at, *seen_by)
    return _run("transformer_step", hidden, native, mlp_width, eps, shape)


def gla_model_step(hidden: Tensor, layers: Sequence[Layer], gate_divisor: float, eps: float) -> Tensor | None:
    """Run all layers of gated linear attention on one token per sequence.

    Args:
        hidden: ``[B, 1, D]`` that :func:`serves` accepts.
        layers: weights ``norm`` ``[D]`` before the mixer, ``q`` and ``k`` ``[H * K, D]``, ``v``
            ``[H * V, D]``, ``gate_down`` ``[rank, D]``, ``gate_up`` ``[H * K, rank]``, ``gate_bias``
            ``[H * K]``, ``out_gate`` ``[H * V, D]``, ``out_norm`` ``[V]``, ``o`` ``[D, H * V]`` and those of
            :func:`_mlp_shapes`; ``state`` float32 ``[B, H, K, V]``, updated in place.
        gate_divisor: the log decay is the log sigmoid of the gate over this.
        eps: epsilon of all norms.

    Returns:
        ``[B, 1, D]``; None, and nothing is done, where a tensor is of another shape, dtype or layout.
    """
    batch, _, width = hidden.shape
    _, heads, key, value = layers[0]["state"].shape
    mlp_width, rank = layers[0]["gate"].shape[0], layers[0]["gate_down"].shape[0]
    K, V = heads * key, heads * value
    shapes = {"norm": (width,), "q": (K, width), "k": (K, width), "v": (V, width), "gate_down": (rank, width)}
    shapes |= {"gate_up": (K, rank), "gate_bias": (K,), "out_gate": (V, width), "out_norm": (value,)}
    shapes |= {"o": (width, V), **_mlp_shapes(width, mlp_width)}
    native = (_GLALayer * len(layers))()
    for target, layer in zip(native, layers, strict=True):
        if not _fill(target, layer, shapes, hidden.dtype):
            return None
        if not _readable(layer["state"], (batch, heads, key, value), torch.float32):
            return None
        target.state = layer["state"].data_ptr()
    shape = _GLADimensions(heads, key, value, rank, gate_divisor)
    return _run("gla_model_step", hidden, native, mlp_width, eps, shape)


def _readable(tensor: Tensor, shape: Sequence[int], dtype: torch.dtype) -> bool:
    """Whether the kernels can read a tensor by its address."""
    plain = type(tensor) in (Tensor, Parameter) and not tensor.is_neg()
    fits = tensor.shape == shape and tensor.dtype == dtype
    return plain and fits and tensor.is_cpu and tensor.is_contiguous()


def _mlp_shapes(width: int, mlp_width: int) -> dict[str, tuple[int, ...]]:
    """The gated MLP: its norm ``[D]``, gate and up ``[W, D]``, down ``[D, W]``."""
    return dict(
        zip(_MLP, ((width,), (mlp_width, width), (mlp_width, width), (width, mlp_width)), strict=True)
    )


def _fill(
    target: ctypes.Structure, layer: Layer, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype
) -> bool:
    """Write the addresses of a layer's weights; False where the kernels cannot read one."""
    for name, shape in shapes.items():
        if not _readable(layer[name], shape, dtype):
            return False
        setattr(target, name, layer[name].data_ptr())
    return True


def _run(
    function: str,
    hidden: Tensor,
    layers: ctypes.Array[_AttentionLayer] | ctypes.Array[_GLALayer],
    mlp_width: int,
    eps: float,
    mixer: ctypes.Structure,
) -> Tensor:
    out = hidden.clone(memory_format=torch.contiguous_format)  # the kernel works in place
    batch, _, width = hidden.shape
    shape = _Dimensions(batch, width, mlp_width, _native.type_code(hidden.dtype), eps)
    _native.call(function, layers, len(layers), ctypes.byref(shape), ctypes.byref(mixer), out)
    return out
