"""A part-of-speech tagger: HanTa, which installs from PyPI with its English model."""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trilemma.errors import AttackError

REMEDY = "`pip install HanTa`, or set `part_of_speech: false`"

MODEL = "morphmodel_en.pgz"

MOST_LETTERS = 40
"""Letters of a word that the tagger reads: its time grows with the square of their number."""

CLASSES = {"N": "noun", "V": "verb", "AJ": "adjective", "AV": "adverb"}
"""Parts of speech by the beginnings of the British National Corpus's tags (C5)."""


class Tagger:
    """Parts of speech of words in their sentence (Wartena 2019): a service of tuples of words.

    Raises:
        AttackError: if HanTa is not installed or has no English model.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec("HanTa")
        folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
        # A bare file name would be searched in the working directory first, and pickle opens it.
        models = [folder / MODEL for folder in folders if (folder / MODEL).is_file()]
        if not models:
            raise AttackError(f"parts of speech need the tagger HanTa, which is not installed; {REMEDY}")
        self._tagger: Any = importlib.import_module("HanTa.HanoverTagger").HanoverTagger(str(models[0]))

    def __call__(self, sentences: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """One part of speech per word: noun, verb, adjective, adverb, or the tag itself of other classes."""
        cut = [[word[:MOST_LETTERS] for word in words] for words in sentences]
        return [tuple(map(coarse, self._tagger.tag_sent(words, taglevel=0))) for words in cut]


def coarse(tag: str) -> str:
    """The part of speech of a C5 tag, as ``noun`` for ``NN1``; other tags stay as they are."""
    return next((name for start, name in CLASSES.items() if tag.startswith(start)), tag)
