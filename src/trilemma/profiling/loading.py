"""Loading a model in the form in which it is measured."""

import warnings
from typing import Any

import torch
from transformers import AutoConfig

from trilemma.errors import ModelError, one_line
from trilemma.models.backbone import LanguageModel
from trilemma.models.description import is_ternary
from trilemma.models.loading import deploy, describe, load_classifier, load_language_model
from trilemma.models.placement import place_in_large_pages
from trilemma.profiling.models import ModelUnderTest

OUTPUTS = 2
"""Of the classification head; its cost is negligible whatever the task."""

LEAST_QUANTISED = 0.5
"""Share of the weights outside the embeddings that must become int8; below it the model is hardly int8."""


def load(model: ModelUnderTest, device: str, *, generates: bool = False, copied: bool = False) -> Any:
    """A model as it is trained, in evaluation mode, with its attention implementation.

    Args:
        model: which one.
        device: torch device.
        generates: with its language-model head, instead of a new classification head of two outputs.
        copied: weights moved out of the mapped file into memory of this process.

    Raises:
        ModelError: where it cannot be loaded, or has no such attention implementation.
    """
    flags: dict[str, Any] = {
        "trust_remote_code": model.trust_remote_code,
        "allow_pickle": model.allow_pickle,
        "dtype": getattr(torch, model.dtype),
    }
    module: Any
    if generates:
        module = load_language_model(model.folder, **flags)
    else:
        module = load_classifier(model.folder, OUTPUTS, seed=0, **flags)
    if copied:
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()
    module.to(device).eval()
    if model.attention:
        _set_attention(module, model)
    if model.compiled:
        module.compile()
    return module


def read_configuration(model: ModelUnderTest) -> Any:
    """The configuration in a model's folder.

    Raises:
        ModelError: where it cannot be read.
    """
    try:
        return AutoConfig.from_pretrained(model.folder, trust_remote_code=model.trust_remote_code)
    except Exception as error:  # a foreign configuration can fail in any way
        raise ModelError(
            f"{model.folder / 'config.json'} is not a readable model configuration ({one_line(error)})"
        ) from error


def put_in_form(module: Any, model: ModelUnderTest) -> Any:
    """Bring a loaded model into the form in which it answers, in place; returns it.

    Raises:
        ModelError: where the precision does not fit the model.
    """
    if model.precision == "deployed":
        return deploy(module)
    if model.precision == "int8":
        _quantise(module, model.name)
        return module
    if model.precision == "packed":
        if not is_ternary(module.config):
            raise ModelError(
                f"{model.name} has no ternary weights that could be packed; choose another precision for it"
            )
        module.pack()
    elif getattr(module.config, "packed", False):
        raise ModelError(f"the weights of {model.name} are packed in its files: choose the precision packed")
    place_in_large_pages(module)
    return module


def _set_attention(module: Any, model: ModelUnderTest) -> None:
    if isinstance(module, LanguageModel):
        raise ModelError(
            f"{model.name} mixes tokens by its own kernels, which have no {model.attention} form; "
            "leave out the attention implementation"
        )
    if not module._can_set_attn_implementation():
        raise ModelError(
            f"the class of {model.name} has only one attention implementation; leave the choice out"
        )
    try:
        module.set_attn_implementation(model.attention)
    except Exception as error:  # an unknown name, a package that is absent, a model that lacks it
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise ModelError(
            f"{model.name} cannot attend by {model.attention!r} ({reason}); try eager or sdpa"
        ) from error


def _quantise(module: Any, name: str) -> None:
    """Dynamic quantisation by torch: weights int8, activations rounded as they come (Linear layers alone).

    Raises:
        ModelError: where torch has no kernel, most weights are not in such layers, or the model fails then.
    """
    if module.device.type != "cpu":
        raise ModelError(f"torch quantises dynamically on processors alone, not on {module.device}; use cpu")
    weights = describe(module).non_embedding_parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that it will move to another package
        try:
            from torch.ao.quantization import quantize_dynamic

            quantise: Any = quantize_dynamic  # which torch has not typed
            quantise(module, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
        except (ImportError, RuntimeError) as error:
            raise ModelError(
                f"this torch cannot quantise dynamically ({error}); choose another precision"
            ) from error
    share = sum(layer.weight().numel() for layer in _quantised(module)) / max(weights, 1)
    if share < LEAST_QUANTISED:
        raise ModelError(
            f"torch's dynamic quantisation reaches {share:.0%} of the weights of {name} outside its "
            "embeddings, since they are not in layers of class torch.nn.Linear; choose another precision"
        )
    try:
        with torch.inference_mode():
            module.forward(input_ids=torch.ones(1, 2, dtype=torch.long))
    except Exception as error:  # a model may reach into the layers that were replaced
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name} does not run with layers that torch quantised ({type(error).__name__}: {reason}); "
            "choose another precision"
        ) from error


def weight_bytes(module: Any) -> int:
    """Bytes of all weights; packed ones, and those that torch quantised, as they are."""
    total = describe(module).weight_bytes
    for layer in _quantised(module):
        bias = layer.bias()
        total += layer.weight().numel() + (0 if bias is None else bias.numel() * bias.element_size())
    return total


def _quantised(module: Any) -> list[Any]:
    """The layers that torch quantised."""
    from torch.ao.nn.quantized.dynamic import Linear

    return [layer for layer in module.modules() if isinstance(layer, Linear)]
