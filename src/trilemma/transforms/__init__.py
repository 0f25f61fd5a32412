"""Transforms: a model folder in, a lighter model folder out, before adaptation.

A transform is a callable ``(source: Path, out: Path, seed: int) -> None`` that reads the Hugging Face
model folder ``source`` and writes another one, tokenizer included, to ``out``. Third parties name
theirs in the entry-point group ``trilemma.transforms``.
"""

from collections.abc import Callable
from pathlib import Path

from trilemma.registry import Registry

Transform = Callable[[Path, Path, int], None]
"""Reads the folder ``source`` and writes ``out``; the same seed gives the same weights."""

TRANSFORMS: Registry[Transform] = Registry("transform", files="trilemma.transforms")
