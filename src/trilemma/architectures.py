"""Architectures for models from scratch, by name; a leaf, so that naming one loads no library.

An architecture is a callable ``(size, vocabulary, **fields) -> PretrainedConfig``: a size name, the rows of
the embedding, and configuration fields that take precedence. Importing it must register its Auto classes.
Third parties name theirs in the entry-point group ``trilemma.architectures``.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from trilemma.errors import ModelError
from trilemma.registry import Registry

Architecture = Callable[..., Any]
"""Makes the configuration of one size; raises ModelError (or KeyError) for a size that it does not have."""

_BUILT_IN = {
    "transformer-pp": "trilemma.models.sizes:transformer_pp",
    "gla": "trilemma.models.sizes:gla",
    "matmul-free": "trilemma.models.sizes:matmul_free",
}
ARCHITECTURES: Registry[Architecture] = Registry("architecture", places=_BUILT_IN)

SIZES = ("nano", "micro", "small", "370m", "1.3b", "2.7b")
"""Sizes that the built-in architectures have."""

DEFAULT_VOCABULARY = 8192
"""Tokens of a tokenizer that is trained here, and embedding rows of a model that needs no tokenizer."""


class NewModel(NamedTuple):
    """A model from scratch: its architecture, and one of the sizes that the architecture has."""

    arch: str
    size: str


def parse_new_model(text: str) -> NewModel | None:
    """Read ``ARCH:SIZE``, such as ``gla:nano``.

    Returns:
        None for a text without colon, or that names an existing file or folder.

    Raises:
        ModelError: for an unknown architecture or size, naming the known ones.
    """
    arch, colon, size = text.partition(":")
    if not colon or os.path.exists(os.path.expanduser(text)):
        return None
    if arch not in ARCHITECTURES:
        raise ModelError(ARCHITECTURES.unknown(arch))
    if message := unknown_size(arch, size):
        raise ModelError(message)
    return NewModel(arch, size)


def unknown_size(arch: str | None, size: str) -> str:
    """An error message if a built-in architecture lacks the size; "" otherwise (a plug-in knows its own)."""
    lacking = arch in _BUILT_IN and size not in SIZES
    return f"unknown size {size!r}; known: {', '.join(SIZES)}" if lacking else ""
