"""Contractions written out, and the other way round, by the rules in ``contractions.yaml``."""

import re
from functools import cache
from importlib.resources import files

import yaml

_TOKENS = re.compile(r"(\w)(n't|'(?:s|m|re))(?=\s)")


def expanded(text: str) -> str:
    """The text with those contractions written out whose long form is certain."""
    return _by_rules("expanded", text)


def contracted(text: str, only_not: bool = False) -> str:
    """The text with long forms contracted where that is always good English.

    ``only_not`` leaves out forms of "to be", which are wrong before a gap ("I know what it's").
    """
    new = _by_rules("contracted", text)
    new = new if only_not else _by_rules("contracted be", new)
    if new != text and re.search(r"\w (?:n't|'s)\b", text):  # a text whose tokens are separated
        new = _TOKENS.sub(r"\1 \2", new)
    return new


def _by_rules(name: str, text: str) -> str:
    for pattern, written in _rules()[name]:
        text = pattern.sub(written, text)
    return text


@cache
def _rules() -> dict[str, list[tuple[re.Pattern[str], str]]]:
    """Patterns and what replaces them, by the name of the list."""
    found = yaml.safe_load((files("trilemma.attacks.templates") / "contractions.yaml").read_text("utf-8"))
    words: dict[str, str] = found.pop("words")
    meaning = re.compile("|".join(words))
    return {
        name: [(re.compile(meaning.sub(lambda one: words[one[0]], pattern)), new) for pattern, new in rules]
        for name, rules in found.items()
    }
