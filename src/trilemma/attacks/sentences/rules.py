"""Rules that say the same in another form, after AdvFever (Thorne et al. 2019, EMNLP D19-1292).

AdvFever rewrites claims by patterns, some of which keep a claim's meaning and some of which turn it. Only
rules that keep it are here, written anew; each says why. A rule reads texts of one sentence; the last ones,
which introduce a text, take any.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.sentences.style import (
    before,
    is_one_sentence,
    is_question,
    with_capital,
    without_capital,
)

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt

_NAME = r"(?!(?:The|A|An|This|That|These|Those|It|He|She|They|We|I|You|There|Who|What|In|On|At|\w+ing)\b)" + (
    r"[A-Z][\w'’-]*(?: (?:(?:of|de|da|van|von) )?[A-Z][\w'’-]*){0,5}"
)
_NO_PREPOSITION = r"(?!(?:in|on|at|for|from|to|of|with|by|as|last|and|that|who|which)\b)[\w'’-]+"
_PASSIVE = {
    "written": "wrote",
    "directed": "directed",
    "founded": "founded",
    "invented": "invented",
    "discovered": "discovered",
    "produced": "produced",
    "designed": "designed",
    "built": "built",
    "painted": "painted",
    "composed": "composed",
    "killed": "killed",
    "led": "led",
    "created": "created",
    "developed": "developed",
    "published": "published",
    "bought": "bought",
    "acquired": "acquired",
    "won": "won",
    "arrested": "arrested",
    "attacked": "attacked",
}
_ACTIVE = {past: participle for participle, past in _PASSIVE.items()}
_SCOPED = re.compile(
    r"n['’]t\b|\b(?:not|no|never|none|nobody|nothing|every|each|all|only|any|that|who|whom|which|whose|to|said|"
    r"says|and|but|or|if|when|because|while|than|as)\b",
    re.IGNORECASE,
)
"""Words at which a phrase that moves to the end may change what it belongs to."""
_SUBORDINATE = re.compile(r"\b(?:that|where|how|who|which|whether)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"(?:he|she|it|they|his|her|its|their|him|them|this|that|these|those|then)\b", re.I)


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: of the rule.
        reason: why the meaning stays.
        rewrite: the other form of a text, or None where the rule does not apply.
    """

    name: str
    reason: str
    rewrite: Callable[[str], str | None]


def _pattern(
    pattern: str, form: Callable[[re.Match[str]], str | None], mark: str
) -> Callable[[str], str | None]:
    """A rule by a pattern over the sentence without the mark that ends it."""
    compiled = re.compile(pattern)

    def rewrite(text: str) -> str | None:
        body = text.strip()
        if not is_one_sentence(body) or is_question(body) != (mark == "?"):
            return None
        body = body.removesuffix(mark).rstrip()
        # An end of another kind, as a quote or a bracket, is left alone.
        found = compiled.fullmatch(body) if body[-1:].isalnum() else None
        written = None if found is None else form(found)
        return None if written is None else f"{written}{mark}"

    return rewrite


def _statement(name: str, reason: str, pattern: str, form: Callable[[re.Match[str]], str | None]) -> Rule:
    return Rule(name, reason, _pattern(pattern, form, "."))


def _question(name: str, reason: str, pattern: str, form: Callable[[re.Match[str]], str | None]) -> Rule:
    return Rule(name, reason, _pattern(pattern, form, "?"))


def _to_active(found: re.Match[str]) -> str:
    thing, participle, agent = found.groups()
    return f"It was {without_capital(agent)} that {_PASSIVE[participle]} {without_capital(thing)}"


def _to_passive(found: re.Match[str]) -> str:
    agent, past, thing = found.groups()
    return f"{with_capital(thing)} was {_ACTIVE[past]} by {agent}"


def _moved(found: re.Match[str]) -> str | None:
    where, rest = found["where"], found["rest"]
    if _SCOPED.search(rest) or len(rest.split()) > 14:
        return None
    return f"{with_capital(rest)} {where[0].lower()}{where[1:]}"


def _reordered(found: re.Match[str]) -> str | None:
    word, clause, rest = found["word"], found["clause"], found["rest"]
    negated = word == "Because" and re.search(r"n['’]t\b|\bnot\b", rest)
    if negated or _SUBORDINATE.search(rest) or _PRONOUN.match(rest) or rest.split()[0].endswith("ing"):
        return None
    return f"{with_capital(rest)} {word.lower()} {clause}"


