"""Transforms: a model folder in, a lighter model folder out, before adaptation.

A transform is a callable ``(source: Path, out: Path, seed: int) -> None`` that reads the Hugging Face
model folder ``source`` and writes another one, tokenizer included, to ``out``. Third parties name
theirs in the entry-point group ``trilemma.transforms``.
"""

from pathlib import Path
from typing import Protocol

from trilemma.registry import Registry


class Transform(Protocol):
    """Writes a changed copy of a model folder."""

    def __call__(self, source: Path, out: Path, seed: int) -> None:
        """Read ``source``, write ``out``; the same seed gives the same weights."""


TRANSFORMS: Registry[Transform] = Registry("transform", {})
