"""What a model is, in the few facts that tables, reports and forecasts need."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from trilemma.models.backbone import LanguageModel
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.gla import GLAConfig
from trilemma.models.matmul_free import HGRNBitConfig
from trilemma.models.packed_ternary import PackedBitLinear
from trilemma.models.transformer_pp import TransformerConfig

POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe", "position_embedding")
"""Names under which Hugging Face models keep learned absolute positions."""


@dataclass(frozen=True)
class ModelDescription:
    """Facts of a model.

    Attributes:
        arch: name in :mod:`trilemma.architectures`; of other models Hugging Face's model type.
        parameters: all parameters, shared ones once.
        non_embedding_parameters: without input embedding, language-model head and learned positions.
        weight_bytes: bytes of all parameters, packed ones at two bits each.
        kernel: path that mixes tokens.
        max_length: most positions the model can take; None for no limit.
        causal: whether a token sees only earlier ones.
        fake_quantised: whether its weights act as -1, 0, 1 and are not packed.
    """

    arch: str
    parameters: int
    non_embedding_parameters: int
    weight_bytes: int
    kernel: str
    max_length: int | None
    causal: bool
    fake_quantised: bool = False


_CONFIGURATIONS: dict[str, type[LanguageModelConfig]] = {
    one.model_type: one for one in (TransformerConfig, GLAConfig, HGRNBitConfig)
}


def family_of(config: Any) -> str:
    """The name in :mod:`trilemma.architectures` for a configuration or model type; of others the type."""
    kind = _model_type(config)
    return _CONFIGURATIONS[kind].family if kind in _CONFIGURATIONS else kind


def is_ternary(config: Any) -> bool:
    """Whether the weights of a configuration or model type act as -1, 0, 1 and can be packed."""
    kind = _model_type(config)
    return kind in _CONFIGURATIONS and _CONFIGURATIONS[kind].is_ternary


def _model_type(config: Any) -> str:
    return config if isinstance(config, str) else str(config.model_type)


def describe(model: PreTrainedModel) -> ModelDescription:
    """Describe any Hugging Face model (also on the meta device)."""
    parameters = {id(parameter): parameter for parameter in model.parameters()}
    outside = [model.get_input_embeddings(), model.get_output_embeddings(), *_position_tables(model)]
    embedding = {
        id(one) for module in outside if isinstance(module, nn.Module) for one in module.parameters()
    }
    packed = [module for module in model.modules() if isinstance(module, PackedBitLinear)]
    return ModelDescription(
        arch=family_of(model.config),
        parameters=sum(p.numel() for p in parameters.values()) + sum(p.weights for p in packed),
        non_embedding_parameters=sum(p.numel() for key, p in parameters.items() if key not in embedding)
        + sum(layer.weights for layer in packed if layer not in outside),
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters.values())
        + sum(layer.packed.nbytes + layer.scale_bits.nbytes for layer in packed),
        kernel=model.kernel
        if isinstance(model, LanguageModel)
        else getattr(model.config, "_attn_implementation", None) or "eager",
        max_length=_max_length(model),
        causal=isinstance(model, LanguageModel) or _is_causal(model.config),
        fake_quantised=is_ternary(model.config) and not packed,
    )


def _position_tables(model: PreTrainedModel) -> list[nn.Embedding]:
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in POSITION_TABLES
    ]


def _max_length(model: PreTrainedModel) -> int | None:
    """Rows of the smallest position table, without those that RoBERTa and OPT never give to a token."""
    limits = []
    for table in _position_tables(model):
        reserved = getattr(table, "offset", 0)
        if table.padding_idx is not None:
            reserved = table.padding_idx + 1
        limits.append(table.num_embeddings - reserved)
    return min(limits, default=None)


def _is_causal(config: Any) -> bool:
    kind = config.model_type
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return False
    return kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or bool(getattr(config, "is_decoder", False))
