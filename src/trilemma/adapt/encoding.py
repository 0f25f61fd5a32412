"""Examples tokenised once, handed out as padded batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from trilemma.inference.batching import encode, padded, truncated_share
from trilemma.inference.reading import Reading, require_known_ids
from trilemma.tasks.task import Examples


class EncodedExamples(Dataset[Any]):
    """Token ids and labels of a split; a batch is padded to its longest example.

    Args:
        examples: labelled rows.
        tokenizer: the model's.
        model: the model.
        reading: how it must be given texts.
        max_length: longest example in tokens; longer ones are cut.

    Attributes:
        lengths: tokens per example, ``[n]``.
        truncated: fraction of the examples that were cut.
    """

    def __init__(
        self, examples: Examples, tokenizer: Any, model: Any, reading: Reading, max_length: int
    ) -> None:
        rows = encode(tokenizer, examples.texts, max_length)
        if not reading.segments:
            rows.pop("token_type_ids", None)
        require_known_ids(rows, model)
        self.lengths: NDArray[np.int64] = np.fromiter(map(len, rows["input_ids"]), np.int64, len(examples))
        self.truncated = truncated_share(tokenizer, examples.texts, self.lengths.tolist(), max_length)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._columns = {name: np.concatenate(values).astype(np.int32) for name, values in rows.items()}
        self._reading = reading
        self._labels = torch.tensor([float(label) for label in examples.labels if label is not None])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask`` ``[B, T]``, ``labels`` ``[B]``, segment ids where taken."""
        rows = {
            name: [column[self._starts[i] : self._starts[i + 1]] for i in indices]
            for name, column in self._columns.items()
        }
        labels = {"labels": self._labels[np.asarray(indices)]}
        return padded(rows, self._reading.pad, left=self._reading.left) | labels

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One example, as a batch."""
        return self.__getitems__([index])
