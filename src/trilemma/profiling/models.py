"""Which models are measured, and in which form: precision, attention implementation, compiled or not."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from trilemma.adapt.settings import AdaptSettings
from trilemma.architectures import DEFAULT_VOCABULARY, NewModel, parse_new_model
from trilemma.errors import ModelError, TrilemmaError
from trilemma.hardware.machine import Precision

SHAPELESS = {
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "finetuning_task",
}
"""Fields of a config.json that change neither shapes nor mathematics, and so not efficiency."""


@dataclass(frozen=True)
class ModelUnderTest:
    """A model whose efficiency is measured.

    Attributes:
        names: the candidate's name in a study; several where candidates differ in their weights only (the
            same architecture and size from scratch and pretrained), which are measured once.
        folder: Hugging Face folder with configuration and weights.
        trust_remote_code: whether code in the folder may run.
        allow_pickle: whether weights that are not safetensors may be opened.
        precision: of the weights where it answers; ``deployed`` is float32 in the form that is fastest, with
            ternary weights packed where there is a kernel for them.
        attention: Hugging Face's attention implementation; "" for the model's default.
        compiled: whether by ``torch.compile``.
        adaptations: how it is fine-tuned where training is measured; one per method.
    """

    names: tuple[str, ...]
    folder: Path
    trust_remote_code: bool = False
    allow_pickle: bool = False
    precision: Precision | Literal["deployed"] = "deployed"
    attention: str = ""
    compiled: bool = False
    adaptations: tuple[AdaptSettings, ...] = (AdaptSettings(),)

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]

    @property
    def dtype(self) -> Precision:
        """Of the weights as they are loaded and trained, a name of torch's."""
        return self.precision if self.precision in ("bfloat16", "float16") else "float32"

    @property
    def untrainable(self) -> str:
        """Why its weights cannot be trained; "" where they can."""
        return f"{self.precision} weights cannot be trained" if self.precision in ("int8", "packed") else ""

    def adaptation(self, method: str) -> AdaptSettings | None:
        """The settings by which it is adapted by ``method``, if it is."""
        return next((settings for settings in self.adaptations if settings.method == method), None)


def merge_same_shape(models: Iterable[ModelUnderTest]) -> list[ModelUnderTest]:
    """Join models of equal configuration, form, adaptations and loading flags under all their names.

    Raises:
        ModelError: where a folder holds no readable ``config.json``.
    """
    merged: dict[str, ModelUnderTest] = {}
    for model in models:
        shape = _shape(model)
        known = merged.get(shape)
        merged[shape] = model if known is None else replace(known, names=known.names + model.names)
    return list(merged.values())


def _shape(model: ModelUnderTest) -> str:
    shape = {key: value for key, value in _configuration(model.folder).items() if key not in SHAPELESS}
    flags = [model.trust_remote_code, model.allow_pickle, model.precision, model.attention, model.compiled]
    adaptations = [settings.model_dump(mode="json") for settings in model.adaptations]
    return json.dumps([shape, flags, adaptations], sort_keys=True)


def _configuration(folder: Path) -> dict[str, Any]:
    path = Path(folder) / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not a readable model configuration ({error}); name a model folder"
        ) from error
    return config


@contextmanager
def opened(
    sources: Sequence[str | Path],
    *,
    precisions: Sequence[Precision] = ("float32",),
    attention: Sequence[str] = ("",),
    compiled: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Iterator[list[ModelUnderTest]]:
    """Every source in every precision with every attention implementation, as long as the block runs.

    Args:
        sources: model folders, hub ids, or ``ARCH:SIZE`` for a new model with weights of seed 0.
        precisions: ``int8`` is torch's dynamic quantisation; ``packed``, ternary weights at two bits each,
            leaves out the models without such weights; see :func:`lacking`.
        attention: Hugging Face's names (``eager``, ``sdpa``, ...); "" for the model's default.
        compiled: whether by ``torch.compile``.
        trust_remote_code: run code that a checkpoint brings.
        allow_pickle: read weights that are not safetensors.

    Raises:
        TrilemmaError: where nothing is to be measured, or the same twice.
        ModelError: where a model cannot be found, or does not fit the only precision.
    """
    texts = [str(source) for source in sources]
    if not (texts and precisions and attention):
        raise TrilemmaError("name at least one model (a folder, a hub id, or ARCH:SIZE) and one precision")
    for values, what in ((texts, "model"), (precisions, "precision"), (attention, "attention")):
        if twice := [value for value in values if list(values).count(value) > 1]:
            raise TrilemmaError(f"the {what} {twice[0]} is named twice; name each once")
    with TemporaryDirectory(prefix="trilemma-profile-") as made:
        folders = [
            _folder(text, Path(made) / str(index), trust_remote_code, allow_pickle)
            for index, text in enumerate(texts)
        ]
        found = [
            ModelUnderTest(
                (name,), folder, trust_remote_code, allow_pickle, precision, implementation, compiled
            )
            for (name, folder), precision, implementation in product(
                zip(_labels(texts), folders, strict=True), precisions, attention
            )
            if precision != "packed" or _packs(name, folder, required=len(precisions) == 1)
        ]
        yield found


def lacking(
    models: Sequence[ModelUnderTest], precisions: Sequence[Precision]
) -> Iterator[tuple[str, Precision]]:
    """Names of the models that there are not in all precisions, with each that is lacking."""
    known = {(name, model.precision): name for model in models for name in model.names}
    yield from (one for one in product(dict.fromkeys(known.values()), precisions) if one not in known)


def _labels(texts: Sequence[str]) -> list[str]:
    """The last part of a folder's path where that tells the models apart; of one called `model` two parts."""
    parts = [Path(text).resolve().parts if Path(text).exists() else (text,) for text in texts]
    short = ["/".join(own[-2:] if own[-1] == "model" else own[-1:]) for own in parts]
    return [label if short.count(label) == 1 else text for label, text in zip(short, texts, strict=True)]


def _packs(name: str, folder: Path, *, required: bool) -> bool:
    from trilemma.models.description import is_ternary

    kind = str(_configuration(folder).get("model_type"))
    if required and not is_ternary(kind):
        raise ModelError(f"{name} (model type {kind}) has no ternary weights; only those can be packed")
    return is_ternary(kind)


def _folder(text: str, made: Path, trust_remote_code: bool, allow_pickle: bool) -> Path:
    """A local folder with the model's files."""
    from trilemma.models.checkpoints import require_buildable
    from trilemma.models.source import download, find

    if new := parse_new_model(text):
        _create(new, made)
        return made
    found = find(text, weights=True, allow_pickle=allow_pickle)
    folder = Path(found.name)
    if not folder.is_dir():
        folder = download(
            found.name,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            local_files_only=found.local_files_only,
        )
    require_buildable(folder)
    return folder


def _create(new: NewModel, folder: Path) -> None:
    """Write a model of a built-in architecture, from scratch.

    It needs no tokenizer, since it is measured on random tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from trilemma.models.checkpoints import without_bars
    from trilemma.models.sizes import configuration

    config = configuration(*new, DEFAULT_VOCABULARY, bos_token_id=0, eos_token_id=0, pad_token_id=1)
    with without_bars(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
