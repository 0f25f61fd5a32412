"""What the grammars of the embedded suite share: an item in its several wordings."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trilemma.tasks.embedded.word_lists import SynonymSet
from trilemma.tasks.task import Text


@dataclass(frozen=True)
class GeneratedItem:
    """One drawn meaning and its wordings, which share the label by construction.

    Attributes:
        label: class index.
        text: the plain wording, from the templates of training and validation.
        rewritten: the same with another syntax that training text does not use.
        template: as a person would put it to mislead a model; hand-written templates.
    """

    label: int
    text: Text
    rewritten: Text
    template: Text


Draw = Callable[[random.Random, int], GeneratedItem]
"""Draws an item with the given label."""


def word(rng: random.Random, sets: Sequence[SynonymSet]) -> str:
    """A word that the grammars may write, from any of the sets."""
    return rng.choice(rng.choice(sets).words)


def sentence(text: str, end: str = ".") -> str:
    """Capitalised, with its final mark."""
    return text[0].upper() + text[1:] + end
