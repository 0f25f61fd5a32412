"""Configurations by architecture and size name.

``nano``, ``micro`` and ``small`` are for training from scratch: about 0.3, 3 and 30 million parameters beside
embeddings and head, within 3% of each other across the architectures. ``370m``, ``1.3b`` and ``2.7b`` are the
published shapes, whose names count all parameters.
"""

from dataclasses import dataclass
from typing import Any

from trilemma.errors import ModelError
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.gla import GLAConfig
from trilemma.models.matmul_free import HGRNBitConfig
from trilemma.models.transformer_pp import TransformerConfig

CONFIGURATIONS: dict[str, type[LanguageModelConfig]] = {
    "transformer-pp": TransformerConfig,
    "gla": GLAConfig,
    "matmul-free": HGRNBitConfig,
}
ARCHITECTURES = tuple(CONFIGURATIONS)


@dataclass(frozen=True)
class Shape:
    """Shape of one size in all architectures.

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


SHAPES = {
    "nano": Shape(128, 2, 224, 4),
    "micro": Shape(256, 4, 640, 4),
    "small": Shape(512, 10, 1280, 8),
    "370m": Shape(1024, 24, None, 16),
    "1.3b": Shape(2048, 24, None, 32),
    "2.7b": Shape(2560, 32, None, 32, gla_heads=5),
}
SIZES = tuple(SHAPES)


def configuration(arch: str, size: str, vocabulary: int, **overrides: Any) -> LanguageModelConfig:
    """Configuration of a new model.

    Args:
        arch: a name in :data:`ARCHITECTURES`.
        size: a name in :data:`SIZES`.
        vocabulary: rows of the embedding.
        overrides: further configuration fields.

    Raises:
        ModelError: if a name is unknown or a field is out of range.
    """
    if arch not in CONFIGURATIONS:
        raise ModelError(f"unknown architecture {arch!r}; known: {', '.join(ARCHITECTURES)}")
    if size not in SHAPES:
        raise ModelError(f"unknown size {size!r}; known: {', '.join(SIZES)}")
    shape = SHAPES[size]
    heads = {"transformer-pp": shape.attention_heads, "gla": shape.gla_heads, "matmul-free": 1}[arch]
    fields = {
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.width,
        "num_heads": heads,
    }
    return CONFIGURATIONS[arch](**{**fields, **overrides})


def rounded_vocabulary(tokens: int) -> int:
    """Embedding rows for ``tokens`` tokens: up to a multiple of 64, which matrix products prefer."""
    return 64 * -(-tokens // 64)
