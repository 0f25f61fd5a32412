"""States that recurrent operators are given: checked first, since kernels read them by address."""

from collections.abc import Sequence

from torch import Tensor

from trilemma.errors import ModelError


def check_state(state: Tensor | None, shape: Sequence[int]) -> None:
    """Refuse a state of another batch or another model.

    Raises:
        ModelError: unless ``state`` is None or of that shape.
    """
    if state is not None and tuple(state.shape) != tuple(shape):
        raise ModelError(
            f"the state has shape {tuple(state.shape)} where {tuple(shape)} is needed: "
            "the cache is of another batch or another model"
        )
