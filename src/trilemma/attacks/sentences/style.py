"""Added words in the style of a text: its capitals and its spaces before marks, in the right place."""

import re

from trilemma.attacks.words import stop_words

_APART = re.compile(r"\s[.,?!;:](?:\s|$)")
_MARKS = re.compile(r"\s*([.,?!;:]+)(?=\s|$)")
_CLITICS = re.compile(r"(?<=\w)(n't|'(?:s|m|re|ve|ll|d))\b")
_ABBREVIATED = re.compile(r"(?:\b\w\.)+\w$")
_CLOSING = "\"'”’)]` \t\r\n\u00a0"

_CAPITAL = frozenset({"i", "i'd", "i'll", "i'm", "i've"})


def is_question(text: str) -> bool:
    """Whether a text ends with a question mark, whatever quotes and spaces follow."""
    return text.rstrip(_CLOSING).endswith("?")


def is_closed(text: str) -> bool:
    """Whether a text ends with a mark that ends a sentence."""
    return text.rstrip(_CLOSING).endswith((".", "!", "?", "…"))


def is_one_sentence(text: str) -> bool:
    """Whether no sentence ends before the end of the text; an abbreviation counts as an end."""
    return re.search(r"[.?!…;][\"'”’)]*\s+\S|\n", text.strip()) is None


def styled(sentence: str, text: str) -> str:
    """A sentence in the style of a text: lower case where the text is, separate marks where it has such."""
    if text == text.lower() and text != text.upper():
        sentence = sentence.lower()
    if _APART.search(text):
        sentence = _CLITICS.sub(r" \1", _MARKS.sub(r" \1", sentence))
    return sentence


def before(text: str, sentence: str) -> str:
    """A sentence, or the opening of one, followed by the text."""
    return f"{styled(sentence, text)} {text}"


def after(text: str, sentence: str) -> str:
    """The text, with a full stop where it has no final mark, followed by a sentence."""
    end = "" if is_closed(text) else styled(".", text)
    return f"{text.rstrip()}{end} {styled(sentence, text)}"


def within(text: str, clause: str) -> str:
    """The text with a clause before its final mark: "and so on" makes "It rains and so on.".

    A comma at the beginning of the clause is written as in the text.
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
    """The text for use inside a sentence: a function word at its beginning loses its capital."""
    head = re.match(r"[^\W\d_]+(?:['’]\w+)?", text)
    word = "" if head is None else head.group().lower().replace("’", "'")
    if word not in stop_words() or word in _CAPITAL:
        return text
    return text[:1].lower() + text[1:]


def with_capital(text: str) -> str:
    """The text for use at the beginning of a sentence."""
    return text[:1].upper() + text[1:]
