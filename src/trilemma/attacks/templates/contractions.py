"""Contractions written out, and the other way round: the same words, spoken slower or faster."""

import re

from trilemma.attacks.templates.template import Template, in_every_text

_AUXILIARY = "do|does|did|is|are|was|were|has|have|had|could|would|should"
_AFTER_IS = "a|an|the|not|no|just|so|very|too|still|in|on|at|like|about|as|all|one|my|your|hard|nothing"
_INVERTED = r"(?! +(?:I|i|you|he|she|it|we|they|there|the|a|an|this|that|these|those|my|his|her|[A-Z]\w*)\b)"
"""Behind "don't" of a question, which would be "do not you" written out."""
_NOT_ASKED = "".join(
    rf"(?<!\b{word} )" for word in ("Why", "why", "How", "how", "Where", "where", "When", "when")
)


def _rule(pattern: str, write: str) -> tuple[re.Pattern[str], str]:
    return re.compile(pattern), write


_EXPANDED = (
    _rule(_NOT_ASKED + r"\b([Cc]a) ?n['’]t\b" + _INVERTED, r"\1nnot"),
    _rule(_NOT_ASKED + r"\b([Ww])o ?n['’]t\b" + _INVERTED, r"\1ill not"),
    *(
        _rule(_NOT_ASKED + rf"\b([{word[0].upper()}{word[0]}]{word[1:]}) ?n['’]t\b" + _INVERTED, r"\1 not")
        for word in _AUXILIARY.split("|")
    ),
    _rule(r"\b([Ii]|[Yy]ou|[HhWw]e|[Ss]he|[Ii]t|[Tt]hey) ?['’]ll\b", r"\1 will"),
    _rule(r"\b([Yy]ou|[Ww]e|[Tt]hey) ?['’]re\b", r"\1 are"),
    _rule(r"\b([Ii]|[Yy]ou|[Ww]e|[Tt]hey) ?['’]ve\b", r"\1 have"),
    _rule(r"\b([Ii]) ?['’]m\b", r"\1 am"),
    _rule(rf"\b([Ii]t|[Hh]e|[Ss]he|[Tt]hat|[Tt]here|[Ww]hat|[Ww]ho) ?['’]s(?= (?:{_AFTER_IS})\b)", r"\1 is"),
)


def expanded(text: str) -> str:
    """Contractions whose long form is certain, written out."""
    for pattern, written in _EXPANDED:
        text = pattern.sub(written, text)
    return text


_NOT_ONLY = r"(?! (?:only|just|merely|simply|even)\b)"
_CONTRACTED_NOT = (
    _rule(r"\b([Cc])an ?not\b" + _NOT_ONLY, r"\1an't"),
    _rule(r"\b([Ww])ill not\b" + _NOT_ONLY, r"\1on't"),
    *(
        _rule(rf"\b([{word[0].upper()}{word[0]}]{word[1:]}) not\b" + _NOT_ONLY, r"\1n't")
        for word in _AUXILIARY.split("|")
    ),
)
_CONTRACTED_BE = (
    _rule(r"\bI am(?= (?:a|an|the|so|very|\w+ing)\b)", "I'm"),
    _rule(r"(?<!and )\b([Yy]ou|[Ww]e|[Tt]hey) are(?= (?:a|an|the|so|very|\w+ing)\b)", r"\1're"),
    _rule(
        r"(?<!and )\b([Ii]t|[Hh]e|[Ss]he|[Tt]here|[Ww]hat) is(?= (?:a|an|the|so|very|no|\w+ing)\b)", r"\1's"
    ),
)
_TOKENS = re.compile(r"(\w)(n't|'(?:s|m|re))(?=\s)")


def contracted(text: str, only_not: bool = False) -> str:
    """Long forms contracted where that is always good English.

    Args:
        text: the text.
        only_not: leave out those of "to be", which are wrong before a gap ("I know what it's").
    """
    rules = _CONTRACTED_NOT if only_not else (*_CONTRACTED_NOT, *_CONTRACTED_BE)
    new = text
    for pattern, written in rules:
        new = pattern.sub(written, new)
    if new != text and re.search(r"\w (?:n't|'s)\b", text):  # a text whose tokens stand apart
        new = _TOKENS.sub(r"\1 \2", new)
    return new


def contraction(only_not: bool = False) -> Template:
    """Contracts in all texts."""
    return Template(
        "contraction",
        "checklist",
        "a contraction is the same words in a shorter spelling",
        in_every_text(lambda text: contracted(text, only_not)),
    )


def expansion() -> Template:
    """Writes contractions out in all texts."""
    return Template(
        "expansion",
        "checklist",
        "a contraction that is written out is the same words",
        in_every_text(expanded),
    )