STATEMENTS: tuple[Rule, ...] = (
    _statement(
        "year of birth or death",
        "the year is said of the same event, by naming the year first",
        rf"({_NAME}) (was born|died) in ([12]\d{{3}})",
        lambda found: f"{found[3]} is the year in which {found[1]} {found[2]}",
    ),
    _statement(
        "active for passive",
        "the one who acts and what is acted on are the same in both voices",
        rf"([A-Z][^,]{{2,60}}?) (?:was|were) ({'|'.join(_PASSIVE)}) by ((?:[Tt]he )?{_NAME})",
        _to_active,
    ),
    _statement(
        "passive for active",
        "the one who acts and what is acted on are the same in both voices",
        rf"({_NAME}) ({'|'.join(_ACTIVE)}) "
        rf"((?:the|a|an) (?:{_NO_PREPOSITION} ){{0,3}}{_NO_PREPOSITION}(?<!s)|{_NAME})",
        _to_passive,
    ),
    _statement(
        "both sides of an identity",
        "what is the one of its kind is the same thing, whichever of the two is named first",
        rf"({_NAME}) (is|was) (the (?:[a-z-]+ ){{1,4}}of (?:the )?{_NAME})",
        lambda found: f"{with_capital(found[3])} {found[2]} {found[1]}",
    ),
    _statement(
        "existence",
        "that a thing of that kind bears the name is what the sentence says of it",
        rf"({_NAME}) (is|was) (an?) ((?:[\w'’-]+ ){{0,4}}[\w'’-]+)",
        lambda found: f"There {found[2]} {found[3]} {found[4]} called {found[1]}",
    ),
    _statement(
        "place",
        "the place is the same, by naming it first",
        r"([A-Z][^,]{2,60}?) (is|was|are|were) located in ([^,]{2,60})",
        lambda found: (
            f"{with_capital(found[3])} {'is' if found[2] in ('is', 'are') else 'was'} where "
            f"{without_capital(found[1])} {found[2]} located"
        ),
    ),
    _statement(
        "time or place last",
        "a phrase of time or place belongs to its only clause, before it or behind it",
        r"(?P<where>(?:In|On|At|During|After|Before|Since) "
        r"(?!(?:short|fact|all|general|addition|contrast|particular|that|brief|last|least|case)\b)"
        r"[^,]{3,40}), (?P<rest>[^,:]{8,})",
        _moved,
    ),
    _statement(
        "clauses in the other order",
        "the conjunction joins the same two clauses, whichever is first",
        r"(?P<word>If|When|While|Because|Although|Though|After|Before|Unless) (?P<clause>[^,]{8,}), "
        r"(?P<rest>[^,:]{8,})",
        _reordered,
    ),
)

QUESTIONS: tuple[Rule, ...] = (
    _question(
        "in what way",
        "how a thing is done is in what way it is done",
        r"How (can|could|do|does|did|should|would) (?!.*\b(?:feel|know|rate|you do|like)\b)(.+)",
        lambda found: f"In what way {found[1]} {found[2]}",
    ),
    _question(
        "for what reason",
        "why is for what reason",
        r"Why ((?:is|are|was|were|do|does|did|has|have|can|could|would|should|will)(?:n['’]t)?) (.+)",
        lambda found: f"For what reason {found[1]} {found[2]}",
    ),
    _question(
        "at what time",
        "when is at what time",
        r"When (is|was|were|did|does|do|will) (.+)",
        lambda found: f"At what time {found[1]} {found[2]}",
    ),
    _question(
        "in what place",
        "where a thing is or can be had is in what place",
        r"Where (is|are|was|were|can) (.+(?<! from)(?<! to)(?<! go))",
        lambda found: f"In what place {found[1]} {found[2]}",
    ),
    _question(
        "asked at the end",
        "the same thing is asked for, by a question word in its place",
        r"What (is|was) (the [a-z-]+(?: [a-z-]+){0,2} of [^,]{2,60})",
        lambda found: f"{with_capital(found[2])} {found[1]} what",
    ),
    _question(
        "which way is the best",
        "the best of the ways is asked for in both forms",
        r"What(?: is|['’]s) the best way to (.+)",
        lambda found: f"Which way to {found[1]} is the best",
    ),
)

_SAYS_NOTHING = "the opening announces the text and says nothing of its own"


def _announced(opening: str, question: bool) -> Rule:
    def rewrite(text: str) -> str | None:
        return before(text, opening) if text.strip() and is_question(text) == question else None

    return Rule("announced", _SAYS_NOTHING, rewrite)


ANNOUNCED: tuple[Rule, ...] = (
    _announced("To put it plainly:", question=False),
    _announced("In a few words:", question=False),
    _announced("Here is a question:", question=True),
    _announced("One may ask:", question=True),
)
RULES: tuple[Rule, ...] = (*STATEMENTS, *QUESTIONS, *ANNOUNCED)


@dataclass(frozen=True)
class RuleRewrites:
    """Every rule's form of the attacked text.

    Args:
        rules: which.
    """

    rules: tuple[Rule, ...] = RULES

    def rewrite(self, attempt: "Attempt") -> Steps[list[str]]:
        """One form a rule that applies, in the order of the rules."""
        yield from ()
        written = (rule.rewrite(attempt.original.text) for rule in self.rules)
        return [form for form in written if form is not None]
