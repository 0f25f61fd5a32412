"""The deployed form of a MatMul-Free model: ternary weights at two bits each, computed once.

A packed model answers and generates like the one that it was packed from, but cannot be trained.
"""

from typing import Any

import torch
from torch import Tensor, nn

from trilemma.errors import ModelError
from trilemma.models.bit_linear import BIT_LINEAR_EPS, BitLinear
from trilemma.models.blocks import RMSNorm
from trilemma.ops.ternary import packed as packed_ternary
from trilemma.ops.ternary.levels import ternary_weight


class PackedBitLinear(nn.Module):
    """:class:`trilemma.models.bit_linear.BitLinear` with its rounded weight alone.

    Attributes:
        packed: two bits per weight, from :func:`trilemma.ops.ternary.packed.pack`, uint8.
        scale_bits: the weight's float32 scale as int32, so that no change of a model's dtype rounds it.
    """

    packed: Tensor
    scale_bits: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        width = packed_ternary.packed_width(in_features)
        self.register_buffer("packed", torch.zeros(out_features, width, dtype=torch.uint8))
        self.register_buffer("scale_bits", torch.zeros(1, dtype=torch.int32))
        self.norm = RMSNorm(in_features, BIT_LINEAR_EPS)
        self._levels: Tensor | None = None

    @classmethod
    def of(cls, layer: BitLinear) -> "PackedBitLinear":
        """Pack one layer."""
        levels, scale = ternary_weight(layer.weight)
        packed = cls(layer.in_features, layer.out_features)
        packed.packed = packed_ternary.pack(levels)
        packed.scale_bits = scale.float().reshape(1).view(torch.int32)
        packed.norm = layer.norm
        return packed

    @property
    def weights(self) -> int:
        """Number of weights that are packed here."""
        return self.in_features * self.out_features

    @property
    def scale(self) -> Tensor:
        """The weight's scale, float32 [1]."""
        return self.scale_bits.view(torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        if x.requires_grad and torch.is_grad_enabled():
            raise ModelError("a packed model has no gradients; train the model that it was packed from")
        out: Tensor = packed_ternary.packed_linear(
            x, self.packed, self.scale, self.norm.weight, self.norm.eps, self._unpacked
        )
        return out

    def _unpacked(self) -> Tensor:
        """The weight as int8, kept between calls: for machines that cannot multiply by packed weights."""
        if self._levels is None:
            self._levels = packed_ternary.unpack(self.packed, self.in_features)
        return self._levels

    def _apply(self, *args: Any, **kwargs: Any) -> "PackedBitLinear":
        self._levels = None
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._levels = None
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        """Number of inputs and outputs."""
        return f"{self.in_features}, {self.out_features}"
