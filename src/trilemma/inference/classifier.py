"""The one place where a model answers texts.

Identical texts are answered once, all texts are tokenised in one call, and batches hold texts of
about one length, so that hardly any work is spent on padding. Padding is on the right and masked, so
an answer depends neither on the batch a text travels in nor on its place there (float32: probabilities
within 1e-5, logits within 1e-4).
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig

from trilemma.errors import ModelError
from trilemma.inference.gradients import embedding_gradients, embedding_matrix
from trilemma.models.loading import describe, load_classifier, load_tokenizer
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Text

PAIR_SEPARATOR = "\n"
"""Stands before the second text of a pair where the tokenizer's own template has no separator."""

CPU_TOKENS = 2048
"""Padded tokens a batch on a CPU: enough to be worth a call, few enough for activations to stay in cache."""

GPU_TOKENS = 16384
"""Padded tokens a batch elsewhere."""

WASTE_FRACTION = 1 / 64
"""Padding that a batch may hold, as a fraction of the token budget, before the next batch is begun.

A model call has a fixed cost, worth about as much as this many tokens; padding up to that cost is
cheaper than another call, padding beyond it is not.
"""


def encode(tokenizer: Any, texts: Sequence[Text], max_length: int) -> dict[str, list[list[int]]]:
    """Token ids (and segment ids, where the tokenizer has them) of texts or text pairs, unpadded.

    A pair is joined by the tokenizer's own pair template (BERT, RoBERTa, T5, Llama). A tokenizer that
    has none (GPT-2, byte-level BPE) would join the two texts without a boundary, so there the second
    text starts with :data:`PAIR_SEPARATOR`. Longer inputs are cut to ``max_length`` tokens, a pair at
    the end of its longer text. An empty input becomes one padding token, as a model needs one.

    Args:
        tokenizer: a Hugging Face tokenizer.
        texts: all of one width: one text, or two.
        max_length: most tokens an item, special ones included.

    Returns:
        ``input_ids``, and ``token_type_ids`` where the tokenizer makes them: one list an item.
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
    """Where the tokens that :func:`encode` gives stand in their texts.

    Returns:
        One array [T, 3] an item: a token's text (0 or 1; -1 for a token that stands for none), and where
        its characters begin and end in that text.

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


