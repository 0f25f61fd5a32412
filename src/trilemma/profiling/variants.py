"""Which models a profile is of: each source in each form that is asked for."""

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from trilemma.errors import ModelError, TrilemmaError
from trilemma.profiling.subject import Form, ProfiledModel

PRECISIONS = ("float32", "bfloat16", "float16", "int8", "packed")

VOCABULARY = 8192
"""Rows of the embedding of a model from scratch, as of the tokenizers that studies train."""

_FORMS: dict[str, Form] = {"int8": "int8", "packed": "packed"}
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


class Variant(NamedTuple):
    """One model in one form.

    Attributes:
        source: folder, hub id or ``ARCH:SIZE`` as it was asked for.
        subject: what is measured; named uniquely.
    """

    source: str
    subject: ProfiledModel


@contextmanager
def opened(
    sources: Sequence[str | Path],
    *,
    dtypes: Sequence[str] = ("float32",),
    attention: Sequence[str] = ("",),
    compiled: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Iterator[list[Variant]]:
    """Every source in every dtype with every attention implementation, as long as the block runs.

    Args:
        sources: model folders, hub ids, or ``ARCH:SIZE`` for a new model of ours, with weights of seed 0.
        dtypes: of :data:`PRECISIONS`; ``int8`` is torch's dynamic quantisation, ``packed`` the form of
            ternary weights at two bits each, in which models without them are left out; see :func:`lacking`.
        attention: Hugging Face's names (``eager``, ``sdpa``, ...); "" for the model's default.
        compiled: whether by ``torch.compile``.
        trust_remote_code: run code that a checkpoint brings.
        allow_pickle: read weights that are not safetensors.

    Raises:
        TrilemmaError: for a dtype that is not known, or nothing to measure.
        ModelError: where a model cannot be found, or does not fit the only dtype.
    """
    require_known(dtypes)
    texts = [str(source) for source in sources]
    if not texts or not attention:
        raise TrilemmaError("name at least one model: a folder, a hub id, or ARCH:SIZE such as gla:small")
    labels = _labels(texts)
    with TemporaryDirectory(prefix="trilemma-profile-") as made:
        folders = [
            _folder(text, Path(made) / str(index), trust_remote_code, allow_pickle)
            for index, text in enumerate(texts)
        ]
        if "packed" in dtypes:
            ternary = [
                _is_ternary(text, folder, required=len(dtypes) == 1)
                for text, folder in zip(texts, folders, strict=True)
            ]
        found = []
        for (text, label, folder), dtype, implementation in product(
            zip(texts, labels, folders, strict=True), dtypes, attention
        ):
            if dtype == "packed" and not ternary[texts.index(text)]:
                continue
            parts = [label, dtype if len(dtypes) > 1 else "", implementation if len(attention) > 1 else ""]
            subject = ProfiledModel(
                names=(" ".join(filter(None, parts)),),
                folder=folder,
                trust_remote_code=trust_remote_code,
                allow_pickle=allow_pickle,
                dtype="float32" if dtype in _FORMS else dtype,
                form=_FORMS.get(dtype, "plain"),
                attention=implementation,
                compiled=compiled,
            )
            found.append(Variant(text, subject))
        yield found


def lacking(variants: Sequence[Variant], dtypes: Sequence[str]) -> list[str]:
    """Which of the models could not be had in which dtype, in sentences."""
    forms: dict[str, set[str]] = {}
    for source, subject in variants:
        forms.setdefault(source, set()).add(subject.precision)
    return [
        f"{source} is not measured as {dtype}: it has no ternary weights"
        for source, known in forms.items()
        for dtype in dtypes
        if dtype not in known
    ]


def require_known(dtypes: Sequence[str]) -> None:
    """Refuse a dtype that does not exist, or is named twice.

    Raises:
        TrilemmaError: naming those there are.
    """
    for dtype in dtypes:
        if dtype not in PRECISIONS:
            close = difflib.get_close_matches(dtype, PRECISIONS, n=1)
            guess = f"did you mean {close[0]}? " if close else ""
            raise TrilemmaError(f"unknown dtype {dtype!r}; {guess}known: {', '.join(PRECISIONS)}")
    if not dtypes or len(set(dtypes)) < len(dtypes):
        raise TrilemmaError("name at least one dtype, and each once")


def _labels(texts: Sequence[str]) -> list[str]:
    """The last part of a folder's path where that tells the models apart."""
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise TrilemmaError(f"the model {twice} is named twice; name each once")
    short = [Path(text).resolve().name if Path(text).is_dir() else text for text in texts]
    return [label if short.count(label) == 1 else text for label, text in zip(short, texts, strict=True)]


def _folder(text: str, made: Path, trust_remote_code: bool, allow_pickle: bool) -> Path:
    """A local folder with the model's files."""
    from trilemma.models.loading import require_buildable
    from trilemma.models.source import find

    if ":" in text and not Path(text).exists():
        _create(text, made)
        return made
    place = find(text, weights=True, allow_pickle=allow_pickle)
    folder = Path(place.name)
    if not folder.is_dir():
        folder = _fetched(place.name, place.local_files_only, trust_remote_code, allow_pickle)
    require_buildable(folder)
    return folder


def _fetched(name: str, local: bool, trust_remote_code: bool, allow_pickle: bool) -> Path:
    """The snapshot of a hub model, downloaded once."""
    from huggingface_hub import snapshot_download

    patterns = [*_FILES, *(["*.py"] if trust_remote_code else []), *(["*.bin"] if allow_pickle else [])]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=local))
    except Exception as error:  # what a failing connection raises depends on the hub library's version
        raise ModelError(
            f"cannot fetch {name} from the Hugging Face Hub ({type(error).__name__}); check the connection, "
            "or name a folder"
        ) from error


def _create(text: str, folder: Path) -> None:
    """Write a model of one of our architectures, from scratch.

    Its vocabulary is :data:`VOCABULARY`; it needs no tokenizer, since it is measured on random tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from trilemma.models.sizes import configuration

    arch, _, size = text.partition(":")
    config = configuration(arch, size, VOCABULARY, bos_token_id=0, eos_token_id=0, pad_token_id=1)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()


def _is_ternary(text: str, folder: Path, *, required: bool) -> bool:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    kind = config.get("model_type") if isinstance(config, dict) else None
    if required and kind != "hgrn_bit":
        raise ModelError(
            f"{text} (model type {kind}) has no ternary weights; the dtype packed is for MatMul-Free models"
        )
    return kind == "hgrn_bit"
