"""How well a language model predicts documents that it was not trained on."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trilemma.errors import DivergedError
from trilemma.training.next_token import next_token_loss
from trilemma.training.pretrain_settings import PretrainSettings
from trilemma.training.token_windows import Windows, pack

_LONGEST_MEAN_WORD = 50
"""Mean bytes per word beyond which what stands between white space is not a word; English has about 6."""


class CorpusPerplexity(NamedTuple):
    """How well a language model predicts documents; ends of documents count as tokens."""

    documents: int
    tokens: int
    per_token: float
    per_word: float | None
    bits_per_byte: float


def perplexity(
    model: PreTrainedModel,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    settings: PretrainSettings,
    work: Path,
) -> CorpusPerplexity:
    """Perplexity of ``model`` on ``texts`` in windows of ``settings.length``, in the weights' precision.

    Raises:
        DivergedError: when it is larger than any number.
    """
    size = sum(len(text.encode()) for text in texts)
    windows = Windows(pack(texts, tokenizer, size + len(texts), work), settings.length)
    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(windows), settings.batch):
            batch = windows.__getitems__(range(start, min(start + settings.batch, len(windows))))
            ids, labels = batch["input_ids"].to(model.device), batch["labels"].to(model.device)
            loss, predicted = next_token_loss(model, ids, labels)
            total += float(loss)
            count += int(predicted)
    words = sum(len(text.split()) for text in texts)
    try:
        return CorpusPerplexity(
            documents=len(texts),
            tokens=count,
            per_token=math.exp(total / count),
            per_word=math.exp(total / words) if size <= _LONGEST_MEAN_WORD * words else None,
            bits_per_byte=total / size / math.log(2),
        )
    except OverflowError as error:
        raise DivergedError(
            f"the loss on held-out text is {total / count:.0f} nats per token; choose a lower learning rate"
        ) from error
