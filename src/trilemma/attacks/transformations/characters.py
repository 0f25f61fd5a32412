"""Misspellings: one small edit inside a word, which people read past.

TextBugger's bugs (Li et al. 2019, arXiv 1812.05271, section III) and DeepWordBug's edits (Gao et al. 2018,
arXiv 1801.04354, section III). Where in a word an edit falls is drawn once by word and seed, so that the same
word always gets the same misspellings, whatever text it stands in.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import Words

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt

Edit = Callable[[str, random.Random], str | None]
"""Another spelling of a word, or None where the word gives none."""

HOMOGLYPHS = dict(
    zip(
        "acdehijopqsvwxyABCEHIJKMOPSTXY",
        "\u0430\u0441\u0501\u0435\u04bb\u0456\u0458\u043e\u0440\u051b\u0455\u03bd\u051d\u0445\u0443"
        "\u0410\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u041e\u0420\u0405\u0422\u0425\u04ae",
        strict=True,
    )
)
"""Latin letters and those of Cyrillic or Greek that look the same (Unicode Technical Standard 39)."""

KEYS = {
    key: "".join(
        rows[y][x]
        for y in range(max(0, row - 1), min(3, row + 2))
        for x in range(max(0, column - 1), column + 2)
        if x < len(rows[y]) and (y, x) != (row, column)
    )
    for rows in [("qwertyuiop", "asdfghjkl", "zxcvbnm")]
    for row, keys in enumerate(rows)
    for column, key in enumerate(keys)
}
"""The keys around each letter of an English keyboard."""

LOOKALIKES = {
    "a": "@",
    "o": "0",
    "l": "1",
    "i": "1",
    "e": "3",
    "s": "$",
    "b": "6",
    "g": "9",
    "t": "7",
    "z": "2",
}
"""Digits and signs that are shaped like a letter."""

ZERO_WIDTH = ("\u200b", "\u200c", "\u2060")
"""Characters that take no room: space, non-joiner, word joiner."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def insert_space(word: str, rng: random.Random) -> str | None:
    """TextBugger's insertion: a space inside the word, which then is two unknown words."""
    if len(word) < 3:
        return None
    at = rng.randrange(1, len(word))
    return word[:at] + " " + word[at:]


def delete_inner(word: str, rng: random.Random) -> str | None:
    """TextBugger's deletion: a character that is neither the first nor the last."""
    if len(word) < 3:
        return None
    at = rng.randrange(1, len(word) - 1)
    return word[:at] + word[at + 1 :]


def swap_inner(word: str, rng: random.Random) -> str | None:
    """TextBugger's swap: two neighbours that are neither the first nor the last."""
    places = [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]
    return _swapped(word, rng.choice(places)) if places else None


def replace_by_homoglyph(word: str, rng: random.Random) -> str | None:
    """TextBugger's substitution, by a letter of another alphabet that looks the same."""
    places = [i for i, letter in enumerate(word) if letter in HOMOGLYPHS]
    return _with(word, at := rng.choice(places), HOMOGLYPHS[word[at]]) if places else None


def replace_by_lookalike(word: str, rng: random.Random) -> str | None:
    """TextBugger's substitution, by a digit or sign of the same shape."""
    places = [i for i, letter in enumerate(word) if letter.lower() in LOOKALIKES]
    return _with(word, at := rng.choice(places), LOOKALIKES[word[at].lower()]) if places else None


def replace_by_neighbouring_key(word: str, rng: random.Random) -> str | None:
    """TextBugger's substitution, by a key beside it."""
    places = [i for i, letter in enumerate(word) if letter.lower() in KEYS]
    if not places:
        return None
    at = rng.choice(places)
    key = rng.choice(KEYS[word[at].lower()])
    return _with(word, at, key.upper() if word[at].isupper() else key)


def swap(word: str, rng: random.Random) -> str | None:
    """DeepWordBug's swap: two neighbours."""
    places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    return _swapped(word, rng.choice(places)) if places else None


def substitute(word: str, rng: random.Random) -> str | None:
    """DeepWordBug's substitution: a letter by a random one."""
    at = rng.randrange(len(word))
    return _with(word, at, rng.choice([letter for letter in LETTERS if letter != word[at].lower()]))


def delete(word: str, rng: random.Random) -> str | None:
    """DeepWordBug's deletion: a random character."""
    if len(word) < 2:
        return None
    at = rng.randrange(len(word))
    return word[:at] + word[at + 1 :]


def insert(word: str, rng: random.Random) -> str | None:
    """DeepWordBug's insertion: a random letter."""
    at = rng.randrange(len(word) + 1)
    return word[:at] + rng.choice(LETTERS) + word[at:]


def insert_zero_width(word: str, rng: random.Random) -> str | None:
    """A character that takes no room, inside the word."""
    if len(word) < 2:
        return None
    at = rng.randrange(1, len(word))
    return word[:at] + rng.choice(ZERO_WIDTH) + word[at:]


def mix_scripts(word: str, rng: random.Random) -> str | None:
    """Every letter that has one by its homoglyph: the word looks the same and shares no byte."""
    mixed = "".join(HOMOGLYPHS.get(letter, letter) for letter in word)
    return mixed if mixed != word else None


TEXTBUGGER: tuple[Edit, ...] = (
    insert_space,
    delete_inner,
    swap_inner,
    replace_by_homoglyph,
    replace_by_lookalike,
    replace_by_neighbouring_key,
)
DEEPWORDBUG: tuple[Edit, ...] = (swap, substitute, delete, insert)
INVISIBLE: tuple[Edit, ...] = (insert_zero_width, mix_scripts)


@dataclass(frozen=True)
class Misspelling:
    """Each edit's spelling of a word.

    Args:
        edits: which.
        seed: of where in a word they fall.
    """

    edits: tuple[Edit, ...]
    seed: int = 0

    def propose(self, attempt: "Attempt", words: Words, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """One spelling an edit that the word allows."""
        yield from ()
        return [list(misspellings(words.words[i], self.edits, self.seed)) for i in positions]


@lru_cache(maxsize=1 << 16)
def misspellings(word: str, edits: tuple[Edit, ...], seed: int) -> tuple[str, ...]:
    """Distinct spellings of one word, none of them the word itself."""
    spellings = (edit(word, random.Random(f"{seed} {edit.__name__} {word}")) for edit in edits)
    return tuple(dict.fromkeys(one for one in spellings if one is not None and one != word))


def _with(word: str, at: int, letter: str) -> str:
    return word[:at] + letter + word[at + 1 :]


def _swapped(word: str, at: int) -> str:
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
