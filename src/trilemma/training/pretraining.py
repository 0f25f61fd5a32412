"""Next-token pretraining from scratch, the same for every architecture."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.utils.data import SequentialSampler
from transformers import PreTrainedTokenizerFast

from trilemma.architectures import DEFAULT_VOCABULARY, NewModel, parse_new_model
from trilemma.errors import DataError, ModelError, StoreError, TrilemmaError
from trilemma.files import folder_fingerprint, held, sha256, write_text
from trilemma.models.loading import create, load_tokenizer, save
from trilemma.models.sizes import configuration
from trilemma.progress import Progress, silent
from trilemma.training.corpus import mixed, read_texts, require_files
from trilemma.training.loop import TrainingJob, optimisation_of, steps_of, train
from trilemma.training.next_token import IGNORED, next_token_forward
from trilemma.training.perplexity import perplexity
from trilemma.training.pretrain_settings import PretrainSettings, resolved
from trilemma.training.token_windows import Windows, pack
from trilemma.training.tokenizer import train_tokenizer

_HELD_OUT_SHARE = 0.01
_HELD_OUT_BYTES = 1_000_000


@dataclass(frozen=True)
class PretrainJob:
    """Which model is trained, on what, and how.

    Attributes:
        model: architecture and size.
        corpus: text, JSON Lines or Parquet files; they must fit into memory.
        settings: how.
        tokenizer: folder of a fast tokenizer with an end-of-text token, such as
            :func:`trilemma.training.tokenizer.train_tokenizer` makes.
        seed: seed of weights and order.
    """

    model: NewModel
    corpus: Sequence[Path | str]
    settings: PretrainSettings
    tokenizer: Path
    seed: int = 0


@dataclass(frozen=True)
class PretrainFacts:
    """What was done, and with which result; JSON-able.

    Attributes:
        arch: architecture name.
        size: size name.
        parameters: weights in all.
        vocabulary: tokens that the tokenizer knows.
        tokens: tokens that were predicted in training.
        unique_tokens: different places of the corpus among them.
        epochs: passes over those.
        steps: optimiser steps.
        batch: sequences per step.
        length: tokens per sequence.
        learning_rate: the peak rate.
        seed: seed of weights and order.
        precision: number format, and why it was chosen.
        device: ``cpu`` or ``cuda``.
        seconds: training time.
        tokens_per_second: speed of training.
        loss_curve: (step, mean loss since the point before), in nats per token.
        held_out_documents: documents that were not trained on, nor any copy of them.
        held_out_tokens: tokens predicted on them.
        held_out_perplexity: perplexity per token, in windows of ``length``, in float32.
        held_out_word_perplexity: perplexity per word between white space, comparable across tokenizers; None
            where the texts have too few words, as in a language written without spaces.
        held_out_bits_per_byte: also comparable across tokenizers.
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
    model: str | NewModel,
    corpus: Sequence[Path | str],
    out: Path | str,
    settings: PretrainSettings,
    *,
    tokenizer: Path | int = DEFAULT_VOCABULARY,
    seed: int = 0,
    progress: Progress = silent,
) -> PretrainFacts:
    """Pretrain a language model from scratch and write a normal model folder, which a study can name.

    A run that was killed resumes from its last checkpoint, which is kept beside ``out`` until the end.

    Args:
        model: ``ARCH:SIZE``, such as ``gla:nano``.
        corpus: text, JSON Lines or Parquet files.
        out: the folder to write; it must not exist, so that nothing is overwritten.
        settings: how.
        tokenizer: folder of a tokenizer, or the vocabulary of one that is trained on the corpus.
        seed: seed of weights and order.
        progress: counts tokens.

    Returns:
        The facts that are also in ``pretrain.json`` in the folder.

    Raises:
        DataError: for a corpus that is absent, cannot be read or is too small.
        DivergedError: when the loss is no longer a number.
        ModelError: for an unknown architecture or size.
        StoreError: when ``out`` exists, another process is writing it, or what was begun there differs.
    """
    out = Path(out)
    if os.path.lexists(out):
        raise StoreError(f"{out} exists already; choose another --out or remove it")
    new = parse_new_model(model) if isinstance(model, str) else model
    if new is None:
        raise ModelError(f"{model!r} is not a new model; give ARCH:SIZE, such as gla:nano")
    configuration(*new, DEFAULT_VOCABULARY)  # unknown names are refused before any work
    require_files(corpus)
    request = {
        "arch": new.arch,
        "size": new.size,
        "seed": seed,
        "corpus": [sha256(Path(path)) for path in corpus],
        "tokenizer": tokenizer if isinstance(tokenizer, int) else folder_fingerprint(tokenizer),
        "settings": settings.model_dump(mode="json", exclude={"checkpoint_steps"}),
    }
    work = out.with_name(f".{out.name}.partial")
    with held(work, f"another process is pretraining into {out}; wait for it or choose another --out"):
        _require_same(work, request)
        try:
            if isinstance(tokenizer, int):
                tokenizer = _trained_tokenizer(corpus, settings.column, tokenizer, work)
            job = PretrainJob(new, corpus, settings, tokenizer, seed)
            shutil.rmtree(work / "finished", ignore_errors=True)
            facts = run(job, out=work / "finished", work=work, progress=progress)
        except TrilemmaError:
            if not list(work.glob("checkpoint-*")):
                shutil.rmtree(work)  # there is nothing to resume from
            raise
        write_text(work / "finished" / "pretrain.json", json.dumps(asdict(facts), indent=1))
        os.rename(work / "finished", out)
    shutil.rmtree(work, ignore_errors=True)
    return facts


