"""Configurations by architecture and size name.

``nano``, ``micro`` and ``small`` are for training from scratch: about 0.3, 3 and 30 million parameters beside
embeddings and head, within 3% of each other across the architectures. ``370m``, ``1.3b`` and ``2.7b`` are the
published shapes, whose names count all parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from transformers import PretrainedConfig

from trilemma.architectures import ARCHITECTURES, unknown_size
from trilemma.errors import ModelError
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.gla import GLAConfig
from trilemma.models.matmul_free import HGRNBitConfig
from trilemma.models.transformer_pp import TransformerConfig


class SizeSpec(NamedTuple):
    """Dimensions of one size in all architectures.

    Attributes:
        hidden_size: width D.
        layers: number of blocks.
        width: MLP width; None derives it as the published models do.
        attention_heads: heads of Transformer++.
        gla_heads: heads of GLA (keys of half the width, values of the full width).
    """

    hidden_size: int
    layers: int
    width: int | None
    attention_heads: int
    gla_heads: int = 4


SIZE_SPECS = {
    "nano": SizeSpec(128, 2, 224, 4),
    "micro": SizeSpec(256, 4, 640, 4),
    "small": SizeSpec(512, 10, 1280, 8),
    "370m": SizeSpec(1024, 24, None, 16),
    "1.3b": SizeSpec(2048, 24, None, 32),
    "2.7b": SizeSpec(2560, 32, None, 32, gla_heads=5),
}


def configuration(arch: str, size: str, vocabulary: int, **fields: Any) -> PretrainedConfig:
    """Configuration of a new model.

    Args:
        arch: a name in :data:`trilemma.architectures.ARCHITECTURES`.
        size: a size that the architecture has.
        vocabulary: rows of the embedding.
        fields: further configuration fields, which take precedence.

    Raises:
        TrilemmaError: if a name is unknown or a field is out of range.
    """
    if message := unknown_size(arch, size):
        raise ModelError(message)
    try:
        config = ARCHITECTURES.get(arch)(size, vocabulary, **fields)
    except KeyError as error:
        raise ModelError(f"architecture {arch!r} has no size {size!r}") from error
    if not isinstance(config, PretrainedConfig):
        kind = type(config).__name__
        raise ModelError(f"architecture {arch!r} returned a {kind}; it must return a PretrainedConfig")
    return config


def _sized(kind: type[LanguageModelConfig], heads: Callable[[SizeSpec], int]) -> Callable[..., Any]:
    """The architecture that makes configurations of a class, in the sizes of :data:`SIZE_SPECS`."""

    def sized(size: str, vocabulary: int, **fields: Any) -> LanguageModelConfig:
        spec = SIZE_SPECS[size]
        own = {
            "vocab_size": vocabulary,
            "hidden_size": spec.hidden_size,
            "num_hidden_layers": spec.layers,
            "intermediate_size": spec.width,
            "num_heads": heads(spec),
        }
        return kind(**{**own, **fields})

    return sized


transformer_pp = _sized(TransformerConfig, lambda spec: spec.attention_heads)
gla = _sized(GLAConfig, lambda spec: spec.gla_heads)
matmul_free = _sized(HGRNBitConfig, lambda spec: 1)


def rounded_vocabulary(tokens: int) -> int:
    """Embedding rows for ``tokens`` tokens: up to a multiple of 64, which matrix products prefer."""
    return 64 * -(-tokens // 64)
