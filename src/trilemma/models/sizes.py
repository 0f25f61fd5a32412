"""Configurations by architecture and size name.

``nano``, ``micro`` and ``small`` are for training from scratch: about 0.3, 3 and 30 million parameters beside
embeddings and head, within 3% of each other across the architectures. ``370m``, ``1.3b`` and ``2.7b`` are the
published shapes, whose names count all parameters.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig

from trilemma.architectures import ARCHITECTURES
from trilemma.errors import ModelError
from trilemma.models.gla import GLAConfig
from trilemma.models.matmul_free import HGRNBitConfig
from trilemma.models.transformer_pp import TransformerConfig


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
    try:
        config = ARCHITECTURES.get(arch)(size, vocabulary, **fields)
    except KeyError as error:
        raise ModelError(f"architecture {arch!r} has no size {size!r}") from error
    if not isinstance(config, PretrainedConfig):
        raise ModelError(f"architecture {arch!r} gave a {type(config).__name__}; expected a PretrainedConfig")
    return config


def transformer_pp(size: str, vocabulary: int, **fields: Any) -> TransformerConfig:
    """Transformer++ of a size in :data:`SHAPES`."""
    shape = _shape(size)
    return TransformerConfig(**{**_common(shape, vocabulary), "num_heads": shape.attention_heads, **fields})


def gla(size: str, vocabulary: int, **fields: Any) -> GLAConfig:
    """GLA of a size in :data:`SHAPES`."""
    shape = _shape(size)
    return GLAConfig(**{**_common(shape, vocabulary), "num_heads": shape.gla_heads, **fields})


def matmul_free(size: str, vocabulary: int, **fields: Any) -> HGRNBitConfig:
    """MatMul-Free LM of a size in :data:`SHAPES`."""
    return HGRNBitConfig(**{**_common(_shape(size), vocabulary), "num_heads": 1, **fields})


def _shape(size: str) -> Shape:
    if size not in SHAPES:
        raise ModelError(f"unknown size {size!r}; known: {', '.join(SHAPES)}")
    return SHAPES[size]


def _common(shape: Shape, vocabulary: int) -> dict[str, int | None]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.width,
    }


def rounded_vocabulary(tokens: int) -> int:
    """Embedding rows for ``tokens`` tokens: up to a multiple of 64, which matrix products prefer."""
    return 64 * -(-tokens // 64)
