"""Numbers of things in a hypothesis, stated weaker or exactly: StressTest's numerical reasoning."""

import random
import re
from functools import cache

from trilemma.attacks.words import word_list
from trilemma.tasks.task import Text

_YEAR = re.compile(r"(?:1\d|20)\d\d")
_BOUNDED = re.compile(
    r"n['’]t\b|\b(?:not|no|never|none|nobody|without|than|least|most|about|around|nearly|almost|only|exactly|"
    r"every|each|all|any|if|fewer|less|more|over|under|up|some|roughly|approximately|estimated|to|at|"
    r"for|between|first|last|next|the|those|these|his|her|its|their)\s*$|"
    r"n['’]t\b|\b(?:not|no|never|none|nobody|without|fewer|less|if|every|each|any|deny|denied|failed)\b",
    re.IGNORECASE,
)


@cache
def _things() -> re.Pattern[str]:
    """A number of things that are counted, as group ``n``."""
    return re.compile(
        r"(?<![\w.,:/$€£%#-])(?P<n>[1-9]\d{0,5}(?:,\d{3})*)"
        rf"(?= (?:million |billion )?(?:{'|'.join(word_list('counted'))})\b)"
    )


def _count(text: Text) -> re.Match[str] | None:
    """The hypothesis's only number, where it counts things and the premise contains it."""
    premise, hypothesis = text
    found = _things().search(hypothesis)
    if found is None or _YEAR.fullmatch(found["n"]) or len(re.findall(r"\d[\d,.]*", hypothesis)) != 1:
        return None
    if not re.search(rf"(?<![\w.,]){re.escape(found['n'])}(?![\w]|[.,]\d)", premise):
        return None
    return None if _BOUNDED.search(hypothesis[: found.start()]) else found


def _bounded(text: Text, found: re.Match[str], bound: str) -> Text:
    """The item with a bound in the place of the number; at the beginning of a sentence it gets a capital."""
    start = text[1][: found.start()]
    bound = bound if start.strip() else bound[0].upper() + bound[1:]
    return (text[0], start + bound + text[1][found.end() :])


def smaller(text: Text, rng: random.Random) -> list[Text]:
    """More than a smaller number of things, and at least that number; of three things at least."""
    found = _count(text)
    if found is None or int(found["n"].replace(",", "")) < 3:
        return []
    n = int(found["n"].replace(",", ""))
    less = n - rng.randint(1, max(1, n // 3))
    more = f"more than {less:,}" if "," in found["n"] else f"more than {less}"
    return [_bounded(text, found, more), _bounded(text, found, f"at least {found['n']}")]


def exact(text: Text, rng: random.Random) -> list[Text]:
    """Exactly that number of things."""
    found = _count(text)
    return [] if found is None else [_bounded(text, found, f"exactly {found['n']}")]
