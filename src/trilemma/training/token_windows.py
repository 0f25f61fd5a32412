"""A corpus as one long row of token ids on disk, cut into windows for next-token training."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from trilemma.errors import DataError
from trilemma.files import replacing
from trilemma.training.next_token import IGNORED

_DOCUMENTS_PER_CALL = 512


def pack(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, tokens: int, work: Path) -> NDArray[Any]:
    """Token ids of documents, each ended by the end-of-text token, as a file in ``work``.

    Documents are taken until there is one id more than ``tokens``; the last one is cut there. A file that
    was packed before, from the same texts by the same tokenizer, is used again.

    Returns:
        At most ``tokens + 1`` ids, memory-mapped, read-only.

    Raises:
        StoreError: when ``work`` cannot be written.
    """
    key = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    key.update(f"{tokens} {len(texts)}".encode())
    for text in texts:
        key.update(text.encode())
    path = work / f"tokens-{key.hexdigest()[:16]}.npy"
    if not path.is_file():
        with replacing(path) as beside, beside.open("wb") as file:
            np.save(file, _ids(texts, tokenizer, tokens + 1))
    packed: NDArray[Any] = np.load(path, mmap_mode="r")
    return packed


def _ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, most: int) -> NDArray[Any]:
    core = tokenizer.backend_tokenizer
    core.encode_special_tokens = True  # special tokens spelt out in a document are text
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    end = tokenizer.eos_token_id
    parts: list[NDArray[Any]] = []
    count = 0
    for start in range(0, len(texts), _DOCUMENTS_PER_CALL):
        batch = list(texts[start : start + _DOCUMENTS_PER_CALL])
        for encoding in core.encode_batch_fast(batch, add_special_tokens=False):
            parts.append(np.asarray([*encoding.ids, end], dtype))
            count += len(parts[-1])
        if count >= most:
            break
    return np.concatenate(parts)[:most]


class Windows(Dataset[Any]):
    """Windows of packed ids in training order: ``length`` inputs, and for each the id after it as its target.

    Neighbouring windows share one id, so that a pass over the ids predicts each but the first. Every pass has
    its own order of windows; in all, exactly ``tokens`` ids are predicted.

    Args:
        ids: the packed corpus.
        length: inputs per window.
        tokens: predictions in all; None for one pass, unshuffled.
        seed: seed of the order.

    Raises:
        DataError: when there are fewer than two ids.
    """

    def __init__(self, ids: NDArray[Any], length: int, tokens: int | None = None, seed: int = 0) -> None:
        self.predictable = len(ids) - 1
        if self.predictable < 1:
            raise DataError("the corpus has fewer than two tokens; give a larger one")
        self._ids = ids
        self._length = length
        starts = np.arange(0, self.predictable, length)
        if tokens is not None:
            rng = np.random.default_rng(seed)
            starts = np.concatenate([rng.permutation(starts) for _ in range(-(-tokens // self.predictable))])
        counts = np.minimum(length, self.predictable - starts)
        if tokens is not None:
            after = np.cumsum(counts)
            windows = int(np.searchsorted(after, tokens)) + 1
            starts, counts = starts[:windows], counts[:windows]
            counts[-1] -= after[windows - 1] - tokens
        self._starts, self._counts = starts, counts

    def __len__(self) -> int:
        return len(self._starts)

    def __getitems__(self, windows: Sequence[int]) -> dict[str, Tensor]:
        """``input_ids`` and ``labels`` ``[B, length]``; labels past a window's share are not predicted."""
        places = self._starts[windows][:, None] + np.arange(self._length + 1)
        ids = self._ids[np.minimum(places, self.predictable)].astype(np.int64)
        labels = np.where(np.arange(self._length) < self._counts[windows][:, None], ids[:, 1:], IGNORED)
        return {"input_ids": torch.from_numpy(ids[:, :-1].copy()), "labels": torch.from_numpy(labels)}

    def __getitem__(self, window: int) -> dict[str, Tensor]:
        """One window, as a batch."""
        return self.__getitems__([window])
