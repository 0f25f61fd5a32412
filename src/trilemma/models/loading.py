"""Models and tokenizers from a folder or the hub, safely; what cannot be loaded is one clear sentence.

Only safetensors are read unless ``allow_pickle`` is given, and no code of a model's author is run unless
``trust_remote_code`` is given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

import trilemma.models  # noqa: F401  registers the architectures with the Auto classes
from trilemma.errors import ModelError, is_out_of_memory
from trilemma.models.checkpoints import require_complete, without_bars
from trilemma.models.description import describe as describe  # beside what loads
from trilemma.models.description import has_classifier, positions_of
from trilemma.models.matmul_free import HGRNBitPreTrainedModel
from trilemma.models.placement import place_in_large_pages
from trilemma.models.sizes import configuration, rounded_vocabulary
from trilemma.models.source import find
from trilemma.ops.ternary.packed import multiplies_packed


def load_classifier(
    source: str | Path,
    outputs: int,
    *,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    dtype: torch.dtype | None = None,
    seed: int | None = None,
) -> PreTrainedModel:
    """A sequence classifier, on the backbone of any checkpoint.

    Args:
        source: folder, or id on the hub.
        outputs: number of classes; 1 for a regression.
        trust_remote_code: run code that the checkpoint brings.
        allow_pickle: read ``pytorch_model.bin``, which can run code, where there are no safetensors.
        dtype: dtype of the weights; None keeps the file's, often bfloat16 (give float32 to train).
        seed: seed of a new head, where the checkpoint has none or one for another number of outputs.

    Returns:
        The model in evaluation mode, with a pad token. Its attribute ``loading_notes`` has sentences on
        layers of the backbone that are new, ``keeps_head`` says whether its head comes from the checkpoint.

    Raises:
        ModelError: if there is no such model, a file is broken or unsafe, or weights are missing.
    """
    if outputs < 1:
        raise ModelError(f"a classifier needs at least one output, not {outputs}")
    with _seeded(seed):
        model, info = _loaded(
            AutoModelForSequenceClassification,
            source,
            trust_remote_code,
            allow_pickle,
            dtype,
            num_labels=outputs,
            problem_type="regression" if outputs == 1 else "single_label_classification",
            ignore_mismatched_sizes=True,  # a head of another size is replaced; the rest is refused below
        )
    backbone = f"{model.base_model_prefix}."
    lost = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    # BERT's pooler stands between backbone and head and is absent from masked-language-model checkpoints
    require_complete(source, [name for name in lost if name.startswith(backbone) and ".pooler." not in name])
    pooler = any(name.startswith(backbone) for name in lost)
    model.loading_notes = ("the checkpoint has no pooler, so that layer is new and random",) if pooler else ()
    model.keeps_head = all(name.startswith(backbone) for name in lost)
    if getattr(model.config, "pad_token_id", None) is None:  # a model's own class may lack the field
        model.config.pad_token_id = load_tokenizer(source, trust_remote_code=trust_remote_code).pad_token_id
    return model


def load_language_model(
    source: str | Path,
    *,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    dtype: torch.dtype | None = None,
) -> PreTrainedModel:
    """A causal language model; arguments, result and errors as in :func:`load_classifier`."""
    model, info = _loaded(AutoModelForCausalLM, source, trust_remote_code, allow_pickle, dtype)
    require_complete(source, list(info["missing_keys"]))
    return model


def load_tokenizer(source: str | Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model; pads right, and a missing pad token falls back to eos.

    Raises:
        ModelError: if there is none, or it has neither a pad nor an eos token.
    """
    with _one_sentence(f"cannot load a tokenizer from {source}"):
        location = find(source, weights=False, allow_pickle=False)
        tokenizer = AutoTokenizer.from_pretrained(
            location.name,
            trust_remote_code=trust_remote_code,
            local_files_only=location.local_files_only,
        )
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(
                f"the tokenizer of {source} has neither a pad nor an eos token; add one of them to it"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return cast(PreTrainedTokenizerBase, tokenizer)


SAID_LENGTH = 1_000_000
"""A tokenizer's ``model_max_length`` from here on means that none was written down."""


def reading_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of a text that a checkpoint reads, as its tokenizer says (adaptation writes that down).

    Of one that does not say: the positions that its configuration names, else 512.
    """
    if tokenizer.model_max_length < SAID_LENGTH:
        return int(tokenizer.model_max_length)
    return positions_of(model.config) or 512


def create(arch: str, size: str, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A new causal language model with random weights.

    Args:
        arch: a name in ``trilemma.architectures.ARCHITECTURES``.
        size: a size that the architecture has.
        tokenizer: sets the vocabulary (rounded up to a multiple of 64) and the special tokens.
        seed: seed of the weights.
    """
    config = configuration(
        arch,
        size,
        rounded_vocabulary(len(tokenizer)),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with _seeded(seed):
        return cast(PreTrainedModel, AutoModelForCausalLM.from_config(config))


def deploy(model: PreTrainedModel) -> PreTrainedModel:
    """Change a model, in place, into the form in which it answers fastest on its device.

    MatMul-Free models are packed where there is a kernel for packed weights, and can no longer be trained;
    weights in CPU memory move into large pages.
    """
    if isinstance(model, HGRNBitPreTrainedModel) and multiplies_packed(model.device):
        model.pack()
    place_in_large_pages(model)
    return model


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write model (safetensors) and tokenizer as one Hugging Face folder."""
    with without_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _loaded(
    auto: Any,
    source: str | Path,
    trust_remote_code: bool,
    allow_pickle: bool,
    dtype: torch.dtype | None,
    **options: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model, and which weights its files lacked."""
    with _one_sentence(f"cannot load the model {source}"):
        location = find(source, weights=True, allow_pickle=allow_pickle)
        model, info = auto.from_pretrained(
            location.name,
            trust_remote_code=trust_remote_code,
            use_safetensors=None if allow_pickle else True,
            dtype=dtype or "auto",
            local_files_only=location.local_files_only,
            output_loading_info=True,
            **options,
        )
    return model, info


def require_classifier(source: str | Path, *, trust_remote_code: bool = False) -> None:
    """Refuse a model of a family that generates but has no sequence classifier, before it is loaded.

    Raises:
        ModelError: naming what can be done with it.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except Exception:  # loading it says what is wrong
        return
    if not has_classifier(config):
        raise ModelError(
            f"transformers has no sequence classifier for the type {config.model_type} of {source}, so it "
            "cannot be adapted to a task; `trilemma profile` measures how it generates"
        )


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Turn what the libraries raise and print into one sentence, with the error as its cause."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # missing weights are checked here, not left to a table in the log
    try:
        with without_bars():
            yield
    except ModelError:
        raise
    except Exception as error:  # a foreign checkpoint can fail in any way
        raise ModelError(f"{what}: {_reason(error)}") from error
    finally:
        logging.set_verbosity(verbosity)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, SafetensorError):
        return f"a weight file is damaged or incomplete ({text}); fetch it again"
    if "trust_remote_code" in text:
        return "it brings its own code; set trust_remote_code if you trust its author"
    if is_out_of_memory(error) or "alloc" in text.lower():
        return (
            "it takes more memory than there is; free some or use a smaller model, or correct the sizes in "
            "its config.json"
        )
    if isinstance(error, IndexError | KeyError | TypeError | AttributeError):
        return f"one of its JSON files is not as its kind of model has it ({text[:100]}); fetch it again"
    if "backend tokenizer" in text:
        return "there is no tokenizer file that can be read"
    return f"{text.split('. ')[0][:300]} ({type(error).__name__})"


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw new weights from ``seed`` and restore the generator; None draws from the generator as it is."""
    with torch.random.fork_rng(devices=(), enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield
