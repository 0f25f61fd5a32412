"""Language models that attacks use: services that propose words or texts, or score how likely a text is."""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError
from trilemma.inference.batching import CPU_TOKENS, GPU_TOKENS, length_batches, pad_id, padded
from trilemma.models.loading import describe

MAX_LENGTH = 256
"""Tokens of a text that are read; the rest is cut off."""

MOST_PIECES = 6
"""Most sub-word tokens of a word that is replaced by combinations of sub-word tokens."""

PARAPHRASE_TOKENS = 128
"""Most tokens of a paraphrase."""


class ModelReader:
    """A model on its device, with its tokenizer, that reads ``most_tokens`` of a text at most."""

    def __init__(self, model: Any, tokenizer: Any, most_tokens: int = MAX_LENGTH) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_length = min(most_tokens, describe(model).max_length or most_tokens)

    def batches(
        self, rows: Sequence[Sequence[int]], longest: int | None = None
    ) -> Iterator[tuple[NDArray[np.int64], torch.Tensor, torch.Tensor]]:
        """Indices, padded ids and attention masks [batch, length]; rows of similar length together."""
        device, fill = self.model.device, pad_id(self.tokenizer)
        rows = [row or [fill] for row in rows]  # a model needs a token
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        for batch in length_batches(lengths, longest or (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS)):
            tensors = padded({"input_ids": [rows[index] for index in batch]}, fill)
            yield batch, tensors["input_ids"].to(device), tensors["attention_mask"].to(device)


