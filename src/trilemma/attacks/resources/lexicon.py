"""A small lexicon of synonyms that comes with the package, so that words can be replaced offline.

It has the embedded suite's sets, and sets of common English words. In each set every word can replace every
other one in nearly all sentences (except for "a" and "an" before it): the same grammatical form, the same
sentiment, no other sense that is more frequent. A word belongs to one set only. It does not replace WordNet:
it is short, and rather leaves a word alone.
"""

from collections.abc import Mapping
from functools import lru_cache

from trilemma.attacks.words import word_sets
from trilemma.tasks.embedded.word_lists import SYNONYM_SETS
from trilemma.tasks.embedded.word_lists import synonyms as _of_the_suite


@lru_cache(maxsize=1)
def embedded_synonyms() -> Mapping[str, tuple[str, ...]]:
    """Synonyms by word, in lower case; the suite's rare words first."""
    suite = {word for one in SYNONYM_SETS for word in (*one.words, *one.rare)}
    found = {word: _of_the_suite(word) for word in suite}
    for words in word_sets("synonyms"):
        found |= {word: tuple(other for other in words if other != word) for word in words}
    return found
