"""Names, places and numbers swapped, the same in all texts of an item (CheckList's tests of invariance)."""

import random
import re
from collections.abc import Callable, Iterable, Sequence

from trilemma.attacks.templates.template import Template
from trilemma.tasks.task import Text

VARIANTS = 3
"""Swaps that are drawn an item."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MEN = _words("""
James John Robert Michael David Richard Joseph Thomas Charles Daniel Matthew Anthony Steven Paul Andrew
Kevin Brian George Edward Ronald Timothy Jason Jeffrey Gary Nicholas Eric Stephen Jonathan Larry Benjamin
Samuel Gregory Alexander Patrick Peter Henry Walter Arthur Fred Sam Tom Tim Joe Jim Mike Steve Dave Bob
Harry Simon Martin Adam Omar Henrik Tomas Pavel Diego Marcus Oscar Viktor Jonas Felix Hugo Emil Ivan
""")
WOMEN = _words("""
Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Sarah Karen Nancy Lisa Betty Margaret Sandra
Emily Donna Michelle Amanda Dorothy Melissa Deborah Stephanie Rebecca Laura Sharon Cynthia Kathleen Amy
Angela Anna Pamela Emma Nicole Helen Samantha Katherine Christine Rachel Carolyn Janet Catherine Maria
Heather Diane Ruth Julie Jane Lauren Alice Judy Martha Sally Beth Ann Lucia Mei Aisha Ingrid Leila Yuki
Fatima Elena Priya Clara Amara Nadia Rosa Zara Greta
""")
"""First names that are hardly ever another word."""

CITIES = _words("""
Paris London Berlin Rome Madrid Vienna Moscow Tokyo Beijing Cairo Boston Chicago Seattle Denver Houston
Dallas Atlanta Miami Detroit Toronto Sydney Dublin Oslo Lima Kyoto Nairobi Lisbon Prague Hanoi Athens
Bergen Quito Zagreb Havana Geneva Tunis Riga Bogota Malmo Mumbai Delhi Karachi Istanbul Warsaw Budapest
Brussels Amsterdam Stockholm Bangalore Chennai Pune Hyderabad Shanghai Manila Jakarta
""")
COUNTRIES = _words("""
France Germany Italy Spain Japan China India Brazil Mexico Canada Australia Egypt Kenya Peru Norway
Sweden Poland Greece Iran Iraq Israel Russia Pakistan Cuba Vietnam Portugal Ireland Austria Argentina
Colombia Nigeria Indonesia Thailand Denmark Finland Hungary Ukraine Afghanistan
""")
_BELONGING = frozenset(
    _words("""
french german italian spanish japanese chinese indian indians brazilian mexican canadian australian
egyptian kenyan peruvian norwegian swedish polish greek iranian iraqi israeli russian pakistani cuban
vietnamese portuguese irish austrian argentine colombian nigerian indonesian thai danish finnish
hungarian ukrainian afghan american americans british english european asian african us u.s uk usa
america europe asia africa britain england scotland united states kingdom parisian londoners roman
viennese muscovites turkish turkey state province region county capital country city river texas
california florida illinois colorado georgia massachusetts washington
""")
)
"""Words by which a text ties a place to another: there the place stays."""

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


def swapped_names(extra_men: Sequence[str] = ()) -> Template:
    """First names for others that the same people bear.

    Args:
        extra_men: names of men that are safe to swap in the task's texts alone.
    """
    groups = ((*MEN, *extra_men), WOMEN)

    def rewrite(text: Text, rng: random.Random) -> Iterable[Text]:
        small = all(part == part.lower() for part in text)
        found = [[name for name in group if _occurs(name, text, small)] for group in groups]
        if not any(found):
            return
        for _ in range(VARIANTS):
            new: dict[str, str] = {}
            for group, names in zip(groups, found, strict=True):
                # A name that stands anywhere already would make one person of two.
                free = [name for name in group if not _anywhere(name, text)]
                new |= zip(names, rng.sample(free, min(len(names), len(free))), strict=False)
            yield _replaced(text, new, small)

    return Template(
        "names",
        "checklist",
        "the same people bear other names of the same gender, in all places of all texts; nothing that is "
        "said of them is changed",
        rewrite,
    )


def swapped_places() -> Template:
    """A city for another, or a country for another."""

    def rewrite(text: Text, rng: random.Random) -> Iterable[Text]:
        words = {word.rstrip(".").lower() for part in text for word in _WORD.findall(part)}
        here = [place for place in (*CITIES, *COUNTRIES) if place.lower() in words]
        if len(here) != 1 or words & _BELONGING:
            return
        [place] = here
        if not _occurs(place, text, small=False) or _part_of_a_name(place, text):
            return
        others = [other for other in (CITIES if place in CITIES else COUNTRIES) if other != place]
        for other in rng.sample(others, VARIANTS):
            yield _replaced(text, {place: other}, small=False)

    return Template(
        "places",
        "checklist",
        "the only place that is named is another one, in all places of all texts, and no text ties it to a "
        "further place",
        rewrite,
    )


def swapped_numbers() -> Template:
    """A number for another one."""

    def rewrite(text: Text, rng: random.Random) -> Iterable[Text]:
        numbers = {number for part in text for number in _NUMBER.findall(part)}
        # Where other digits stand, as in 1980s beside 1980, the two would be torn apart.
        alone = all(_ANY_DIGIT.findall(part) == _NUMBER.findall(part) != [] for part in text)
        if len(numbers) != 1 or not alone or any(_NUMBER_WORD.search(part) for part in text):
            return
        [number] = numbers
        if int(number) <= 31 and any(_MONTH.search(part) for part in text):
            return
        low = max(13, 10 ** (len(number) - 1))
        near = [
            n for n in range(int(number) - 9, int(number) + 10) if n >= low and len(str(n)) == len(number)
        ]
        others = [str(n) for n in near if str(n) != number]
        for other in rng.sample(others, min(VARIANTS, len(others))):
            yield tuple(_NUMBER.sub(other, part) for part in text)

    return Template(
        "numbers",
        "checklist",
        "the only number is another one, in all places of all texts, and nothing is counted or compared "
        "beside it",
        rewrite,
    )


def _bounded(name: str) -> str:
    return rf"(?<![\w'’-]){_TITLES}{re.escape(name)}(?![\w-]|['’](?!s\b)| [IVX]+\b)"


def _occurs(name: str, text: Text, small: bool) -> bool:
    """Whether a name stands in every text of an item, as a name."""
    written = name.lower() if small else name
    if not all(written in part for part in text):  # quick, and mostly enough
        return False
    return all(re.search(_bounded(written), part) for part in text)


def _anywhere(name: str, text: Text) -> bool:
    return any(name.lower() in part.lower() for part in text)


def _part_of_a_name(place: str, text: Text) -> bool:
    joined = rf"[A-Z][\w'’.]*[ -]{place}\b|\b{place}[ -](?:[A-Z]|\d)"
    return any(re.search(joined, part) for part in text)


def _replaced(text: Text, new: dict[str, str], small: bool) -> Text:
    """All names at once, so that two may change places."""
    if not new:
        return text
    if small:
        new = {old.lower(): name.lower() for old, name in new.items()}
    pattern = re.compile("|".join(_bounded(name) for name in new))
    write: Callable[[re.Match[str]], str] = lambda found: new[found.group()]  # noqa: E731
    return tuple(pattern.sub(write, part) for part in text)
