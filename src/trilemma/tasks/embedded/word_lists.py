"""The words of the embedded suite, from ``words.yaml``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

WORDS: Mapping[str, Any] = yaml.safe_load(
    (files("trilemma.tasks.embedded") / "words.yaml").read_text("utf-8")
)
"""All word lists of the file, by name."""


@dataclass(frozen=True)
class SynonymSet:
    """Words that can stand for each other in any sentence of the suite.

    Attributes:
        words: words that the grammars use.
        rare: words that only an attack uses.
    """

    words: tuple[str, ...]
    rare: tuple[str, ...]


def _sets(lines: Iterable[str]) -> tuple[SynonymSet, ...]:
    parts = [line.partition("|") for line in lines]
    return tuple(SynonymSet(tuple(words.split()), tuple(rare.split())) for words, _, rare in parts)


SETS: Mapping[str, tuple[SynonymSet, ...]] = {name: _sets(lines) for name, lines in WORDS["sets"].items()}
"""Synonym sets by meaning."""

SCALES = tuple(map(_sets, WORDS["scales"]))
"""Pairs of opposite sets."""

NAMES, PLACES = tuple(WORDS["names"]), tuple(WORDS["places"])

SYNONYM_SETS = tuple(one for sets in (*SETS.values(), *SCALES) for one in sets)


def synonyms(word: str) -> tuple[str, ...]:
    """Words that can replace ``word`` (lower case), rare ones first; empty where there is none."""
    found = _SET_OF.get(word)
    return () if found is None else tuple(other for other in (*found.rare, *found.words) if other != word)


_SET_OF: Mapping[str, SynonymSet] = {word: one for one in SYNONYM_SETS for word in (*one.words, *one.rare)}
