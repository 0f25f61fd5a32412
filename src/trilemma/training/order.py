"""The order of training examples: batches of about one length, at random."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

_POOLED_BATCHES = 50
"""Batches whose examples are sorted by length together: more means less padding, and less random batches."""


class LengthGroupedOrder(Sampler[int]):
    """Random batches of items of about one length; a function of seed and epoch alone.

    Args:
        lengths: one per item.
        batch: items per batch.
        seed: determines the order, together with the epoch.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray[Any, Any], batch: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next (the Trainer calls this)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(len(self._lengths))
        pool = self._batch * _POOLED_BATCHES
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            order[start : start + pool] = part[np.argsort(-self._lengths[part], kind="stable")]
        whole = len(order) // self._batch * self._batch
        batches = order[:whole].reshape(-1, self._batch)
        rng.shuffle(batches)  # or lengths would fall along every pool
        yield from order.tolist()
