"""From texts to batches: tokenised once, sorted by length, padded on the right, or on the left if asked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.errors import ModelError
from trilemma.tasks.task import Text

PAIR_SEPARATOR = "\n"
"""Precedes the second text of a pair where the tokenizer's own template has no separator."""

CPU_TOKENS = 2048
"""Padded tokens per batch on a CPU: enough to be worth a call, few enough that activations stay in cache."""

GPU_TOKENS = 16384
"""Padded tokens per batch on other devices."""

WASTE_FRACTION = 1 / 64
"""Padding that a batch may hold, as a fraction of the token budget, before the next batch is begun.

A model call has a fixed cost, worth about as much as this many tokens; padding up to that cost is
cheaper than another call, padding beyond it is not.
"""


def encode(tokenizer: Any, texts: Sequence[Text], max_length: int) -> dict[str, list[list[int]]]:
    """Token ids (and segment ids, where the tokenizer has them) of texts or text pairs, unpadded.

    A pair is joined by the tokenizer's own pair template (BERT, RoBERTa, T5, Llama). A tokenizer without
    one (GPT-2, byte-level BPE) would join the two texts without a boundary, so there the second text starts
    with :data:`PAIR_SEPARATOR`. Longer inputs are cut to ``max_length`` tokens, a pair at the end of its
    longer text. An empty input becomes one padding token, since a model needs one.

    Args:
        tokenizer: a Hugging Face tokenizer.
        texts: single texts or pairs, not both.
        max_length: most tokens per item, special ones included.

    Returns:
        ``input_ids``, and ``token_type_ids`` where the tokenizer makes them: one list per item.
    """
    if not texts:
        return {"input_ids": []}
    encoded = _tokenized(tokenizer, texts, max_length)
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    rows = {name: encoded[name] for name in names}
    for index, row in enumerate(rows["input_ids"]):
        if not row:
            rows["input_ids"][index] = [pad_id(tokenizer)]
            for name in names[1:]:
                rows[name][index] = [0]
    return rows


def token_spans(tokenizer: Any, texts: Sequence[Text], max_length: int) -> list[NDArray[np.int64]]:
    """Where the tokens of :func:`encode` are in their texts.

    Returns:
        One array [T, 3] per item: the text of each token (0 or 1; -1 for a token of neither), and where its
        characters begin and end in that text.

    Raises:
        ModelError: if the tokenizer does not keep track of characters.
    """
    if not texts:
        return []
    if not tokenizer.is_fast:
        raise ModelError(
            "gradients by word need a tokenizer that knows its tokens' characters (a fast one, with a "
            "tokenizer.json); convert it, or use an attack that needs no gradients"
        )
    encoded = _tokenized(tokenizer, texts, max_length, return_offsets_mapping=True)
    separator = 0 if _has_pair_template(tokenizer) else len(PAIR_SEPARATOR)
    spans = []
    for index, offsets in enumerate(encoded["offset_mapping"]):
        rows = [
            (-1, 0, 0) if text is None else (text, start - text * separator, end - text * separator)
            for text, (start, end) in zip(encoded.sequence_ids(index), offsets, strict=True)
        ] or [(-1, 0, 0)]
        spans.append(np.maximum(np.array(rows, np.int64), [-1, 0, 0]))
    return spans


def truncated_share(tokenizer: Any, texts: Sequence[Text], lengths: Sequence[int], max_length: int) -> float:
    """Share of the texts that :func:`encode` cut.

    Only a text that fills ``max_length`` can have been cut: those are tokenised again, whole.

    Args:
        tokenizer: as given to :func:`encode`.
        texts: as given to it.
        lengths: tokens of each text as it was encoded.
        max_length: as given to it.
    """
    full = [text for text, length in zip(texts, lengths, strict=True) if length >= max_length]
    whole = encode(tokenizer, full, np.iinfo(np.int32).max)["input_ids"]
    return sum(len(ids) > max_length for ids in whole) / max(1, len(texts))


def _tokenized(tokenizer: Any, texts: Sequence[Text], max_length: int, **options: bool) -> Any:
    if any(len(text) != len(texts[0]) for text in texts) or len(texts[0]) not in (1, 2):
        raise ModelError("a model answers single texts or text pairs, not both in one call; split the call")
    columns: list[list[str]] = [list(column) for column in zip(*texts, strict=True)]
    if len(columns) == 2 and not _has_pair_template(tokenizer):
        columns[1] = [PAIR_SEPARATOR + second for second in columns[1]]
    return tokenizer(
        *columns,
        truncation=True,
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        **options,
    )


def _has_pair_template(tokenizer: Any) -> bool:
    alone: int = tokenizer.num_special_tokens_to_add(pair=False)
    return bool(tokenizer.num_special_tokens_to_add(pair=True) > alone)


def pad_id(tokenizer: Any) -> int:
    """The id that fills padded positions: the pad token, else the end-of-text token, else 0.

    Which one makes no difference to a model that obeys the attention mask.
    """
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def length_batches(lengths: NDArray[np.int64], tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    """Item indices, batch by batch, longest first.

    Items are sorted by length. A batch is closed when its padded size (items times longest) would pass
    ``tokens_per_batch``, or when it holds more padding than a further model call costs
    (:data:`WASTE_FRACTION`). A single item longer than the budget is a batch by itself.

    Args:
        lengths: tokens of each item, [n].
        tokens_per_batch: budget in padded tokens.

    Yields:
        Index arrays; together a permutation of ``range(n)``.
    """
    order = np.argsort(-lengths, kind="stable")
    allowed_waste = tokens_per_batch * WASTE_FRACTION
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        fits = order[start : start + max(1, tokens_per_batch // longest)]
        waste = np.cumsum(longest - lengths[fits])
        size = max(1, int(np.searchsorted(waste, allowed_waste, side="right")))
        yield fits[:size]
        start += size


def padded(rows: Mapping[str, Sequence[Any]], pad: int, *, left: bool = False) -> dict[str, Tensor]:
    """Rows of token and segment ids as padded tensors [items, longest], with their attention mask.

    Args:
        rows: the items of a batch, as :func:`encode` gives them.
        pad: the id that fills padded positions.
        left: whether these are before the tokens.
    """
    lengths = np.array([len(row) for row in rows["input_ids"]])
    mask = np.arange(lengths.max()) < lengths[:, None]
    if left:
        mask = mask[:, ::-1]
    tensors = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
    for name, values in rows.items():
        filled = np.full(mask.shape, pad if name == "input_ids" else 0, np.int64)
        filled[mask] = np.concatenate(values)
        tensors[name] = torch.from_numpy(filled)
    return tensors
