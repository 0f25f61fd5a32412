"""A key-value cache that writes in place: a new token costs its own keys and values, not a copy of all."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_LEAST_ROOM = 256
"""Fewest positions by which the memory grows."""


def spare_tokens(filled: int) -> int:
    """Number of further tokens for which memory is allocated beyond ``filled`` ones."""
    return max(_LEAST_ROOM, filled // 8)


@dataclass
class _Room:
    """Memory [B, H, capacity, d] of keys and of values, whose filled part the layer shows."""

    keys: Tensor
    values: Tensor


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of the cache with room for further tokens."""

    _room: _Room | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append [B, H, T, d] and return all keys and values, [B, H, filled, d]."""
        # What is overwritten later cannot be differentiated; torch.compile cannot compare addresses.
        if key_states.requires_grad or torch.compiler.is_compiling():
            return super().update(key_states, value_states)  # type: ignore[no-any-return]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        seen = self.get_seq_length()
        filled = seen + key_states.shape[-2]
        keys, values = self._with_room(filled, key_states, value_states)
        keys[:, :, seen:filled].copy_(key_states)
        values[:, :, seen:filled].copy_(value_states)
        return self._show(filled)

    def place_for_token(self) -> tuple[Tensor, Tensor]:
        """Memory of keys and values [B, H, capacity, d] with a place for one more token behind those held.

        The layer must hold some tokens; call :meth:`token_placed` after filling the place.
        """
        return self._with_room(self.get_seq_length() + 1, self.keys, self.values)

    def token_placed(self) -> None:
        """Count the token that was written where :meth:`place_for_token` said."""
        self._show(self.get_seq_length() + 1)

    def _with_room(self, filled: int, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        room = self._room
        if room is None or filled > room.keys.shape[-2] or not self._shows(room) or _is_locked(room.keys):
            room = self._room = self._larger(key_states, value_states, filled)
        return room.keys, room.values

    def _show(self, filled: int) -> tuple[Tensor, Tensor]:
        room = self._room
        assert room is not None
        self.keys, self.values = room.keys[:, :, :filled], room.values[:, :, :filled]
        return self.keys, self.values

    def _shows(self, room: _Room) -> bool:
        """Whether keys and values are still the beginning of the room: a beam search puts others there."""
        return bool(
            self.keys.data_ptr() == room.keys.data_ptr()
            and self.values.data_ptr() == room.values.data_ptr()
            and self.keys.stride() == room.keys.stride()
            and len(self.keys) == len(room.keys)
        )

    def _larger(self, key_states: Tensor, value_states: Tensor, filled: int) -> _Room:
        capacity = filled + spare_tokens(filled)
        room = _Room(*(_empty(states, capacity) for states in (key_states, value_states)))
        if seen := self.get_seq_length():
            room.keys[:, :, :seen].copy_(self.keys)
            room.values[:, :, :seen].copy_(self.values)
        return room

    def reset(self) -> None:
        """Forget everything."""
        self._room = None
        super().reset()


def _is_locked(tensor: Tensor) -> bool:
    """Whether it was made in inference mode, outside of which it cannot be written to."""
    return tensor.is_inference() and not torch.is_inference_mode_enabled()


def _empty(states: Tensor, capacity: int) -> Tensor:
    return states.new_empty(*states.shape[:2], capacity, states.shape[3])


def preallocate(cache: Cache) -> None:
    """Let the empty layers of a dynamic cache that keep all tokens write in place."""
    for index, layer in enumerate(getattr(cache, "layers", ())):
        if type(layer) is DynamicLayer and not layer.is_initialized:
            cache.layers[index] = PreallocatedLayer()
