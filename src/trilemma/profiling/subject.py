"""Which models are measured: folders on disk, each known by one or more names."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trilemma.adapt.settings import AdaptSettings
from trilemma.errors import ModelError

Form = Literal["deployed", "plain", "int8", "packed"]
"""In which form a model answers: ``deployed`` is the one in which it is fastest (MatMul-Free models packed),
``plain`` has its weights in their own precision, ``int8`` its linear layers quantised dynamically by torch,
``packed`` its ternary weights at two bits each."""

# Fields of a config.json that change neither shapes nor mathematics, hence not efficiency.
_SHAPELESS = {
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


@dataclass(frozen=True)
class ProfiledModel:
    """A model whose efficiency is measured.

    Attributes:
        names: the candidate's name in the study; several where candidates differ in their weights only
            (the same architecture and size from scratch and pretrained), which are measured once.
        folder: Hugging Face folder with configuration, weights and tokenizer.
        trust_remote_code: whether code in the folder may run.
        allow_pickle: whether weights that are not safetensors may be opened.
        dtype: precision that it is measured in, a name of torch's (``float32``, ``bfloat16``).
        adaptations: how it is fine-tuned where training is measured; one a method.
        form: in which it answers; it is trained as it is.
        attention: Hugging Face's attention implementation; "" for the model's default.
        compiled: whether by ``torch.compile``.
    """

    names: tuple[str, ...]
    folder: Path
    trust_remote_code: bool = False
    allow_pickle: bool = False
    dtype: str = "float32"
    adaptations: tuple[AdaptSettings, ...] = (AdaptSettings(),)
    form: Form = "deployed"
    attention: str = ""
    compiled: bool = False

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]

    @property
    def precision(self) -> str:
        """``int8``, ``packed``, or the dtype of its weights."""
        return self.form if self.form in ("int8", "packed") else self.dtype

    @property
    def trains(self) -> bool:
        """Whether its weights can be trained."""
        return self.form not in ("int8", "packed")

    @property
    def untrained(self) -> str:
        """Why they cannot."""
        return f"{self.form} weights cannot be trained"

    def adaptation(self, method: str) -> AdaptSettings | None:
        """The settings by which it is adapted by ``method``, if it is."""
        return next((settings for settings in self.adaptations if settings.method == method), None)


def merge_same_shape(models: Iterable[ProfiledModel]) -> list[ProfiledModel]:
    """Join models of equal configuration, precision, adaptations and loading flags under all their names.

    Raises:
        ModelError: where a folder holds no readable ``config.json``.
    """
    merged: dict[str, ProfiledModel] = {}
    for model in models:
        shape = _shape(model)
        known = merged.get(shape)
        merged[shape] = model if known is None else replace(known, names=known.names + model.names)
    return list(merged.values())


def _shape(model: ProfiledModel) -> str:
    path = Path(model.folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not a readable model configuration ({error}); name a model folder"
        ) from error
    shape = {key: value for key, value in config.items() if key not in _SHAPELESS}
    flags = [model.dtype, model.trust_remote_code, model.allow_pickle]
    flags += [model.form, model.attention, model.compiled]
    adaptations = [settings.model_dump(mode="json") for settings in model.adaptations]
    return json.dumps([shape, flags, adaptations], sort_keys=True)
