"""Rules that say the same in another form, after AdvFever (Thorne et al. 2019, EMNLP D19-1292).

AdvFever rewrites claims by patterns, some of which keep a claim's meaning and some of which turn it. Only
rules that keep it are here, rewritten, in ``rules.yaml``; each says why. A rule applies to texts of one
sentence; the last ones, which introduce a text, apply to any.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.sentences.style import (
    before,
    is_one_sentence,
    is_question,
    with_capital,
    without_capital,
)
from trilemma.attacks.words import word_map

_NAME = r"(?!(?:The|A|An|This|That|These|Those|It|He|She|They|We|I|You|There|Who|What|In|On|At|\w+ing)\b)" + (
    r"[A-Z][\w'’-]*(?: (?:(?:of|de|da|van|von) )?[A-Z][\w'’-]*){0,5}"
)
_NO_PREPOSITION = r"(?!(?:in|on|at|for|from|to|of|with|by|as|last|and|that|who|which)\b)[\w'’-]+"
_SCOPED = re.compile(
    r"n['’]t\b|\b(?:not|no|never|none|nobody|nothing|every|each|all|only|any|that|who|whom|which|whose|to|said|"
    r"says|and|but|or|if|when|because|while|than|as)\b",
    re.IGNORECASE,
)
"""Words after which a phrase at the end of a sentence may belong to something else."""
_SUBORDINATE = re.compile(r"\b(?:that|where|how|who|which|whether)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"(?:he|she|it|they|his|her|its|their|him|them|this|that|these|those|then)\b", re.I)


def _active(found: re.Match[str]) -> str:
    thing, participle, agent = found.groups()
    return (
        f"It was {without_capital(agent)} that {word_map('participles')[participle]} {without_capital(thing)}"
    )


def _passive(found: re.Match[str]) -> str:
    agent, past, thing = found.groups()
    participle = next(one for one, its in word_map("participles").items() if its == past)
    return f"{thing} was {participle} by {agent}"


def _place_first(found: re.Match[str]) -> str:
    thing, verb, place = found.groups()
    return f"{place} {'is' if verb in ('is', 'are') else 'was'} where {without_capital(thing)} {verb} located"


def _phrase_last(found: re.Match[str]) -> str | None:
    where, rest = found["where"], found["rest"]
    if _SCOPED.search(rest) or len(rest.split()) > 14:
        return None
    return f"{rest} {where[0].lower()}{where[1:]}"


def _clause_last(found: re.Match[str]) -> str | None:
    word, clause, rest = found["word"], found["clause"], found["rest"]
    negated = word == "Because" and re.search(r"n['’]t\b|\bnot\b", rest)
    if negated or _SUBORDINATE.search(rest) or _PRONOUN.match(rest) or rest.split()[0].endswith("ing"):
        return None
    return f"{rest} {word.lower()} {clause}"


_REWRITES: Mapping[str, Callable[[re.Match[str]], str | None]] = {
    "active": _active,
    "passive": _passive,
    "place first": _place_first,
    "phrase last": _phrase_last,
    "clause last": _clause_last,
}


@dataclass(frozen=True)
class Rule:
    """One rule, as in ``rules.yaml``.

    Attributes:
        name: of the rule.
        reason: why the meaning stays.
        mark: at the end of the texts that it takes: a question mark, or a full stop for all other texts.
        pattern: of the sentence without its mark.
        replacement: what is written instead.
        rewrite: the function that writes it.
        opening: put before any text; such a rule has no pattern.
    """

    name: str
    reason: str
    mark: str
    pattern: str = ""
    replacement: str = ""
    rewrite: str = ""
    opening: str = ""

    def applied(self, text: str) -> str | None:
        """The other form of a text, or None where the rule does not apply."""
        body, question = text.strip(), self.mark == "?"
        if self.opening:
            return before(text, self.opening) if body and is_question(text) == question else None
        if not is_one_sentence(body) or is_question(body) != question:
            return None
        body = body.removesuffix(self.mark).rstrip()
        # A sentence with another end, such as a quote or a bracket, is left alone.
        found = _compiled(self.pattern).fullmatch(body) if body[-1:].isalnum() else None
        if found is None:
            return None
        written = _REWRITES[self.rewrite](found) if self.rewrite else found.expand(self.replacement)
        return None if written is None else f"{with_capital(written)}{self.mark}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for name, meaning in {
        "<NAME>": _NAME,
        "<WORD>": _NO_PREPOSITION,
        "<PARTICIPLE>": "|".join(word_map("participles")),
        "<PAST>": "|".join(word_map("participles").values()),
    }.items():
        pattern = pattern.replace(name, meaning)
    return re.compile(pattern)


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, in the order of the file."""
    written = (files("trilemma.attacks.sentences") / "rules.yaml").read_text("utf-8")
    return tuple(Rule(**one) for one in yaml.safe_load(written))


def by_rules(item: Item, *, openings: bool) -> Steps[list[str]]:
    """One form of the text per rule that applies, in order; with ``openings`` by the rules that have one."""
    yield from ()
    used = (rule for rule in rules() if rule.opening or not openings)
    written = (rule.applied(item.original.text) for rule in used)
    return [form for form in written if form is not None]
