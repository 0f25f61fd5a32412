"""How a model must be given texts so that an answer depends on its text alone.

Tokenizer and model are each checked against the other, once, before anything is answered or trained:
padded against unpadded texts, pad ids, segment ids, and the vocabulary against the embedding. What can be
settled is settled; the rest is refused in one sentence.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from trilemma.errors import ModelError, one_line
from trilemma.inference.batching import encode, pad_id, padded
from trilemma.models.description import describe
from trilemma.tasks.task import Text

_PROBES: tuple[Text, ...] = (
    ("a good film",),
    ("it is not at all what one would have hoped for, in spite of a great many fine words about it",),
)
"""Texts of different lengths; the shorter one is padded."""

_OF_SPREAD, _OF_LOGITS = 1e-3, 1e-5
"""By how much an answer may change in other company: shares of what tells the probes' answers apart, and of
the largest logit, for rounding."""


@dataclass(frozen=True)
class Reading:
    """How texts are given to a model.

    Attributes:
        pad: the id that fills padded positions.
        left: whether padding is on the left, as models that classify by the last position need it.
        segments: whether segment ids are given.
        in_groups: whether a batch is computed in parts, as padding changes this model's answers, or as its
            classifier cannot take all kinds of texts in one batch.
    """

    pad: int
    left: bool
    segments: bool
    in_groups: bool


def fixed_arguments(model: Any) -> dict[str, bool]:
    """Arguments of every forward pass that classifies: no cache, since nothing is generated afterwards."""
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def settle(model: Any, tokenizer: Any) -> Reading:
    """How texts must be given to a classifier; may change the model so that it takes them right.

    A decoder pools at the last token that is not its configuration's pad token, so that becomes the
    tokenizer's. A model whose answers padding changes is padded on the left if that helps; else, and where
    its classifier needs equally many end-of-text tokens in all rows, its forward pass computes a batch in
    parts that are alike.

    Args:
        model: a sequence classifier.
        tokenizer: its tokenizer.

    Raises:
        ModelError: if the tokenizer has ids that the model has no embedding or segment for, or the model
            cannot read a short text, or reads one differently each time.
    """
    _require_embeddings(model, tokenizer)
    pad = pad_id(tokenizer)
    config = model.config
    if describe(model).causal and tokenizer.pad_token_id is not None:
        config.pad_token_id = pad
    segments = _takes_segments(model, tokenizer)
    if hasattr(model.forward, "in_groups"):
        return Reading(pad, False, segments, True)
    if getattr(config, "is_encoder_decoder", False):
        _in_groups(model, lambda ids, mask: (ids == config.eos_token_id).sum(1))
        return Reading(pad, False, segments, True)
    compare = _Comparison(model, tokenizer, pad, segments)
    if compare.padded_equals_alone(left=False):
        return Reading(pad, False, segments, False)
    if compare.padded_equals_alone(left=True):
        return Reading(pad, True, segments, False)
    if compare.doubled_equals_alone():
        _in_groups(model, lambda ids, mask: mask.sum(1))
    else:
        _in_groups(model, lambda ids, mask: torch.arange(len(ids), device=ids.device))
    return Reading(pad, False, segments, True)


def _require_embeddings(model: Any, tokenizer: Any) -> None:
    """Special tokens that no text holds, such as an image's, may lack an embedding; all others must not."""
    rows = _embedding_rows(model)
    if rows is None:
        return
    special = {*tokenizer.all_special_ids, *_added_special(tokenizer)} - {tokenizer.pad_token_id}
    vocabulary = {index: token for token, index in tokenizer.get_vocab().items() if index >= rows}
    lost = sorted(index for index in vocabulary if index not in special)
    if lost:
        raise ModelError(
            f"the tokenizer has tokens up to id {max(lost)} ({vocabulary[lost[0]]!r} is {lost[0]}), but the "
            f"model's embedding has {rows} rows; use the tokenizer that the model was trained with, or save "
            "the model after model.resize_token_embeddings(len(tokenizer))"
        )


def _added_special(tokenizer: Any) -> set[int]:
    return {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}


def _embedding_rows(model: Any) -> int | None:
    """Rows of the input embedding; None for a model that reads no ids of a table (CANINE hashes)."""
    try:
        weight = model.get_input_embeddings().weight
    except (NotImplementedError, AttributeError):
        return None
    return int(weight.shape[0])