class MaskedLanguageModel(ModelReader):
    """Words that a masked language model finds likely at a place in a text.

    A place of one token gets the most probable tokens that are whole words. A word of several sub-word
    tokens gets the most probable combinations that spell one word; the model reads the text once, so a
    combination's probability is the product of its tokens' probabilities. Words of more than
    :data:`MOST_PIECES` tokens get none, and of each token only ``most`` candidates are combined, so that the
    time is bounded.

    Args:
        model: a Hugging Face masked language model.
        tokenizer: its tokenizer, with a mask token and offsets.
        most: tokens or combinations considered at a place, before those that are not words are dropped.

    Raises:
        AttackError: if the tokenizer has no mask token, or no offsets of its tokens.
    """

    def __init__(self, model: Any, tokenizer: Any, most: int) -> None:
        super().__init__(model, tokenizer)
        self.most = most
        if tokenizer.mask_token is None or not tokenizer.is_fast:
            raise AttackError(
                "a masked language model needs a fast tokenizer with a mask token, as BERT and RoBERTa have; "
                "name another one by `masked_model`"
            )

    @property
    def mask(self) -> str:
        """The text that stands for an unknown word."""
        return str(self.tokenizer.mask_token)

    def __call__(self, asked: Sequence[tuple[str, int, int]]) -> list[tuple[str, ...]]:
        """Words for the characters from ``start`` to before ``end`` of each ``(text, start, end)``."""
        texts = list(dict.fromkeys(text for text, _, _ in asked))
        number = {text: i for i, text in enumerate(texts)}
        encoded = self.tokenizer(
            texts,
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        pieces: list[list[tuple[int, list[int]]]] = [[] for _ in texts]  # by text: question, its tokens
        for question, (text, start, end) in enumerate(asked):
            offsets = encoded["offset_mapping"][number[text]]
            tokens = [i for i, (a, b) in enumerate(offsets) if a < end and b > start and b > a]
            if 0 < len(tokens) <= MOST_PIECES:
                pieces[number[text]].append((question, tokens))
        answers: list[tuple[str, ...]] = [()] * len(asked)
        with torch.inference_mode():
            for batch, ids, mask in self.batches(encoded["input_ids"]):
                logits = self.model(input_ids=ids, attention_mask=mask).logits
                for place, index in enumerate(batch):
                    for question, tokens in pieces[index]:
                        answers[question] = self._words(logits[place, tokens].float())
        return answers

    def _words(self, logits: torch.Tensor) -> tuple[str, ...]:
        """Words for logits [tokens, vocabulary] of one place."""
        # Padded rows of the output layer are not tokens.
        scores = logits[:, : len(self.tokenizer)].log_softmax(dim=-1)
        values, ids = (one.cpu().numpy() for one in scores.topk(min(self.most, scores.shape[1])))
        if len(ids) == 1:
            found = [self.whole_words[one] for one in ids[0].tolist() if one in self.whole_words]
            return tuple(dict.fromkeys(found))
        combinations: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
        for some, gains in zip(ids.tolist(), values.tolist(), strict=True):
            longer = [
                ((*head, one), total + gain)
                for head, total in combinations
                for one, gain in zip(some, gains, strict=True)
            ]
            combinations = sorted(longer, key=lambda one: -one[1])[: self.most]
        spelled = self.tokenizer.batch_decode(
            [list(one) for one, _ in combinations],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return tuple(dict.fromkeys(word.strip() for word in spelled if _is_word(word.strip())))

    @cached_property
    def whole_words(self) -> dict[int, str]:
        """Tokens that are whole words, by id."""
        return whole_words(self.tokenizer)


class TextPerplexity(ModelReader):
    """How surprising a causal language model finds a text: exp of the mean negative log-likelihood per token.

    The first token is predicted from the beginning-of-text token, or the end-of-text token where there is no
    other; a text without a token has perplexity 1.
    """

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Perplexities, at least 1, in order."""
        tokenizer = self.tokenizer
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        encoded = tokenizer(
            list(texts), add_special_tokens=False, truncation=True, max_length=self.max_length - 1
        )["input_ids"]
        head = [] if begin is None else [begin]
        rows = [head + row for row in encoded]
        perplexities = [1.0] * len(texts)
        with torch.inference_mode():
            for batch, ids, mask in self.batches(rows):
                logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
                losses = torch.nn.functional.cross_entropy(
                    logits.transpose(1, 2), ids[:, 1:], reduction="none"
                )
                counted = mask[:, 1:].to(losses.dtype)
                means = (losses * counted).sum(1) / counted.sum(1).clamp(min=1)
                for index, mean in zip(batch, means.double().tolist(), strict=True):
                    perplexities[index] = math.exp(min(mean, 700.0))
        return perplexities


class Paraphraser(ModelReader):
    """Rewritten forms of a text by a sequence-to-sequence model, the most probable first (beam search).

    ``prefix`` is put before each text, where the model was trained with one; a text has ``most`` paraphrases.
    """

    def __init__(self, model: Any, tokenizer: Any, prefix: str = "", most: int = 10) -> None:
        super().__init__(model, tokenizer)
        self.prefix, self.most = prefix, most

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Distinct paraphrases of each text, none of them the text itself or empty."""
        rows = self.tokenizer(
            [self.prefix + text for text in texts], truncation=True, max_length=self.max_length
        )["input_ids"]
        answers: list[tuple[str, ...]] = [()] * len(texts)
        with torch.inference_mode():
            # Every beam is a row, so a batch has fewer texts than when texts are only read.
            for batch, ids, mask in self.batches(rows, longest=CPU_TOKENS // self.most):
                written = self.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=False,
                    num_beams=self.most,
                    num_return_sequences=self.most,
                    max_new_tokens=PARAPHRASE_TOKENS,
                )
                spelled = self.tokenizer.batch_decode(
                    written, skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
                for place, index in enumerate(batch):
                    some = spelled[place * self.most : (place + 1) * self.most]
                    kept = dict.fromkeys(one.strip() for one in some)
                    answers[index] = tuple(one for one in kept if one and one != texts[index].strip())
        return answers


def whole_words(tokenizer: Any) -> dict[int, str]:
    """Tokens of a vocabulary that are words, by id.

    A token is a whole word if a text can have it between spaces: without WordPiece's ``##``, and with the
    mark of a word's beginning where the vocabulary has such marks (byte-level BPE, SentencePiece).
    """
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids)
    mark = next((one for one in ("Ġ", "▁") if any(str(token).startswith(one) for token in tokens)), "")
    ids = [i for i, token in enumerate(tokens) if i not in special and str(token).startswith(mark)]
    spelled = tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    return {i: word.strip() for i, word in zip(ids, spelled, strict=True) if _is_word(word.strip())}


def _is_word(spelling: str) -> bool:
    """Whether it is one word of letters, as :class:`SplitText` splits a text."""
    return SplitText.of(spelling).words == (spelling,) and not re.search(r"\d", spelling)
