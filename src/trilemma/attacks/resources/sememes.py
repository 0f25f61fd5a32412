"""Substitutes that share their sememes, the smallest units of meaning, as in HowNet.

Zang et al. 2020 (ACL 2020.acl-main.540), section 3.1: a word may stand for another if a sense of the one has
the same sememes as a sense of the other.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from trilemma.errors import AttackError

REMEDY = "give a JSON object of words to lists of sememes, or to lists of such lists, one per sense"


@lru_cache(maxsize=4)
def sememe_synonyms(path: str) -> Callable[[str], Sequence[str]]:
    """Substitutes by the lexicon at ``path``: words in lower case to words, in the lexicon's order.

    The paper also wants the same part of speech, which is a constraint here.

    Raises:
        AttackError: if the file cannot be read or is not such a lexicon.
    """
    senses = _read(path)
    words_of: dict[frozenset[str], dict[str, None]] = {}
    for word, some in senses.items():
        for sense in some:
            words_of.setdefault(sense, {})[word] = None

    def synonyms(word: str) -> tuple[str, ...]:
        found = {one: None for sense in senses.get(word, ()) for one in words_of[sense]}
        found.pop(word, None)
        return tuple(found)

    return synonyms


def _read(path: str) -> dict[str, dict[frozenset[str], None]]:
    """Senses of each word in lower case, in the file's order."""
    try:
        lexicon = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AttackError(f"the lexicon of sememes {path} cannot be read ({error}); {REMEDY}") from error
    if not isinstance(lexicon, dict) or not lexicon:
        raise AttackError(f"{path} is not a lexicon of sememes; {REMEDY}")
    senses: dict[str, dict[frozenset[str], None]] = {}
    for word, value in lexicon.items():
        some = senses.setdefault(word.lower(), {})
        for sense in _senses(path, word, value):
            some[sense] = None
    return senses


def _senses(path: str, word: str, value: Any) -> Iterator[frozenset[str]]:
    if not isinstance(value, list):
        raise AttackError(f"{path}: the entry of {word!r} is not a list; {REMEDY}")
    nested = value if all(isinstance(one, list) for one in value) else [value]
    for sense in nested:
        if not all(isinstance(one, str) for one in sense):
            raise AttackError(f"{path}: the entry of {word!r} is not of sememes alone; {REMEDY}")
        if sense:
            yield frozenset(sense)
