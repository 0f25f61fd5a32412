"""How a model takes one new token in one compiled call, instead of module by module.

A backbone asks its step before it runs its blocks.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache


class SingleTokenStep(ABC):
    """All blocks of a model on the newest token of each sequence; one object serves all models of a class."""

    @abstractmethod
    def kernel(self, model: Any) -> str:
        """Name of the path, to append to that of the model's kernel; "" where that name covers it."""

    @abstractmethod
    def __call__(self, model: Any, hidden: Tensor, context: tuple[Any, ...], past: Cache) -> Tensor | None:
        """Run the blocks and advance the layers of the cache as they do.

        Args:
            model: the backbone.
            hidden: input of the first block [B, T, D].
            context: what :meth:`trilemma.models.backbone.Backbone.context` gave.
            past: cache of the tokens before.

        Returns:
            Output of the last block [B, T, D]; None, and nothing is changed, where the modules must run.
        """
