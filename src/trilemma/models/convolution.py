"""Short convolution as a layer, with a state that is right under padding too."""

import torch
from torch import Tensor, nn

from trilemma.ops.short_conv import short_conv


class ShortConvolution(nn.Conv1d):
    """Depthwise causal convolution over time, then silu; no bias.

    Args:
        channels: number of channels.
        size: number of inputs that an output depends on, the current one included.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels, channels, size, groups=channels, bias=False)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        state: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Convolve ``x`` as the continuation of what ``state`` has seen.

        Args:
            x: [B, T, channels]; in every row the tokens stand before the pads.
            state: the last ``size`` inputs [B, channels, size], newest last; None for none.
            lengths: number of tokens of every row [B]; None means T.

        Returns:
            The output [B, T, channels], and the state after the last token of every row.
        """
        y, last = short_conv(x, self.weight, state)
        if lengths is None:
            return y, last
        before = x.new_zeros(last.shape) if state is None else state
        inputs = torch.cat((before, x.mT), dim=-1)
        newest = lengths[:, None] + torch.arange(last.shape[-1], device=x.device)
        return y, inputs.gather(-1, newest[:, None].expand(-1, x.shape[-1], -1))
