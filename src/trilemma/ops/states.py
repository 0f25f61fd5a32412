"""States that recurrent operators are given and return, and the dtype in which operators accumulate."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trilemma.errors import ModelError


def check_state(state: Tensor | None, shape: Sequence[int]) -> None:
    """Refuse a state of another batch or another model, since kernels read states by address.

    Raises:
        ModelError: unless ``state`` is None or has that shape.
    """
    if state is not None and tuple(state.shape) != tuple(shape):
        raise ModelError(
            f"the state has shape {tuple(state.shape)} where {tuple(shape)} is needed: "
            "the cache is of another batch or another model"
        )


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of states, and of sums over inputs of ``dtype``: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def state_or_zeros(state: Tensor | None, like: Tensor, shape: Sequence[int]) -> Tensor:
    """``state`` in the dtype in which it accumulates inputs like ``like``; zeros of that shape for None."""
    dtype = sum_dtype(like.dtype)
    return like.new_zeros(tuple(shape), dtype=dtype) if state is None else state.to(dtype)
