"""Other inflections of a word: English's regular rules, and WordNet's lists of irregular forms.

Which words inflect, and as what part of speech, is read from WordNet's dictionary, since rules alone would
also compare nouns and put adverbs into the past.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from trilemma.attacks.resources.wordnet import WordNet
from trilemma.errors import AttackError

_VOWEL = re.compile(r"[aeiouy]+")
_DOUBLES = re.compile(r"[^aeiou]*[aeiou][bdgklmnprt]")
"""Verbs and adjectives of one short syllable double their last letter: stop, stopped; big, bigger."""
_SIBILANT = re.compile(r".*(?:s|x|z|ch|sh)")
_O_ES = frozenset(
    ["go", "do", "undergo", "outdo", "redo", "undo", "echo", "hero", "potato", "tomato", "veto", "embargo"]
)
"""Words in o that take -es; others take -s."""
_CONSONANT_Y = re.compile(r".*[^aeiou]y")


class Inflections:
    """Inflections of the words in a WordNet folder.

    Raises:
        AttackError: if a file is damaged.
    """

    def __init__(self, wordnet: WordNet) -> None:
        self._lemmas = {part: _lemmas(wordnet.folder, part) for part in ("noun", "verb", "adj")}
        self._irregular: dict[str, dict[str, list[str]]] = {}
        self._lemma_of: dict[str, dict[str, list[str]]] = {}
        for part in self._lemmas:
            self._irregular[part], self._lemma_of[part] = defaultdict(list), defaultdict(list)
            for form, *lemmas in _exceptions(wordnet.folder, part):
                for lemma in lemmas:
                    self._irregular[part][lemma].append(form)
                    self._lemma_of[part][form].append(lemma)

    def of(self, word: str) -> tuple[str, ...]:
        """Other inflections of a word in lower case; none of a word that WordNet lacks."""
        forms: dict[str, None] = {}
        for part, lemmas in self._lemmas.items():
            for lemma in self._stems(word, part):
                if lemma in lemmas:
                    forms.update(dict.fromkeys((lemma, *self._forms(lemma, part))))
        forms.pop(word, None)
        return tuple(forms)

    def _stems(self, word: str, part: str) -> Iterator[str]:
        """Lemmas of which a word may be an inflection."""
        yield word
        yield from self._lemma_of[part].get(word, ())
        for ending in {"noun": ("s", "es"), "verb": ("s", "es", "ed", "ing"), "adj": ("er", "est")}[part]:
            if not word.endswith(ending):
                continue
            stem = word[: -len(ending)]
            # liked, tried, stopped, lying
            for guess in (stem, stem + "e", stem[:-1] + "y", stem[:-1], stem[:-1] + "ie"):
                if guess in self._lemmas[part] and word in self._forms(guess, part):
                    yield guess

    def _forms(self, lemma: str, part: str) -> list[str]:
        """Inflections of a lemma; an irregular one replaces the regular one."""
        irregular = self._irregular[part].get(lemma, [])
        if part == "noun":
            return irregular or [with_s(lemma)]
        if part == "verb":
            past = [form for form in irregular if not form.endswith(("ing", "s"))]
            present = [form for form in irregular if form.endswith("ing")]
            third = [form for form in irregular if form.endswith("s")]
            return [
                *(third or [with_s(lemma)]),
                *(past or [with_ending(lemma, "ed")]),
                *(present or [with_ending(lemma, "ing")]),
            ]
        if irregular or not _is_short(lemma):
            return irregular
        return [with_ending(lemma, "er"), with_ending(lemma, "est")]


def with_s(word: str) -> str:
    """Plural of a regular noun, third person of a regular verb."""
    if _CONSONANT_Y.fullmatch(word):
        return word[:-1] + "ies"
    return word + ("es" if _SIBILANT.fullmatch(word) or word in _O_ES else "s")


def with_ending(word: str, ending: str) -> str:
    """A regular verb in ``ed`` or ``ing``, a regular adjective in ``er`` or ``est``."""
    if ending == "ing":
        if word.endswith("ie"):
            return word[:-2] + "ying"
        if word.endswith("e") and not word.endswith(("ee", "oe", "ye")) and word != "be":
            return word[:-1] + ending
    elif word.endswith("e"):
        return word + ending[1:]
    elif _CONSONANT_Y.fullmatch(word):
        return word[:-1] + "i" + ending
    return word + (word[-1] if _DOUBLES.fullmatch(word) else "") + ending


def _is_short(word: str) -> bool:
    """Whether an adjective takes -er and -est: one syllable, or two that end in y, but not a participle."""
    if word.endswith("ed") and len(word) > 4:
        return False
    syllables = len(_VOWEL.findall(word.removesuffix("e")))
    return syllables <= 1 or (syllables == 2 and word.endswith("y"))


def _lemmas(folder: Path, part: str) -> frozenset[str]:
    """Single words of a part of speech in the dictionary."""
    heads = (line.partition(" ")[0] for line in _lines(folder / f"index.{part}") if line[:1].strip())
    return frozenset(head for head in heads if head.isalpha())


def _exceptions(folder: Path, part: str) -> Iterator[list[str]]:
    """Irregular forms, each followed by its lemmas."""
    for line in _lines(folder / f"{part}.exc"):
        fields = line.split()
        if len(fields) > 1 and all(field.isalpha() for field in fields):
            yield fields


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise AttackError(
            f"{path} cannot be read ({error}); install it by `apt-get install wordnet-base`"
        ) from error
