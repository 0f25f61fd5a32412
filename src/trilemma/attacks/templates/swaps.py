"""Names, places and numbers swapped, the same in all texts of an item (CheckList's tests of invariance)."""

import random
import re
from collections.abc import Iterable, Sequence

from trilemma.attacks.words import word_list
from trilemma.tasks.task import Text

VARIANTS = 3
"""Swaps that are drawn per item."""


_TITLES = "".join(
    rf"(?<!\b{title} )" for title in ("St.", "Saint", "San", "Santa", "Pope", "King", "Queen", "Prince")
)
_WORD = re.compile(r"[^\W\d_][\w.]*")
_NUMBER = re.compile(r"(?<![\w.,:/$€£%#-])[1-9]\d{1,5}(?![\w%]|[.,:/-]\d| ?%| ?percent)")
_ANY_DIGIT = re.compile(r"\d+")
_MONTH = re.compile(r"\b(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)(?:[a-z]*)\b", re.IGNORECASE)
_NUMBER_WORD = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|"
    r"seventy|eighty|ninety|hundred|thousand|million|billion|dozen|half|quarter|double|twice|once|percent|"
    r"first|second|third|century|decade|only)s?\b",
    re.IGNORECASE,
)


def swapped_names(text: Text, rng: random.Random, extra_men: Sequence[str] = ()) -> Iterable[Text]:
    """First names replaced by others, the same for the same people.

    ``extra_men`` are names that are safe to swap in the task's texts only.
    """
    groups = ((*word_list("men"), *extra_men), word_list("women"))
    small = all(part == part.lower() for part in text)
    found = [[name for name in group if _occurs(name, text, small)] for group in groups]
    if not any(found):
        return
    for _ in range(VARIANTS):
        new: dict[str, str] = {}
        for group, names in zip(groups, found, strict=True):
            # A name that the text contains already would make one person of two.
            free = [name for name in group if not any(name.lower() in part.lower() for part in text)]
            new |= zip(names, rng.sample(free, min(len(names), len(free))), strict=False)
        yield _replaced(text, new, small)


def swapped_places(text: Text, rng: random.Random) -> Iterable[Text]:
    """A city replaced by another one, or a country by another one."""
    cities, countries = word_list("cities"), word_list("countries")
    words = {word.rstrip(".").lower() for part in text for word in _WORD.findall(part)}
    here = [place for place in (*cities, *countries) if place.lower() in words]
    if len(here) != 1 or words.intersection(word_list("belonging")):
        return
    [place] = here
    if not _occurs(place, text, small=False) or _part_of_a_name(place, text):
        return
    others = [other for other in (cities if place in cities else countries) if other != place]
    for other in rng.sample(others, VARIANTS):
        yield _replaced(text, {place: other}, small=False)


def swapped_numbers(text: Text, rng: random.Random) -> Iterable[Text]:
    """A number replaced by another one."""
    numbers = {number for part in text for number in _NUMBER.findall(part)}
    # With other digits in the text, as in 1980s beside 1980, the two would no longer agree.
    alone = all(_ANY_DIGIT.findall(part) == _NUMBER.findall(part) != [] for part in text)
    if len(numbers) != 1 or not alone or any(_NUMBER_WORD.search(part) for part in text):
        return
    [number] = numbers
    if int(number) <= 31 and any(_MONTH.search(part) for part in text):
        return
    low = max(13, 10 ** (len(number) - 1))
    near = [n for n in range(int(number) - 9, int(number) + 10) if n >= low and len(str(n)) == len(number)]
    others = [str(n) for n in near if str(n) != number]
    for other in rng.sample(others, min(VARIANTS, len(others))):
        yield tuple(_NUMBER.sub(other, part) for part in text)


def _bounded(name: str) -> str:
    return rf"(?<![\w'’-]){_TITLES}{re.escape(name)}(?![\w-]|['’](?!s\b)| [IVX]+\b)"


def _occurs(name: str, text: Text, small: bool) -> bool:
    """Whether a name stands in every text of an item, as a name."""
    written = name.lower() if small else name
    if not all(written in part for part in text):  # fast, and mostly enough
        return False
    return all(re.search(_bounded(written), part) for part in text)


def _part_of_a_name(place: str, text: Text) -> bool:
    joined = rf"[A-Z][\w'’.]*[ -]{place}\b|\b{place}[ -](?:[A-Z]|\d)"
    return any(re.search(joined, part) for part in text)


def _replaced(text: Text, new: dict[str, str], small: bool) -> Text:
    """Replace all names at once, so that two may swap."""
    if not new:
        return text
    if small:
        new = {old.lower(): name.lower() for old, name in new.items()}
    pattern = re.compile("|".join(_bounded(name) for name in new))
    return tuple(pattern.sub(lambda found: new[found[0]], part) for part in text)
