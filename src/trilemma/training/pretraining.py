"""Next-token pretraining from scratch, the same for every architecture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trilemma.errors import DataError, DivergedError, ModelError
from trilemma.models.loading import create, load_tokenizer, save
from trilemma.progress import Progress, silent
from trilemma.training.corpus import mixed, read_texts
from trilemma.training.loop import Recipe, choose_precision, steps_of, train
from trilemma.training.next_token import next_token_forward, next_token_loss
from trilemma.training.token_windows import Windows, pack

LEARNING_RATES = {"transformer-pp": 2e-3, "gla": 4e-3, "matmul-free": 3e-3}
"""Peak rates for models of a few million weights, by held-out perplexity after short runs of ``micro``.

Larger models need less: published rates for 340 M weights and batches of half a million tokens are 3e-4
(Transformer++ and GLA, arXiv 2312.06635); 4e-3 for MatMul-Free at 370 M (arXiv 2406.02528), where small
updates vanish in the rounding.
"""

_HELD_OUT_SHARE = 0.01
_HELD_OUT_BYTES = 1_000_000

_LONGEST_WORDS = 50
"""Mean bytes a word beyond which what stands between white space is no word; English has about 6."""


class PretrainSettings(BaseModel):
    """How a model is pretrained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int = Field(gt=0, description="tokens that are predicted in training, exactly")
    length: int = Field(256, ge=8, description="tokens a packed sequence")
    batch: int = Field(32, gt=0, description="sequences an optimiser step")
    gradient_accumulation: int = Field(1, gt=0, description="equal parts that a step's batch is computed in")
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="peak rate; null: the architecture's own"
    )
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="fraction of the steps in which the rate rises")
    weight_decay: float = Field(0.01, ge=0, lt=1)
    max_gradient_norm: float = Field(1.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_steps: int = Field(200, gt=0, description="steps between checkpoints")
    column: str = Field("text", description="column or field of the corpus files that holds the text")


@dataclass(frozen=True)
class PretrainFacts:
    """What was done, and what came of it; JSON-able.

    Attributes:
        arch: architecture name.
        size: size name.
        parameters: weights in all.
        vocabulary: tokens that the tokenizer knows.
        tokens: predicted in training.
        unique_tokens: different ones of them.
        epochs: passes over those.
        steps: optimiser steps.
        batch: sequences a step.
        length: tokens a sequence.
        learning_rate: the peak rate.
        seed: of weights and order.
        precision: number format and why.
        device: ``cpu`` or ``cuda``.
        seconds: of training.
        tokens_per_second: over those seconds.
        loss_curve: (step, mean loss since the point before), in nats a token.
        held_out_documents: documents that were never trained on, nor a copy of them.
        held_out_tokens: tokens predicted on them.
        held_out_perplexity: a token, in windows of ``length``, in float32.
        held_out_word_perplexity: a word between white space; comparable across tokenizers. None where the
            texts have too few words for it, as those of a language written without spaces.
        held_out_bits_per_byte: likewise.
    """

    arch: str
    size: str
    parameters: int
    vocabulary: int
    tokens: int
    unique_tokens: int
    epochs: float
    steps: int
    batch: int
    length: int
    learning_rate: float
    seed: int
    precision: str
    device: str
    seconds: float
    tokens_per_second: float
    loss_curve: list[tuple[int, float]]
    held_out_documents: int
    held_out_tokens: int
    held_out_perplexity: float
    held_out_word_perplexity: float | None
    held_out_bits_per_byte: float


def pretrain(
    arch: str,
    size: str,
    corpus: Sequence[Path | str],
    settings: PretrainSettings,
    *,
    tokenizer: Path | str,
    out: Path,
    work: Path,
    seed: int = 0,
    progress: Progress = silent,
) -> PretrainFacts:
    """Train a language model from scratch and write it to ``out``.

    Training and held-out documents are chosen by the texts alone, so every architecture sees the same
    tokens in the same order.

    Args:
        arch: architecture name, see :data:`trilemma.architectures.ARCHITECTURES`.
        size: size name, see :data:`trilemma.models.sizes.SHAPES`.
        corpus: text, JSON Lines or Parquet files; they must fit into memory.
        settings: how.
        tokenizer: folder of a fast tokenizer with an end-of-text token, such as
            :func:`trilemma.training.tokenizer.train_tokenizer` makes.
        out: folder that is written at the end: weights (safetensors), configuration, tokenizer.
        work: folder for packed tokens and checkpoints; after a kill the same call goes on from the last one.
        seed: of weights and order.
        progress: told of tokens.

    Raises:
        DataError: for a corpus that cannot be read or is too small.
        DivergedError: when the loss is no number any more.
    """
    texts = mixed(read_texts(corpus, settings.column))
    training_texts, held_out_texts = _hold_out(texts)
    chosen = _fast_tokenizer(tokenizer)
    work.mkdir(parents=True, exist_ok=True)
    windows = Windows(
        pack(training_texts, chosen, settings.tokens, work), settings.length, settings.tokens, seed
    )
    model = create(arch, size, chosen, seed)
    recipe = _recipe(arch, settings, len(windows), seed)
    with next_token_forward(model):
        training = train(
            model,
            windows,
            SequentialSampler(windows),
            lambda wrapped, batch: (wrapped(**batch)["loss"], None),
            recipe,
            work=work,
            progress=progress,
            unit="tokens",
            per_step=settings.tokens / recipe.steps,
        )
    held_out = perplexity(model, held_out_texts, chosen, settings, work)
    save(model, chosen, out)
    return PretrainFacts(
        arch=arch,
        size=size,
        parameters=model.num_parameters(),
        vocabulary=len(chosen),
        tokens=settings.tokens,
        unique_tokens=min(windows.predictable, settings.tokens),
        epochs=settings.tokens / windows.predictable,
        steps=training.steps,
        batch=settings.batch,
        length=settings.length,
        learning_rate=recipe.learning_rate,
        seed=seed,
        precision=str(recipe.precision),
        device=model.device.type,
        seconds=training.seconds,
        tokens_per_second=settings.tokens / training.seconds,
        loss_curve=training.loss_curve,
        held_out_documents=held_out.documents,
        held_out_tokens=held_out.tokens,
        held_out_perplexity=held_out.per_token,
        held_out_word_perplexity=held_out.per_word,
        held_out_bits_per_byte=held_out.bits_per_byte,
    )


class Perplexity(NamedTuple):
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
) -> Perplexity:
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
        return Perplexity(
            documents=len(texts),
            tokens=count,
            per_token=math.exp(total / count),
            per_word=math.exp(total / words) if size <= _LONGEST_WORDS * words else None,
            bits_per_byte=total / size / math.log(2),
        )
    except OverflowError as error:
        raise DivergedError(
            f"the loss on held-out text is {total / count:.0f} nats a token; train with a lower learning rate"
        ) from error