def summary(facts: PretrainFacts, out: Path) -> Iterator[str]:
    """Lines about a pretraining for people; ``pretrain.json`` in the folder has all of it."""
    yield (
        f"{facts.arch}-{facts.size}, {facts.parameters:,} weights, trained on {facts.tokens:,} "
        f"tokens (epochs: {facts.epochs:.2g}) in {facts.seconds:,.0f} s: {out}"
    )
    yield (
        f"held out: {facts.held_out_documents:,} documents, perplexity {facts.held_out_perplexity:.4g} "
        f"per token, {facts.held_out_bits_per_byte:.3g} bits per byte"
    )
    yield f"facts: {out / 'pretrain.json'}; in a study: models: [{{path: {out}}}]"


def _require_same(work: Path, request: dict[str, object]) -> None:
    """Refuse to resume what was begun with other settings, another corpus or tokenizer."""
    path = work / "request.json"
    if not path.is_file():
        write_text(path, json.dumps(request))
    elif (begun := json.loads(path.read_text("utf-8"))) != request:
        other = ", ".join(name for name in request if begun.get(name) != request[name])
        raise StoreError(
            f"{work} holds an unfinished pretraining with another {other}; "
            "repeat its command to resume it, or delete the folder to start again"
        )


def _trained_tokenizer(corpus: Sequence[Path | str], column: str, vocabulary: int, work: Path) -> Path:
    folder = work / "tokenizer"
    if not folder.exists():
        unfinished = work / "tokenizer.unfinished"
        train_tokenizer(read_texts(corpus, column), vocabulary).save_pretrained(unfinished)
        os.rename(unfinished, folder)
    return folder


def run(job: PretrainJob, *, out: Path, work: Path, progress: Progress = silent) -> PretrainFacts:
    """Train a language model from scratch and write it to ``out``.

    Training and held-out documents are chosen by the texts alone, so every architecture sees the same
    tokens in the same order.

    Args:
        job: which model is trained, on what, and how.
        out: folder that is written at the end: weights (safetensors), configuration, tokenizer.
        work: folder for packed tokens and checkpoints; after a kill the same call resumes from the last one.
        progress: counts tokens.

    Raises:
        DataError: for a corpus that cannot be read or is too small.
        DivergedError: when the loss is no longer a number.
    """
    settings = resolved(job.model.arch, job.settings)
    training_texts, held_out_texts = hold_out(mixed(read_texts(job.corpus, settings.column)))
    tokenizer = _fast_tokenizer(job.tokenizer)
    work.mkdir(parents=True, exist_ok=True)
    ids = pack(training_texts, tokenizer, settings.tokens, work)
    windows = Windows(ids, settings.length, settings.tokens, job.seed)
    model = create(*job.model, tokenizer, job.seed)
    assert settings.learning_rate is not None
    optimisation = optimisation_of(
        settings,
        steps=steps_of(len(windows), settings.batch, 1.0),
        learning_rate=settings.learning_rate,
        seed=job.seed,
        betas=(0.9, 0.95),
        checkpoint_steps=settings.checkpoint_steps,
    )
    training_job = TrainingJob(
        dataset=windows,
        order=SequentialSampler(windows),
        objective=lambda wrapped, batch: (wrapped(**batch)["loss"], None),
        optimisation=optimisation,
        unit="tokens",
        units_per_step=settings.tokens / optimisation.steps,
        weight=lambda batch: float((batch["labels"] != IGNORED).sum()),
    )
    with next_token_forward(model):
        training = train(model, training_job, work=work, progress=progress)
    held_out = perplexity(model, held_out_texts, tokenizer, settings, work)
    save(model, tokenizer, out)
    return PretrainFacts(
        arch=job.model.arch,
        size=job.model.size,
        parameters=model.num_parameters(),
        vocabulary=len(tokenizer),
        tokens=settings.tokens,
        unique_tokens=min(windows.predictable, settings.tokens),
        epochs=settings.tokens / windows.predictable,
        steps=training.steps,
        batch=settings.batch,
        length=settings.length,
        learning_rate=optimisation.learning_rate,
        seed=job.seed,
        precision=str(optimisation.precision),
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


def hold_out(texts: list[str]) -> tuple[list[str], list[str]]:
    """Documents for training, and the last ones, held out: 1% of the bytes, but at most about 1 MB."""
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
