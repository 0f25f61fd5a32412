"""BitLinear: a layer whose weights act as -1, 0, 1 on activations rounded to 8 bits, with its own norm."""

from typing import Any

import torch
from torch import Tensor, nn

from trilemma.models.blocks import RMSNorm
from trilemma.ops.ternary import bit_linear
from trilemma.ops.ternary.levels import ternary_weight

BIT_LINEAR_EPS = 1e-6  # a constant of the published models, whatever their configuration says of norms


class BitLinear(nn.Linear):
    """Linear layer without bias on :func:`trilemma.ops.ternary.bit_linear`.

    Outside training the rounded weight is kept between calls (int8, a quarter of a float32 weight).

    Args:
        in_features: inputs.
        out_features: outputs; a fused projection is one layer, since the weight's scale is one for all rows.
        xavier_gain: gain of a uniform Xavier initialisation; None for a normal one.
        std_scale: factor on the normal initialisation's standard deviation.
    """

    def __init__(
        self, in_features: int, out_features: int, xavier_gain: float | None = None, std_scale: float = 1.0
    ) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.norm = RMSNorm(in_features, BIT_LINEAR_EPS)
        self.xavier_gain = xavier_gain
        self.std_scale = std_scale
        self._rounded: tuple[Any, Tensor, tuple[Tensor, Tensor]] | None = None
        """What identifies the weight that was rounded last, some of its elements, its levels and scale."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        if self.training:
            return bit_linear(x, self.weight, self.norm.weight, self.norm.eps)
        out: Tensor = self._by_kept_weight(x)
        return out

    # torch.compile cannot see whether a weight has changed, and to round it in every call would be slower.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _by_kept_weight(self, x: Tensor) -> Tensor:
        return bit_linear(x, self.weight, self.norm.weight, self.norm.eps, self._rounded_weight())

    def train(self, mode: bool = True) -> "BitLinear":
        """Switch mode; a kept rounded weight is dropped where the mode changes."""
        if mode != self.training:
            self._rounded = None
        return super().train(mode)

    def _rounded_weight(self) -> tuple[Tensor, Tensor]:
        weight = self.weight
        if not isinstance(weight, nn.Parameter) or weight.is_inference() or weight.is_meta:
            return ternary_weight(weight)
        # In-place changes raise the version, except those through ``.data`` (so peft merges adapters): a
        # sample of the elements shows those.
        sample = weight.detach().flatten()[:: max(1, weight.numel() // 64)]
        key = (weight.data_ptr(), weight._version, weight.dtype, weight.device)
        if self._rounded is not None:
            kept_key, kept_sample, rounded = self._rounded
            if kept_key == key and torch.equal(kept_sample, sample):
                return rounded
        with torch.inference_mode(False):  # a tensor made in inference mode is lost to gradients
            rounded = ternary_weight(weight)
            self._rounded = key, sample.clone(), rounded
        return rounded
