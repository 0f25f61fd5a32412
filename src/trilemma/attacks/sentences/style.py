"""Words of ours beside a text that is not: written as it is, and put where they belong."""

import re

from trilemma.attacks.constraints.edits import STOP_WORDS

_APART = re.compile(r"\s[.,?!;:](?:\s|$)")
_MARKS = re.compile(r"\s*([.,?!;:]+)(?=\s|$)")
_CLITICS = re.compile(r"(?<=\w)(n't|'(?:s|m|re|ve|ll|d))\b")
_ABBREVIATED = re.compile(r"(?:\b\w\.)+\w$")
_CLOSING = "\"'”’)]` \t\r\n\u00a0"

_LOWERED = STOP_WORDS - {"i", "i'd", "i'll", "i'm", "i've"}


def is_question(text: str) -> bool:
    """Whether a text ends with a question mark, whatever quotes and spaces follow."""
    return text.rstrip(_CLOSING).endswith("?")


def is_closed(text: str) -> bool:
    """Whether a text ends with a mark that ends a sentence."""
    return text.rstrip(_CLOSING).endswith((".", "!", "?", "…"))


def is_one_sentence(text: str) -> bool:
    """Whether no sentence ends before the text does; an abbreviation counts as an end."""
    return re.search(r"[.?!…;][\"'”’)]*\s+\S|\n", text.strip()) is None


def styled(sentence: str, text: str) -> str:
    """A sentence written as a text is: small letters where it has no capital, marks apart where its are."""
    if text == text.lower() and text != text.upper():
        sentence = sentence.lower()
    if _APART.search(text):
        sentence = _CLITICS.sub(r" \1", _MARKS.sub(r" \1", sentence))
    return sentence


def before(text: str, sentence: str) -> str:
    """A sentence or the opening of one, and then the text."""
    return f"{styled(sentence, text)} {text}"


def after(text: str, sentence: str) -> str:
    """The text, ended by a full stop where it is not, and then a sentence."""
    end = "" if is_closed(text) else styled(".", text)
    return f"{text.rstrip()}{end} {styled(sentence, text)}"


def within(text: str, clause: str) -> str:
    """The text with a clause before the mark that ends it: "and so on" makes "It rains and so on.".

    A comma at the head of the clause is set as the text sets its own.
    """
    body = text.rstrip().rstrip(".!… \t")
    tail = text[len(body) :]
    if tail.strip() and _ABBREVIATED.search(body):
        body, tail = body + ".,", tail.replace(".", "", 1) or "."
    joint = " "
    if clause.startswith(","):
        body, joint = body.removesuffix(","), ""
    return f"{body}{joint}{styled(clause, text)}{tail}"


def without_capital(text: str) -> str:
    """The text as it stands inside a sentence: a function word at its head loses its capital."""
    head = re.match(r"[^\W\d_]+(?:['’]\w+)?", text)
    if head is None or head.group().lower().replace("’", "'") not in _LOWERED:
        return text
    return text[:1].lower() + text[1:]


def with_capital(text: str) -> str:
    """The text as it stands at the head of a sentence."""
    return text[:1].upper() + text[1:]
