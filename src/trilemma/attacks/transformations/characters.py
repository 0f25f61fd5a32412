"""Misspellings: one small edit inside a word, which people hardly notice.

TextBugger's bugs (Li et al. 2019, arXiv 1812.05271, section III) and DeepWordBug's edits (Gao et al. 2018,
arXiv 1801.04354, section III). The place of an edit in a word is drawn by word and seed, so that the same
word always gets the same misspellings, in any text.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.words import SplitText, word_map

Edit = Callable[[str, random.Random], str | None]
"""Another spelling of a word, or None where the edit does not apply."""

ZERO_WIDTH = ("\u200b", "\u200c", "\u2060")
"""Characters without width: space, non-joiner, word joiner."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def insert_space(word: str, rng: random.Random) -> str | None:
    """TextBugger's insertion: a space inside the word, which makes it two unknown words."""
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
    same = word_map("homoglyphs")
    places = [i for i, letter in enumerate(word) if letter in same]
    return _with(word, at := rng.choice(places), same[word[at]]) if places else None


def replace_by_lookalike(word: str, rng: random.Random) -> str | None:
    """TextBugger's substitution, by a digit or sign that looks alike."""
    alike = word_map("lookalikes")
    places = [i for i, letter in enumerate(word) if letter.lower() in alike]
    return _with(word, at := rng.choice(places), alike[word[at].lower()]) if places else None


def replace_by_neighbouring_key(word: str, rng: random.Random) -> str | None:
    """TextBugger's substitution, by a key beside it."""
    keys = word_map("keys")
    places = [i for i, letter in enumerate(word) if letter.lower() in keys]
    if not places:
        return None
    at = rng.choice(places)
    key = rng.choice(keys[word[at].lower()])
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
    """A character without width inside the word."""
    if len(word) < 2:
        return None
    at = rng.randrange(1, len(word))
    return word[:at] + rng.choice(ZERO_WIDTH) + word[at:]


def mix_scripts(word: str, rng: random.Random) -> str | None:
    """Every letter that has a homoglyph replaced by it: the word looks the same and shares no byte."""
    mixed = "".join(word_map("homoglyphs").get(letter, letter) for letter in word)
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
    """One spelling of a word for each edit; the seed draws the places in a word."""

    edits: tuple[Edit, ...]
    seed: int = 0

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """One spelling per edit that applies to the word."""
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
