"""MNLI, RTE and WNLI: whether a premise entails a hypothesis. What changes is no news, or is entailed."""

import random
import re

from trilemma.attacks.templates.additions import behind, denied, true_sums
from trilemma.attacks.templates.contractions import contraction, expansion
from trilemma.attacks.templates.swaps import swapped_names, swapped_numbers, swapped_places
from trilemma.attacks.templates.template import Template, in_one_text
from trilemma.tasks.task import Text

_THINGS = (
    "people|persons|men|women|children|members|inhabitants|residents|citizens|individuals|students|teachers|"
    "workers|employees|jobs|soldiers|troops|police|officers|victims|deaths|casualties|passengers|attorneys|"
    "lawyers|associates|countries|states|nations|cities|towns|villages|islands|companies|firms|banks|shops|"
    "stores|restaurants|hotels|rooms|houses|homes|buildings|churches|temples|museums|schools|universities|"
    "cars|trains|ships|boats|planes|aircraft|books|films|songs|stories|pandas|animals|birds|species|horses|"
    "dogs|cats|trees|wins|goals|games|medals|awards|votes|seats|bombs|attacks|tons|tonnes|miles|metres|meters|"
    "kilometres|kilometers|acres|hectares|copies|patients|cases|users|customers|prisoners|refugees"
)
_COUNT = re.compile(
    r"(?<![\w.,:/$€£%#-])(?P<n>[1-9]\d{0,5}(?:,\d{3})*)"
    rf"(?= (?:million |billion )?(?:{_THINGS})\b)"
)
_YEAR = re.compile(r"(?:1\d|20)\d\d")
_BOUNDED = re.compile(
    r"n['’]t\b|\b(?:not|no|never|none|nobody|without|than|least|most|about|around|nearly|almost|only|exactly|"
    r"every|each|all|any|if|fewer|less|more|over|under|up|some|roughly|approximately|estimated|to|at|"
    r"for|between|first|last|next|the|those|these|his|her|its|their)\s*$|"
    r"n['’]t\b|\b(?:not|no|never|none|nobody|without|fewer|less|if|every|each|any|deny|denied|failed)\b",
    re.IGNORECASE,
)


def _count(text: Text) -> re.Match[str] | None:
    """The hypothesis's only number, where it counts things and the premise has it."""
    premise, hypothesis = text
    found = _COUNT.search(hypothesis)
    if found is None or _YEAR.fullmatch(found["n"]) or len(re.findall(r"\d[\d,.]*", hypothesis)) != 1:
        return None
    if not re.search(rf"(?<![\w.,]){re.escape(found['n'])}(?![\w]|[.,]\d)", premise):
        return None
    return None if _BOUNDED.search(hypothesis[: found.start()]) else found


def _weaker(text: Text, rng: random.Random) -> list[Text]:
    found = _count(text)
    if found is None or int(found["n"].replace(",", "")) < 3:
        return []
    n = int(found["n"].replace(",", ""))
    less = n - rng.randint(1, max(1, n // 3))
    forms: list[Text] = []
    for written in (
        f"more than {less:,}" if "," in found["n"] else f"more than {less}",
        f"at least {found['n']}",
    ):
        start = text[1][: found.start()]
        # At the head of a sentence the bound takes the capital.
        written = written if start.strip() else written[0].upper() + written[1:]
        forms.append((text[0], start + written + text[1][found.end() :]))
    return forms


def _exact(text: Text, rng: random.Random) -> list[Text]:
    found = _count(text)
    if found is None:
        return []
    start = text[1][: found.start()]
    written = "exactly" if start.strip() else "Exactly"
    return [(text[0], f"{start}{written} {text[1][found.start() :]}")]


_OF_ALL: tuple[Template, ...] = (
    swapped_names(),
    contraction(),
    expansion(),
    Template(
        "neutral sentence",
        "checklist",
        "the premise says more, on how it goes on and on nothing that the hypothesis speaks of",
        in_one_text(0, *behind("More is said of this further down.", "The text goes on after this.")),
    ),
    true_sums("arithmetic in the premise", "a true sum adds nothing from which anything would follow", 0),
    true_sums(
        "arithmetic in the hypothesis",
        "a hypothesis joined with a true sum is true in just the cases in which it is alone",
        1,
    ),
    denied(1, "a denial that is denied leaves what is said as it is, so the same premises entail it"),
)

TEMPLATES: tuple[Template, ...] = (
    *_OF_ALL,
    swapped_places(),
    swapped_numbers(),
    Template(
        "smaller number",
        "stresstest",
        "who is entailed to have so many has more than fewer, and at least as many",
        _weaker,
        frozenset({"entailment"}),
    ),
    Template(
        "exact number",
        "stresstest",
        "exactly so many says no less than so many: what was not entailed, or was contradicted, still is",
        _exact,
        frozenset({"not_entailment", "neutral", "contradiction"}),
    ),
)

WNLI: tuple[Template, ...] = _OF_ALL
"""Its texts have neither places nor numbers, and its labels tell who a pronoun is."""
