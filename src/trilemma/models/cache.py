"""The recurrent cache: a state of constant size per layer, where attention keeps every past key and value."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from trilemma.errors import ModelError


@dataclass
class RecurrentState:
    """What one recurrent layer keeps of the tokens it has read.

    Attributes:
        recurrent: float32 state, GLA [B, H, K, V], MatMul-Free [B, D]; None before the first token.
        q: the last ``conv_size`` inputs of the query convolution, [B, channels, conv_size], newest last.
        k: the last inputs of the key convolution.
        v: the last inputs of the value convolution.
    """

    recurrent: Tensor | None = None
    q: Tensor | None = None
    k: Tensor | None = None
    v: Tensor | None = None

    def select(self, rows: Tensor) -> None:
        """Keep batch ``rows``, in that order."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                setattr(self, field.name, value.index_select(0, rows.to(value.device)))

    @property
    def batch_size(self) -> int:
        """Rows of the state, -1 before the first token."""
        return -1 if self.recurrent is None else self.recurrent.shape[0]


class RecurrentCache(Cache):  # type: ignore[misc]
    """Recurrent states of all layers, with the interface ``generate`` expects of a cache.

    A recurrence cannot be rolled back, so :meth:`crop` (assisted decoding) is refused.

    Args:
        layers: number of layers of the model.
    """

    is_compileable = False
    is_croppable = False

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[RecurrentState() for _ in range(layers)])
        self.seen_tokens = 0

    def advance(self, tokens: int) -> None:
        """Note that all layers have read ``tokens`` more positions."""
        self.seen_tokens += tokens

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions read so far, pads included."""
        return self.seen_tokens

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """-1: there is no limit."""
        return -1

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Length and offset an attention mask would have."""
        return self.seen_tokens + query_length, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow the beams of a beam search."""
        for state in self.layers:
            state.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows ``indices`` (integers or booleans)."""
        rows = indices.nonzero().squeeze(-1) if indices.dtype is torch.bool else indices
        for state in self.layers:
            state.select(rows)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row ``repeats`` times."""
        rows = torch.arange(self.batch_size).repeat_interleave(repeats)
        for state in self.layers:
            state.select(rows)

    def reset(self) -> None:
        """Forget everything."""
        self.layers = [RecurrentState() for _ in range(len(self))]
        self.seen_tokens = 0

    def crop(self, tokens_to_remove: int) -> None:
        """Refused: a recurrent state cannot be rolled back."""
        raise ModelError(
            "a recurrent state cannot be rolled back; use greedy search, sampling or beam search, "
            "not assisted decoding"
        )

    @property
    def batch_size(self) -> int:
        """Rows of the states, -1 before the first token."""
        return self.layers[0].batch_size if self.layers else -1

    @property
    def is_initialized(self) -> bool:
        """Whether a token has been read."""
        return self.seen_tokens > 0

    @property
    def is_sliding(self) -> list[bool]:
        """No layer has a window."""
        return [False] * len(self.layers)

    def recurrent_states(self) -> list[Tensor]:
        """The recurrent states of all layers, of a cache that has read a token."""
        return [state.recurrent for state in self.layers if state.recurrent is not None]


def state_bytes(cache: Any) -> int:
    """Bytes of the floating-point tensors that ``cache`` keeps between tokens.

    Args:
        cache: ``past_key_values`` of any Hugging Face model: key-value or recurrent.
    """
    return sum(_tensor_bytes(vars(layer)) for layer in cache.layers)


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() if value.is_floating_point() else 0
    if isinstance(value, dict):
        return sum(map(_tensor_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_tensor_bytes, value))
    return 0
