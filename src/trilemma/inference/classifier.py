"""The one place where a model answers texts.

Identical texts are answered once, all texts are tokenised in one call, and batches hold texts of
about one length, so that hardly any work is spent on padding. How a model must be padded is found when it is
loaded (:mod:`trilemma.inference.reading`), so an answer depends neither on the batch that a text is in nor on
its place there (float32: probabilities within 1e-5, logits within 1e-4).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig

from trilemma.errors import ModelError
from trilemma.inference.batching import (
    CPU_TOKENS,
    GPU_TOKENS,
    encode,
    length_batches,
    padded,
    token_spans,
    truncated_share,
)
from trilemma.inference.gradients import TokenGradients, embedding_gradients, embedding_matrix
from trilemma.inference.labels import class_order
from trilemma.inference.reading import fixed_arguments, require_known_ids, settle
from trilemma.models.checkpoints import require_buildable
from trilemma.models.loading import describe, load_classifier, load_tokenizer, reading_length
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Text


class Classifier:
    """A sequence-classification model that answers texts, and shows gradients to white-box attacks.

    Args:
        model: a Hugging Face sequence classifier; it answers on the device and in the precision that it has.
        tokenizer: its tokenizer.
        max_length: longer inputs are cut to this many tokens (and to what the model can take); by default as
            many as the checkpoint says that it reads.
        tokens_per_batch: padded tokens per batch; by default :data:`CPU_TOKENS` or :data:`GPU_TOKENS`.
        labels: names of the classes in the order in which they are answered; by default the model's order.

    Raises:
        ModelError: if model and tokenizer do not fit each other, or the model's classes have other names.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        tokens_per_batch: int | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        wanted = max_length or reading_length(model, tokenizer)
        self.max_length = min(wanted, describe(model).max_length or wanted)
        self.tokens_per_batch = tokens_per_batch or (CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS)
        self._arguments = fixed_arguments(model)
        self._reading = settle(model, tokenizer)
        self._order = None if labels is None else class_order(model.config, labels)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        max_length: int | None = None,
        device: str | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        labels: Sequence[str] | None = None,
    ) -> "Classifier":
        """Load an adapted classifier from its folder.

        Args:
            folder: a Hugging Face folder that holds a classification head, and the tokenizer.
            max_length: as in the constructor.
            labels: as in the constructor.
            device: ``"cpu"``, ``"cuda"``, ...; by default the GPU where there is one.
            trust_remote_code: whether code in the folder may run.
            allow_pickle: whether weights that are not safetensors may be opened.

        Raises:
            ModelError: where the folder holds no classifier, or as in the constructor.
        """
        require_buildable(Path(folder))
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
            dtype=torch.float32,  # only in float32 are answers independent of batches
        )
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(model, tokenizer, max_length=max_length, labels=labels)

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
            progress: counts answered items.
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
        outputs: list[Tensor] = []
        with self._evaluating(), torch.inference_mode():
            for batch in length_batches(lengths, self.tokens_per_batch):
                outputs.append(self.model(**self._inputs(rows, batch)).logits.float())
                order.append(batch)
                done += int(copies[batch].sum())
                progress(done, total, "items")
            # One copy off the device at the end, since copying every batch would make a GPU wait.
            answers = torch.cat(outputs).cpu().numpy()
        restored = np.empty_like(answers)
        restored[np.concatenate(order)] = answers
        return restored if self._order is None else restored[:, self._order]

    def truncated(self, texts: Sequence[Text]) -> float:
        """Share of the texts that are longer than what is read of them."""
        rows = encode(self.tokenizer, texts, self.max_length)["input_ids"]
        return truncated_share(self.tokenizer, texts, [len(row) for row in rows], self.max_length)

    def gradients(self, texts: Sequence[Text], labels: Sequence[int]) -> list[TokenGradients]:
        """Gradients of each text's cross-entropy by the embeddings of its tokens, in order.

        Args:
            texts: inputs.
            labels: the class index whose loss is computed, one per text.

        Raises:
            ModelError: if the model is a regression, is packed or reads its embeddings more than once, or
                the tokenizer does not keep track of characters.
        """
        if self.model.config.num_labels == 1:
            raise ModelError("a regression has no loss of a class; attack a classification task")
        rows, lengths = self._encoded(texts)
        spans = token_spans(self.tokenizer, texts, self.max_length)
        classes = (
            np.array(labels, np.int64) if self._order is None else self._order[np.array(labels, np.int64)]
        )
        # Activations are kept for the backward pass, so these batches are small.
        most = 1 if self._reading.in_groups else min(self.tokens_per_batch, CPU_TOKENS)
        found: dict[int, TokenGradients] = {}
        with self._evaluating():
            for batch in length_batches(lengths, most):
                of_batch = embedding_gradients(self.model, self._inputs(rows, batch), classes[batch])
                for index, gradients in zip(batch.tolist(), of_batch, strict=True):
                    ids = np.array(rows["input_ids"][index], np.int64)
                    own = gradients[-len(ids) :] if self._reading.left else gradients[: len(ids)]
                    found[index] = TokenGradients(ids, spans[index], own.copy())
        return [found[index] for index in range(len(texts))]

    def embeddings(self) -> NDArray[np.float32]:
        """The embedding of every token, [V, D]."""
        return embedding_matrix(self.model)

    def vocabulary(self) -> list[str]:
        """The text of every token, in the order of ids; ``""`` for special and unused ones."""
        rows = [[index] for index in range(len(self.model.get_input_embeddings().weight))]
        texts: list[str] = self.tokenizer.batch_decode(
            rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def tokens(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """The ids of each word where it follows a space, as inside a text."""
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
        """The inputs of the model, and the number of tokens of each item."""
        rows = encode(self.tokenizer, texts, self.max_length)
        if not self._reading.segments:
            rows.pop("token_type_ids", None)
        require_known_ids(rows, self.model)
        return rows, np.fromiter(map(len, rows["input_ids"]), np.int64, len(texts))

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def _inputs(self, rows: dict[str, list[list[int]]], batch: NDArray[np.int64]) -> dict[str, Any]:
        """Arguments of the forward pass of one batch, on the model's device."""
        chosen = {name: [values[index] for index in batch] for name, values in rows.items()}
        tensors = padded(chosen, self._reading.pad, left=self._reading.left)
        device = self.model.device
        return {name: one.to(device, non_blocking=True) for name, one in tensors.items()} | self._arguments
