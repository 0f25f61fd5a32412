"""Architectures that a study can build from scratch, by name; a leaf, so that naming one loads no library.

An architecture is a callable ``(size, vocabulary, **fields) -> PretrainedConfig``: a size name, the rows of
the embedding, and configuration fields that take precedence. Its Auto classes must be registered once it is
imported. Third parties name theirs in the entry-point group ``trilemma.architectures``.
"""

from typing import Any, Protocol

from trilemma.registry import Registry


class Architecture(Protocol):
    """Makes the Hugging Face configuration of one size."""

    def __call__(self, size: str, vocabulary: int, **fields: Any) -> Any:
        """The configuration; raises ModelError (or KeyError) for a size that it does not have."""


ARCHITECTURES: Registry[Architecture] = Registry(
    "architecture",
    {
        "transformer-pp": "trilemma.models.sizes:transformer_pp",
        "gla": "trilemma.models.sizes:gla",
        "matmul-free": "trilemma.models.sizes:matmul_free",
    },
)

SIZES = ("nano", "micro", "small", "370m", "1.3b", "2.7b")
"""Sizes that the built-in architectures have."""