def require_known_ids(rows: dict[str, list[list[int]]], model: Any) -> None:
    """Refuse texts that hold a token without an embedding, which a tokenizer may have as a special token.

    Raises:
        ModelError: naming its id.
    """
    most = _embedding_rows(model)
    worst = max((max(row) for row in rows["input_ids"]), default=0)
    if most is not None and worst >= most:
        raise ModelError(
            f"a text holds the special token of id {worst}, but the model's embedding has {most} rows; take "
            "the token out of the text"
        )


def _takes_segments(model: Any, tokenizer: Any) -> bool:
    """Whether the model tells segments apart; one with a single type (RoBERTa) must not be given two."""
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        return False
    types = getattr(model.config, "type_vocab_size", None)
    if types is None:
        return True
    if types < 2:
        return False
    pair = encode(tokenizer, [("a", "b")], 16).get("token_type_ids", [[0]])[0]
    if max(pair) >= types:
        raise ModelError(
            f"the tokenizer numbers segments up to {max(pair)}, but the model has {types} segment types; use "
            "the tokenizer that it was trained with"
        )
    return True


class _Comparison:
    """Answers to the probes alone, and in company."""

    def __init__(self, model: Any, tokenizer: Any, pad: int, segments: bool) -> None:
        self._model, self._pad = model, pad
        self._rows = encode(tokenizer, _PROBES, min(24, describe(model).max_length or 24))
        if not segments:
            self._rows.pop("token_type_ids", None)
        try:
            self._alone = torch.cat([self._logits([place]) for place in range(len(_PROBES))])
        except Exception as error:  # a model of unknown origin can fail in any way
            length = len(self._rows["input_ids"][0])
            raise ModelError(
                f"{type(model).__name__} cannot read a text of {length} tokens ({type(error).__name__}: "
                f"{one_line(error)}); it needs other inputs than texts have, so choose another model"
            ) from error

    def padded_equals_alone(self, *, left: bool) -> bool:
        """Whether the answers to both probes in one padded batch are those to each of them."""
        return self._same([0, 1], self._alone, left)

    def doubled_equals_alone(self) -> bool:
        """Whether a text in a batch of one length is answered as alone."""
        return self._same([0, 0], self._alone[[0, 0]], False)

    def _same(self, places: list[int], expected: Tensor, left: bool) -> bool:
        try:
            found = self._logits(places, left)
        except Exception:  # a batch that the model cannot take is one that it does not answer alike
            return False
        coarser = self._eps / torch.finfo(torch.float32).eps
        spread = (self._alone[0] - self._alone[1]).abs().max()
        allowed = coarser * (_OF_SPREAD * spread + _OF_LOGITS * self._alone.abs().max())
        return bool((found - expected).abs().max() <= allowed)

    def _logits(self, places: list[int], left: bool = False) -> Tensor:
        rows = {name: [values[place] for place in places] for name, values in self._rows.items()}
        inputs = {
            name: one.to(self._model.device) for name, one in padded(rows, self._pad, left=left).items()
        }
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.random.fork_rng(devices=()), torch.inference_mode():
                logits: Tensor = self._model(**inputs, **fixed_arguments(self._model)).logits
                self._eps = torch.finfo(logits.dtype).eps
                return logits.float().cpu()
        finally:
            self._model.train(was_training)


def _in_groups(model: nn.Module, kind: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Let a model compute a padded batch in parts of one ``kind``, each cut to its longest row."""
    forward: Callable[..., Any] = model.forward

    @functools.wraps(forward)
    def grouped(input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **others: Any) -> Any:
        if input_ids is None or attention_mask is None or "labels" in others:
            return forward(input_ids=input_ids, attention_mask=attention_mask, **others)
        kinds = kind(input_ids, attention_mask)
        logits: list[Tensor] = []
        order: list[Tensor] = []
        for one in torch.unique(kinds):
            rows = (kinds == one).nonzero().squeeze(1)
            longest = int(attention_mask[rows].sum(1).max())
            tensors = {"input_ids": input_ids, "attention_mask": attention_mask} | others
            inputs = {
                name: value[rows, :longest] if isinstance(value, Tensor) and value.ndim > 1 else value
                for name, value in tensors.items()
            }
            logits.append(forward(**inputs).logits)
            order.append(rows)
        places = torch.cat(order).argsort()
        return SequenceClassifierOutput(logits=torch.cat(logits)[places])

    grouped.in_groups = True  # type: ignore[attr-defined]
    model.forward = grouped
