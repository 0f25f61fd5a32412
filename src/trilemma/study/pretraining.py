"""`trilemma pretrain`: one model from scratch into a folder of the user's choice."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trilemma.errors import StoreError
from trilemma.progress import Progress, silent
from trilemma.study.store import locked, write_text


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
        settings: fields of ``PretrainSettings``.
        vocabulary: size of the tokenizer trained on the corpus where none is given.
        tokenizer: a tokenizer folder.
        seed: of weights and order.
        progress: told of tokens.

    Returns:
        The facts of the pretraining, as written to ``pretrain.json`` in the folder.

    Raises:
        StoreError: when ``out`` exists or another process is writing it.
    """
    from pydantic import ValidationError

    from trilemma.errors import StudyError
    from trilemma.models.corpus import read_texts
    from trilemma.models.pretraining import PretrainSettings, pretrain
    from trilemma.models.tokenizer import train_tokenizer

    if out.exists():
        raise StoreError(f"{out} exists already; choose another --out or remove it")
    try:
        checked = PretrainSettings.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(f"--{first['loc'][0]}: {first['msg']}".replace("_", "-")) from error
    work = out.with_name(f".{out.name}.partial")
    with locked(work):
        if tokenizer is None:
            tokenizer = work / "tokenizer"
            if not tokenizer.exists():
                unfinished = work / "tokenizer.unfinished"
                train_tokenizer(read_texts(list(corpus)), vocabulary).save_pretrained(unfinished)
                os.rename(unfinished, tokenizer)
        finished = work / "finished"
        shutil.rmtree(finished, ignore_errors=True)
        finished.mkdir()
        facts = asdict(
            pretrain(
                arch,
                size,
                list(corpus),
                checked,
                tokenizer=tokenizer,
                seed=seed,
                out=finished,
                work=work,
                progress=progress,
            )
        )
        write_text(finished / "pretrain.json", json.dumps(facts, indent=1))
        os.rename(finished, out)
    shutil.rmtree(work, ignore_errors=True)
    return facts
