"""A sentence encoder: texts to unit vectors whose cosines measure how similar their meanings are."""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma.attacks.resources.language_models import ModelReader
from trilemma.inference.batching import encode
from trilemma.training.precision import choose_precision

MAX_LENGTH = 512
"""Tokens of a text that are read, if the encoder has as many positions."""

REMEMBERED = 1 << 16
"""Texts whose vectors are kept, about 100 MB: attacks on several models try the same changes of the same
items, so vectors are needed again."""


class SentenceEncoder(ModelReader):
    """Mean of a model's last hidden states over the tokens, scaled to length 1 (Reimers & Gurevych 2019)."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer, MAX_LENGTH)
        self._known: dict[str, NDArray[np.float32]] = {}

    @cached_property
    def rough(self) -> "SentenceEncoder | None":
        """The same in bfloat16, with slightly different vectors; None where that is not faster."""
        if choose_precision("auto").name == "float32" or self.model.dtype != torch.float32:
            return None
        return SentenceEncoder(copy.deepcopy(self.model).bfloat16(), self.tokenizer)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, width], in order; recent texts are not encoded again."""
        asked = list(dict.fromkeys(texts))
        if len(self._known) + len(asked) > REMEMBERED:
            self._known.clear()
        new = [text for text in asked if text not in self._known]
        if new:
            self._known.update(zip(new, self._encoded(new), strict=True))
        return np.array([self._known[text] for text in texts], np.float32)

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        rows = encode(self.tokenizer, [(text,) for text in texts], self.max_length)["input_ids"]
        vectors = np.empty((len(rows), self.model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for batch, ids, mask in self.batches(rows):
                states = self.model(ids, mask).last_hidden_state.float()
                weight = mask.unsqueeze(-1).to(states.dtype)
                mean = (states * weight).sum(1) / weight.sum(1)
                vectors[batch] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return vectors
