"""One token through all layers of a packed MatMul-Free model, by one call of the compiled kernels.

Between two products of a decoding step there is less to do than a call from Python costs
(``_native/decode.cpp``).
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma import _native
from trilemma.errors import ModelError
from trilemma.ops.states import check_state


@dataclass(frozen=True)
class PackedWeight:
    """A packed layer with the norm before it.

    Attributes:
        packed: from :func:`trilemma.ops.ternary.packed.pack`, uint8.
        scale: the weight's scale.
        norm: weight of the norm, ``[in]``.
        eps: epsilon of the norm.
    """

    packed: Tensor
    scale: float
    norm: Tensor
    eps: float


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one layer.

    Attributes:
        norms: ``attn_norm`` and ``mlp_norm`` before mixer and MLP and ``g_norm`` at the mixer's output, each
            ``[D]``; ``lower_bound`` of the forget gate ``[D]``, or None.
        projections: i, f, g and o of the mixer, then gate (with up behind it) and down of the MLP.
        eps: epsilon of the three norms.
    """

    norms: Mapping[str, Tensor | None]
    projections: tuple[PackedWeight, ...]
    eps: float


class _BitLinear(ctypes.Structure):
    _fields_ = (
        ("packed", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("eps", ctypes.c_double),
        ("scale", ctypes.c_float),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("attn_norm", ctypes.c_void_p),
        ("g_norm", ctypes.c_void_p),
        ("mlp_norm", ctypes.c_void_p),
        ("lower_bound", ctypes.c_void_p),
        ("projections", _BitLinear * 6),
        ("eps", ctypes.c_double),
    )


def serves(hidden: Tensor) -> bool:
    """Whether the compiled step takes these activations, ``[B, 1, D]``."""
    return hidden.shape[1] == 1 and not hidden.requires_grad and _native.serves(hidden)


class MatMulFreeStep:
    """All layers, ready to run: keeps the weights' addresses, and float32 copies of small weights.

    Make another one after weights were moved, cast or loaded.
    """

    def __init__(self, layers: Sequence[LayerWeights]) -> None:
        self._kept: list[Tensor] = []
        self._layers = (_Layer * len(layers))()
        for target, layer in zip(self._layers, layers, strict=True):
            for name, weight in layer.norms.items():
                setattr(target, name, None if weight is None else self._floats(weight))
            for at, packed in enumerate(layer.projections):
                target.projections[at] = self._bit_linear(packed)
            target.eps = layer.eps

    def _bit_linear(self, weight: PackedWeight) -> _BitLinear:
        packed = weight.packed.contiguous()
        self._kept.append(packed)
        norm = self._floats(weight.norm)
        return _BitLinear(
            packed.data_ptr(), norm, packed.shape[0], weight.norm.numel(), weight.eps, weight.scale
        )

    def _floats(self, tensor: Tensor) -> int:
        floats = tensor.detach().float().contiguous()
        self._kept.append(floats)
        return floats.data_ptr()

    def __call__(self, hidden: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Run all layers.

        Args:
            hidden: ``[B, 1, D]``.
            states: the states of all layers, float32 ``[B, D]``; updated in place.

        Returns:
            The output of the last layer, ``[B, 1, D]`` in the dtype of ``hidden``.
        """
        if len(states) != len(self._layers):
            raise ModelError(f"the cache has {len(states)} layers, the model {len(self._layers)}")
        for state in states:
            check_state(state, (hidden.shape[0], hidden.shape[2]))
        # A copy, since the kernel works in place.
        out = hidden.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        addresses = (ctypes.c_void_p * len(states))(*(state.data_ptr() for state in states))
        _native.call("matmul_free_step", self._layers, len(states), len(hidden), out, addresses)
        return out.to(hidden.dtype)
