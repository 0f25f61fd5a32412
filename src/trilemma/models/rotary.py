"""Rotary cosines and sines of consecutive positions, computed once and kept."""

import torch
from torch import Tensor

from trilemma.ops.rotary import rotary_angles


class RotaryTable:
    """Tables of :func:`trilemma.ops.rotary.rotary_angles`, extended for longer texts.

    Neither a module nor a buffer, so that nothing of it is saved, moved or initialised.

    Args:
        head_size: channels of a head, even.
        theta: base of the wavelengths.
    """

    def __init__(self, head_size: int, theta: float) -> None:
        self.head_size = head_size
        self.theta = theta
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def between(self, start: int, stop: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Float32 cosines and sines [1, stop - start, d/2] of consecutive positions."""
        if device not in self._tables or self._tables[device][0].shape[1] < stop:
            length = max(256, 1 << (stop - 1).bit_length())
            with torch.inference_mode(False):  # a table made in inference mode could not be used in training
                self._tables[device] = self.at(torch.arange(length, device=device)[None])
        cos, sin = self._tables[device]
        return cos[:, start:stop], sin[:, start:stop]

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 cosines and sines [B, T, d/2] at ``positions`` [B, T]."""
        return rotary_angles(positions, self.head_size, self.theta)
