"""The forms in which a model is measured: precision, packing, attention implementation, compiled or not."""

import warnings
from typing import Any

import torch

from trilemma.errors import ModelError
from trilemma.models.backbone import LanguageModel
from trilemma.models.loading import deploy, describe, load_classifier, load_language_model
from trilemma.models.matmul_free import HGRNBitPreTrainedModel
from trilemma.models.placement import place_in_large_pages
from trilemma.profiling.subject import ProfiledModel

OUTPUTS = 2  # of the classification head; its cost is negligible whatever the task

LEAST_QUANTISED = 0.5
"""Share of the weights outside the embeddings that must become int8: below it the model is hardly int8."""


def load(subject: ProfiledModel, device: str, *, generates: bool = False, copied: bool = False) -> Any:
    """A model as it is trained, in evaluation mode, with its attention implementation.

    Args:
        subject: which model.
        device: torch device.
        generates: with its language-model head, instead of a new classification head of two outputs.
        copied: weights moved out of the mapped file into memory of their own.

    Raises:
        ModelError: where it cannot be loaded, or has no such attention implementation.
    """
    flags: dict[str, Any] = {
        "trust_remote_code": subject.trust_remote_code,
        "allow_pickle": subject.allow_pickle,
        "dtype": getattr(torch, subject.dtype),
    }
    model: Any
    if generates:
        model = load_language_model(subject.folder, **flags)
    else:
        model = load_classifier(subject.folder, OUTPUTS, seed=0, **flags)
    if copied:
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
    model.to(device).eval()
    if subject.attention:
        _set_attention(model, subject)
    if subject.compiled:
        model.compile()
    return model


def put_in_form(model: Any, subject: ProfiledModel) -> Any:
    """Bring a loaded model into the form in which it answers, in place; returns it.

    Raises:
        ModelError: where the form does not fit the model.
    """
    if subject.form == "deployed":
        return deploy(model)
    if subject.form == "int8":
        _quantise(model, subject.name)
        return model
    if subject.form == "packed":
        if not isinstance(model, HGRNBitPreTrainedModel):
            raise ModelError(
                f"{subject.name} has no ternary weights that could be packed; choose another dtype for it"
            )
        model.pack()
    elif getattr(model.config, "packed", False):
        raise ModelError(f"the weights of {subject.name} are packed in its files: choose the dtype packed")
    place_in_large_pages(model)
    return model


def _set_attention(model: Any, subject: ProfiledModel) -> None:
    if isinstance(model, LanguageModel):
        raise ModelError(
            f"{subject.name} mixes tokens by kernels of its own, which have no {subject.attention} form; "
            "leave out the attention implementation"
        )
    if not model._can_set_attn_implementation():
        raise ModelError(
            f"the class of {subject.name} has one attention implementation alone; leave the choice out"
        )
    try:
        model.set_attn_implementation(subject.attention)
    except Exception as error:  # an unknown name, a package that is absent, a model that lacks it
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise ModelError(
            f"{subject.name} cannot attend by {subject.attention!r} ({reason}); try eager or sdpa"
        ) from error


def _quantise(model: Any, name: str) -> None:
    """Dynamic quantisation by torch: weights int8, activations rounded as they come (Linear layers alone).

    Raises:
        ModelError: where torch has no kernel, most weights are not in such layers, or the model fails then.
    """
    if model.device.type != "cpu":
        raise ModelError(f"torch quantises dynamically on processors alone, not on {model.device}; use cpu")
    if model.dtype is not torch.float32:
        raise ModelError(f"torch quantises float32 weights dynamically, those of {name} are {model.dtype}")
    weights = describe(model).non_embedding_parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that it will move to another package
        try:
            from torch.ao.quantization import quantize_dynamic

            quantise: Any = quantize_dynamic  # which torch has not typed
            quantise(model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
        except (ImportError, RuntimeError) as error:
            raise ModelError(
                f"this torch cannot quantise dynamically ({error}); choose another dtype"
            ) from error
    share = sum(layer.weight().numel() for layer in _quantised(model)) / max(weights, 1)
    if share < LEAST_QUANTISED:
        raise ModelError(
            f"torch's dynamic quantisation reaches {share:.0%} of the weights of {name} outside its "
            "embeddings, since they are not in layers of class torch.nn.Linear; choose another dtype"
        )
    try:
        with torch.inference_mode():
            model.forward(input_ids=torch.ones(1, 2, dtype=torch.long))
    except Exception as error:  # a model may reach into the layers that were replaced
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name} does not run with layers that torch quantised ({type(error).__name__}: {reason}); "
            "choose another dtype"
        ) from error


def weight_bytes(model: Any) -> int:
    """Bytes of all weights; packed ones, and those that torch quantised, as they are."""
    total = describe(model).weight_bytes
    for layer in _quantised(model):
        bias = layer.bias()
        total += layer.weight().numel() + (0 if bias is None else bias.numel() * bias.element_size())
    return total


def _quantised(model: Any) -> list[Any]:
    """The layers that torch quantised."""
    from torch.ao.nn.quantized.dynamic import Linear

    return [module for module in model.modules() if isinstance(module, Linear)]