def _hold_out(texts: list[str]) -> tuple[list[str], list[str]]:
    """The last documents, a hundredth of the bytes but at most about 1 MB, apart from the others."""
    if len(texts) < 2:
        raise DataError(
            "the corpus has one document; at least two different ones are needed, one to be held out"
        )
    sizes = [len(text.encode()) for text in texts]
    wanted = min(_HELD_OUT_SHARE * sum(sizes), _HELD_OUT_BYTES)
    cut = len(texts)
    while cut > 1 and sum(sizes[cut:]) < wanted:
        cut -= 1
    return texts[:cut], texts[cut:]


def _fast_tokenizer(folder: Path | str) -> PreTrainedTokenizerFast:
    found = load_tokenizer(folder)
    if not isinstance(found, PreTrainedTokenizerFast) or found.eos_token_id is None:
        raise ModelError(f"the tokenizer in {folder} has no fast form or no end-of-text token; give another")
    return found


def resolved(arch: str, settings: PretrainSettings) -> PretrainSettings:
    """The settings with the architecture's own learning rate where none is given.

    Raises:
        ModelError: for an architecture that has none.
    """
    rate = settings.learning_rate or LEARNING_RATES.get(arch)
    if rate is None:
        raise ModelError(f"there is no usual pretraining rate for {arch}; set learning_rate")
    return settings.model_copy(update={"learning_rate": rate})


def _recipe(arch: str, settings: PretrainSettings, windows: int, seed: int) -> Recipe:
    rate = resolved(arch, settings).learning_rate
    assert rate is not None
    return Recipe(
        steps=steps_of(windows, settings.batch, 1.0),
        batch=settings.batch,
        learning_rate=rate,
        seed=seed,
        precision=choose_precision(settings.precision),
        warmup=settings.warmup,
        schedule=settings.schedule,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.95),
        max_gradient_norm=settings.max_gradient_norm,
        gradient_accumulation=settings.gradient_accumulation,
        checkpoint_steps=settings.checkpoint_steps,
    )