def _tokenized(tokenizer: Any, texts: Sequence[Text], max_length: int, **options: bool) -> Any:
    if any(len(text) != len(texts[0]) for text in texts) or len(texts[0]) not in (1, 2):
        raise ModelError(
            "a model answers single texts or text pairs, and one kind in one call; split the call"
        )
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
    """The id that fills padded places: the pad token, else the end-of-text token, else 0.

    Which id it is does not matter where the attention mask is obeyed.
    """
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def length_batches(lengths: NDArray[np.int64], tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    """Item indices, batch by batch, longest first.

    Items are sorted by length. A batch is closed when its padded size (items times longest) would pass
    ``tokens_per_batch``, or when it holds more padding than a further model call costs
    (:data:`WASTE_FRACTION`). A single item longer than the budget is a batch of its own.

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


def fixed_arguments(model: Any) -> dict[str, bool]:
    """Arguments of every forward pass that classifies: no cache, as nothing is generated afterwards."""
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


@dataclass(frozen=True)
class TokenGradients:
    """How one text's loss changes with the embeddings of its tokens.

    Attributes:
        ids: the tokens, [T].
        spans: where they stand, [T, 3], as :func:`token_spans` has it.
        gradients: of the loss, by each token's embedding, [T, D] float32.
    """

    ids: NDArray[np.int64]
    spans: NDArray[np.int64]
    gradients: NDArray[np.float32]


class Classifier:
    """A sequence-classification model that answers texts; a victim of attacks, of white-box ones too.

    Args:
        model: a Hugging Face sequence classifier; it answers on the device and in the precision it is in.
        tokenizer: its tokenizer.
        max_length: longer inputs are cut to this many tokens (and to what the model can take).
        tokens_per_batch: padded tokens a batch; by default :data:`CPU_TOKENS` or :data:`GPU_TOKENS`.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, max_length: int = 128, tokens_per_batch: int | None = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = min(max_length, describe(model).max_length or max_length)
        self.tokens_per_batch = tokens_per_batch or (CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS)
        self._arguments = fixed_arguments(model)
        self._takes_segments = "token_type_ids" in inspect.signature(model.forward).parameters

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        max_length: int = 128,
        tokens_per_batch: int | None = None,
        device: str | None = None,
        dtype: torch.dtype = torch.float32,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
    ) -> "Classifier":
        """Load an adapted classifier from its folder.

        Args:
            folder: a Hugging Face folder that holds a classification head, and the tokenizer.
            max_length: as in the constructor.
            tokens_per_batch: as in the constructor.
            device: ``"cpu"``, ``"cuda"``, ...; by default the GPU where there is one.
            dtype: precision of weights and answers; only float32 keeps answers independent of batches.
            trust_remote_code: whether code in the folder may run.
            allow_pickle: whether weights that are not safetensors may be opened.

        Raises:
            ModelError: where the folder holds no classifier.
        """
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder} holds no model configuration ({error}); name an adapted model"
            ) from error
        if not any("SequenceClassification" in name for name in config.architectures or []):
            raise ModelError(
                f"{folder} holds a model without a classification head; adapt it to a task first"
            )
        model = load_classifier(
            folder,
            config.num_labels,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            dtype=dtype,
        )
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(model, tokenizer, max_length=max_length, tokens_per_batch=tokens_per_batch)

    def __call__(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """The same as :meth:`probabilities`."""
        return self.probabilities(texts)

    def probabilities(self, texts: Sequence[Text], progress: Progress = silent) -> NDArray[np.float32]:
        """Class probabilities, [n, classes] float32; for a regression the predicted score, [n, 1]."""
        logits = self.logits(texts, progress)
        if logits.shape[1] == 1:
            return logits
        return torch.from_numpy(logits).softmax(dim=-1).numpy()

    def logits(self, texts: Sequence[Text], progress: Progress = silent) -> NDArray[np.float32]:
        """Raw outputs of the classification head in the order of ``texts``, [n, outputs] float32.

        Args:
            texts: inputs; identical ones are answered once.
            progress: told of answered items.
        """
        places: dict[Text, int] = {}
        place_of = np.fromiter((places.setdefault(text, len(places)) for text in texts), np.int64, len(texts))
        unique = self._answer(list(places), progress, copies=np.bincount(place_of, minlength=len(places)))
        return unique[place_of]

    def _answer(
        self, texts: list[Text], progress: Progress, copies: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.model.config.num_labels), np.float32)
        rows, lengths = self._encoded(texts)
        total, done = int(copies.sum()), 0
        order: list[NDArray[np.int64]] = []
        outputs: list[torch.Tensor] = []
        with self._evaluating(), torch.inference_mode():
            for batch in length_batches(lengths, self.tokens_per_batch):
                inputs = self._pad(rows, batch, lengths[batch])
                outputs.append(self.model(**inputs, **self._arguments).logits.float())
                order.append(batch)
                done += int(copies[batch].sum())
                progress(done, total, "items")
            # One copy off the device at the end: copying every batch would make a GPU wait for us.
            answers = torch.cat(outputs).cpu().numpy()
        restored = np.empty_like(answers)
        restored[np.concatenate(order)] = answers
        return restored

    def gradients(self, texts: Sequence[Text], labels: Sequence[int]) -> list[TokenGradients]:
        """Gradients of each text's cross-entropy by the embeddings of its tokens, in order.

        Args:
            texts: inputs.
            labels: the class index whose loss is meant, one a text.

        Raises:
            ModelError: if the model is a regression, is packed or reads its embeddings more than once, or
                the tokenizer does not know its tokens' characters.
        """
        if self.model.config.num_labels == 1:
            raise ModelError("a regression has no loss of a class; attack a classification task")
        rows, lengths = self._encoded(texts)
        spans = token_spans(self.tokenizer, texts, self.max_length)
        found: dict[int, TokenGradients] = {}
        with self._evaluating():
            # What lies between embedding and loss is kept for the way back, so these batches are small.
            for batch in length_batches(lengths, min(self.tokens_per_batch, CPU_TOKENS)):
                inputs = self._pad(rows, batch, lengths[batch]) | self._arguments
                padded = embedding_gradients(self.model, inputs, np.array(labels, np.int64)[batch])
                for index, gradients in zip(batch.tolist(), padded, strict=True):
                    ids = np.array(rows["input_ids"][index], np.int64)
                    found[index] = TokenGradients(ids, spans[index], gradients[: len(ids)].copy())
        return [found[index] for index in range(len(texts))]

    def embeddings(self) -> NDArray[np.float32]:
        """The embedding of every token, [V, D]."""
        return embedding_matrix(self.model)

    def vocabulary(self) -> list[str]:
        """What every token reads as, in the order of ids; ``""`` for special and unused ones."""
        rows = [[index] for index in range(len(self.model.get_input_embeddings().weight))]
        texts: list[str] = self.tokenizer.batch_decode(
            rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def tokens(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """The ids that each of these words becomes after a space, as inside a text."""
        before = "a "
        texts = [(before + word,) for word in words]
        spans = token_spans(self.tokenizer, texts, self.max_length)
        rows = encode(self.tokenizer, texts, self.max_length)["input_ids"]
        return [
            tuple(
                id for id, (text, _, end) in zip(row, where, strict=True) if text == 0 and end > len(before)
            )
            for row, where in zip(rows, spans, strict=True)
        ]

    def _encoded(self, texts: Sequence[Text]) -> tuple[dict[str, list[list[int]]], NDArray[np.int64]]:
        """What the model reads, and each item's number of tokens."""
        rows = encode(self.tokenizer, texts, self.max_length)
        if not self._takes_segments:
            rows.pop("token_type_ids", None)
        return rows, np.fromiter(map(len, rows["input_ids"]), np.int64, len(texts))

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def _pad(
        self, rows: dict[str, list[list[int]]], batch: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> dict[str, torch.Tensor]:
        """The rows of one batch as right-padded tensors, [items, longest], on the model's device."""
        mask = np.arange(lengths.max()) < lengths[:, None]
        fill = {"input_ids": pad_id(self.tokenizer), "token_type_ids": 0}
        tensors = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
        for name, values in rows.items():
            padded = np.full(mask.shape, fill[name], np.int64)
            padded[mask] = np.concatenate([values[index] for index in batch])
            tensors[name] = torch.from_numpy(padded)
        return {name: tensor.to(self.model.device, non_blocking=True) for name, tensor in tensors.items()}
