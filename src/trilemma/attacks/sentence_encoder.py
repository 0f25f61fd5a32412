"""A sentence encoder: texts to unit vectors whose cosines say how near their meanings are."""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma.inference.classifier import CPU_TOKENS, GPU_TOKENS, encode, length_batches, pad_id
from trilemma.models.description import describe
from trilemma.training.loop import choose_precision

MAX_LENGTH = 512
"""Tokens of a text, and no more than the encoder has positions for."""

REMEMBERED = 1 << 16
"""Texts whose vectors are kept, about 100 MB: attacks on several models try the same changes of the same
items."""


class SentenceEncoder:
    """Mean of a model's last hidden states over the tokens, scaled to length 1 (Reimers & Gurevych 2019).

    Args:
        model: a Hugging Face encoder.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self._known: dict[str, NDArray[np.float32]] = {}
        self._max_length = min(MAX_LENGTH, describe(model).max_length or MAX_LENGTH)

    @cached_property
    def rough(self) -> "SentenceEncoder | None":
        """The same in bfloat16 where the hardware multiplies that faster: vectors that are a little off."""
        if choose_precision("auto").name == "float32" or self.model.dtype != torch.float32:
            return None
        return SentenceEncoder(copy.deepcopy(self.model).bfloat16(), self.tokenizer)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, width], in order; texts that were asked about lately are not encoded again."""
        asked = list(dict.fromkeys(texts))
        if len(self._known) + len(asked) > REMEMBERED:
            self._known.clear()
        new = [text for text in asked if text not in self._known]
        if new:
            self._known.update(zip(new, self._encoded(new), strict=True))
        return np.array([self._known[text] for text in texts], np.float32)

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        rows = encode(self.tokenizer, [(text,) for text in texts], self._max_length)["input_ids"]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        device = self.model.device
        vectors = np.empty((len(rows), self.model.config.hidden_size), np.float32)
        fill = pad_id(self.tokenizer)
        with torch.inference_mode():
            for batch in length_batches(lengths, CPU_TOKENS if device.type == "cpu" else GPU_TOKENS):
                mask = np.arange(lengths[batch].max()) < lengths[batch][:, None]
                ids = np.full(mask.shape, fill, np.int64)
                ids[mask] = np.concatenate([rows[index] for index in batch])
                attended = torch.from_numpy(mask.astype(np.int64)).to(device)
                states = self.model(torch.from_numpy(ids).to(device), attended).last_hidden_state.float()
                weight = attended.unsqueeze(-1).to(states.dtype)
                mean = (states * weight).sum(1) / weight.sum(1)
                vectors[batch] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return vectors
