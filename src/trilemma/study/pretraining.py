"""`trilemma pretrain`: one model from scratch into a folder of the user's choice."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.errors import StoreError, StudyError, TrilemmaError
from trilemma.files import sha256, write_text
from trilemma.progress import Progress, silent
from trilemma.study.console import silence_noise
from trilemma.study.origin import fingerprint
from trilemma.study.spec import parse_count
from trilemma.study.store import locked
from trilemma.tasks.reading import one_line

if TYPE_CHECKING:
    from trilemma.training.pretraining import PretrainSettings


def pretrain_folder(
    arch: str,
    size: str,
    corpus: Sequence[Path],
    out: Path,
    *,
    settings: dict[str, Any],
    vocabulary: int = 8192,
    tokenizer: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Pretrain a model and write a normal model folder that a study can name.

    A run that was killed goes on from its last checkpoint, which lies beside ``out``.

    Args:
        arch: architecture.
        size: shape.
        corpus: text or Parquet files.
        out: the folder to write; must not exist, so that nothing is overwritten.
        settings: fields of ``PretrainSettings``; tokens also as text, e.g. ``10M``.
        vocabulary: size of the tokenizer trained on the corpus where none is given.
        tokenizer: a tokenizer folder.
        seed: of weights and order.
        progress: told of tokens.

    Returns:
        The facts of the pretraining, as written to ``pretrain.json`` in the folder.

    Raises:
        StudyError: for a setting out of range or a corpus file that does not exist.
        StoreError: when ``out`` exists, another process is writing it, or what was begun there differs.
    """
    from pydantic import ValidationError

    from trilemma.models.sizes import configuration
    from trilemma.training.pretraining import PretrainSettings

    if os.path.lexists(out):
        raise StoreError(f"{out} exists already; choose another --out or remove it")
    silence_noise()
    _require_count(settings["tokens"])
    settings = {**settings, "tokens": parse_count(settings["tokens"])}
    try:
        checked = PretrainSettings.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise StudyError(f"--{option}: {first['msg'].removeprefix('Input ')}") from error
    configuration(arch, size, vocabulary)  # an unknown name is refused before any work
    for path in corpus:
        if not os.path.isfile(path):  # unlike Path's, also for a name that is too long
            raise StudyError(f"corpus file {one_line(path)} does not exist")
    request = {
        "arch": arch,
        "size": size,
        "seed": seed,
        "corpus": [sha256(path) for path in corpus],
        "tokenizer": vocabulary if tokenizer is None else fingerprint(tokenizer),
        "settings": checked.model_dump(mode="json", exclude={"checkpoint_steps"}),
    }
    work = out.with_name(f".{out.name}.partial")
    with locked(work):
        _require_same(work, request)
        try:
            facts = _pretrain(arch, size, list(corpus), checked, vocabulary, tokenizer, seed, work, progress)
        except TrilemmaError:
            if not list(work.glob("checkpoint-*")):
                shutil.rmtree(work)  # nothing to go on from
            raise
        os.rename(work / "finished", out)
    shutil.rmtree(work, ignore_errors=True)
    return facts


def summary(facts: dict[str, Any], out: Path) -> Iterator[str]:
    """What a person reads after a pretraining; ``pretrain.json`` in the folder has all of it."""
    yield (
        f"{facts['arch']}-{facts['size']}, {facts['parameters']:,} weights, trained on {facts['tokens']:,} "
        f"tokens (epochs: {facts['epochs']:.2g}) in {facts['seconds']:,.0f} s: {out}"
    )
    yield (
        f"held out: {facts['held_out_documents']:,} documents, perplexity {facts['held_out_perplexity']:.4g} "
        f"a token, {facts['held_out_bits_per_byte']:.3g} bits a byte"
    )
    yield f"facts: {out / 'pretrain.json'}; in a study: models: [{{path: {out}}}]"


def _require_count(tokens: object) -> None:
    if not str(parse_count(tokens)).isdecimal():
        raise StudyError(f"--tokens: {tokens!r} is no count; give a whole number, or one with k, M or B: 10M")


def _require_same(work: Path, request: dict[str, Any]) -> None:
    """Refuse to go on from what was begun with other settings, another corpus or tokenizer."""
    path = work / "request.json"
    if not path.is_file():
        write_text(path, json.dumps(request))
    elif (begun := json.loads(path.read_text("utf-8"))) != request:
        other = ", ".join(name for name in request if begun.get(name) != request[name])
        raise StoreError(
            f"{work} holds an unfinished pretraining with another {other}; "
            "repeat its command to go on, or delete the folder to begin anew"
        )


def _pretrain(
    arch: str,
    size: str,
    corpus: list[Path],
    settings: "PretrainSettings",
    vocabulary: int,
    tokenizer: Path | None,
    seed: int,
    work: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Tokenizer and model, the latter in ``work/finished``."""
    from trilemma.training.corpus import read_texts
    from trilemma.training.pretraining import pretrain
    from trilemma.training.tokenizer import train_tokenizer

    if tokenizer is None:
        tokenizer = work / "tokenizer"
        if not tokenizer.exists():
            unfinished = work / "tokenizer.unfinished"
            train_tokenizer(read_texts(corpus), vocabulary).save_pretrained(unfinished)
            os.rename(unfinished, tokenizer)
    finished = work / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    facts = asdict(
        pretrain(
            arch,
            size,
            corpus,
            settings,
            tokenizer=tokenizer,
            seed=seed,
            out=finished,
            work=work,
            progress=progress,
        )
    )
    write_text(finished / "pretrain.json", json.dumps(facts, indent=1))
    return facts
