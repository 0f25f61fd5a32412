"""What a model is, in the few facts that tables, reports and forecasts need."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from trilemma.models.backbone import LanguageModel
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.gla import GLAConfig
from trilemma.models.matmul_free import HGRNBitConfig
from trilemma.models.packed_ternary import PackedBitLinear
from trilemma.models.transformer_pp import TransformerConfig

POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe", "position_embedding")
"""Names under which Hugging Face models keep learned absolute positions, where a configuration does not say
how many there are."""

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
"""Names under which configurations say how many positions a model has."""

_RESERVED = 2
"""Most rows of a position table beyond its positions (OPT, BART, YOSO)."""


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
    outside = [_input_embeddings(model), model.get_output_embeddings(), *_position_tables(model)]
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
        causal=is_causal(model.config),
        fake_quantised=is_ternary(model.config) and not packed,
    )


def positions_of(config: Any) -> int | None:
    """How many positions a configuration names; with rotary or relative ones a model can take more."""
    found = (getattr(config, name, None) for name in _POSITIONS)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _input_embeddings(model: PreTrainedModel) -> Any:
    try:
        return model.get_input_embeddings()
    except NotImplementedError:  # CANINE hashes characters
        return None


def _position_tables(model: PreTrainedModel) -> list[nn.Module]:
    """Embeddings of as many rows as there are positions, but for the few that some families reserve."""
    positions, words = positions_of(model.config), _input_embeddings(model)
    found = []
    for name, module in model.named_modules():
        last, weight = name.rpartition(".")[2], getattr(module, "weight", None)
        if module is words or "rel" in last or not hasattr(module, "padding_idx") or weight is None:
            continue
        sized = positions is not None and 0 <= len(weight) - positions <= _RESERVED
        if last in POSITION_TABLES or (sized and "pos" in last):
            found.append(module)
    return found


def _max_length(model: PreTrainedModel) -> int | None:
    """The positions that the configuration names, if a table holds one row for each; else None.

    RoBERTa's relatives never give the rows up to the pad token's to a token, OPT's not its first two.
    """
    positions = positions_of(model.config)
    limits = []
    for table in _position_tables(model):
        reserved = getattr(table, "offset", 0)
        padding = getattr(table, "padding_idx", None)
        if padding is not None:
            reserved = padding + 1
        limits.append(len(getattr(table, "weight")) - reserved)  # noqa: B009  a plain module to mypy
    if positions is not None and (limits or _has_fixed_table(model, positions)):
        limits.append(positions)
    return min(limits, default=None)


def _has_fixed_table(model: PreTrainedModel, positions: int) -> bool:
    """Whether positions are in a table that is no embedding: CTRL's, GPT-J's, MPT's biases."""
    if getattr(model.config, "max_seq_len", None) == positions:
        return True
    for module in model.modules():
        held = {**vars(module), **module._buffers}
        for key, value in held.items():
            if "pos" in key and isinstance(value, Tensor) and value.ndim >= 2 and positions in value.shape:
                return True
    return False


def has_classifier(config: Any) -> bool:
    """Whether transformers, or the model's own code, has a sequence classifier for a configuration."""
    own = getattr(config, "auto_map", None) or {}
    return type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING or (
        "AutoModelForSequenceClassification" in own
    )


def is_causal(config: Any) -> bool:
    """Whether a configuration is of a model that generates, token after token, and reads from the left."""
    own = getattr(config, "auto_map", None) or {}
    generates = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in own
    if getattr(config, "is_encoder_decoder", False) or not generates:
        return False
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return not masked or bool(getattr(config, "is_decoder", False))
