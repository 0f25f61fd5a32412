"""A text as words and what is between them, so that words change one by one and nothing else does.

Attacks change the words of :class:`SplitText`. How many words differ between two texts is counted by what
white space separates, since a changed text need not split into the same words again: the misspelling
``fi@lm`` is one word to a reader, and two to the splitting.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from importlib.resources import files

import regex

_PARTS = {
    "one": r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*",
    "end": r"(?![\p{L}\p{N}\p{M}])",
    "host": r"[\p{L}\p{N}][\p{L}\p{N}\-]{0,62}(?:\.[\p{L}\p{N}\-]{1,63}){0,8}",
    "top": r"(?:com|org|net|edu|gov|mil|info|biz|io|co|ai|tv|uk|de|fr|eu|ca|au|ru|cn|jp|nl|ch)",
    "rest": r"[^\s<>\"]*[^\s<>\".,;:!?'’“”)\]}…]",
    "short": r"(?:\p{Lu}\p{Ll}|\p{L})\p{M}*",
    "joined": r"['’\-]|(?<=\p{Nd})[.,:/–](?=\p{Nd})|(?<=\p{Lu})&(?=\p{Lu})",
}
_WORD = regex.compile(
    r"""
    (?:https?://|ftp://|www\.){rest}                                # an address
    | [\p{{L}}\p{{N}}][\p{{L}}\p{{N}}._%+\-]{{0,63}}@{host}          # of mail
    | {host}\.{top}{end}(?:/{rest})?                                # or of a site
    | {short}(?:\.{short}){{1,9}}{end}\.?(?:['’\-]{one})*                 # U.S., p.m., Ph.D.
    | (?<![\p{{L}}\p{{N}}\p{{M}}.])\.(?=\p{{Nd}}){one}(?:(?:{joined}){one})*
    | {one}(?:(?:{joined}){one})*
    """.format(**_PARTS),
    regex.VERBOSE,
)
"""Letters and digits of any script with their marks, and the signs inside a word that belong to it:
apostrophes, hyphens and what joins digits (3.5, .5, 1,000, 12:30, 1/2), the points of an abbreviation, a
company's ampersand, and all of an address. A part of such a word that was changed alone made no word."""


@dataclass(frozen=True)
class SplitText:
    """One text under attack; positions count the words of the text it was made from.

    Attributes:
        words: the words as they are now; ``""`` for one that was deleted, several in one place where some
            were inserted.
        gaps: what is before, between and after the words, one more than words.
        original: the words of the text it was made from.
    """

    words: tuple[str, ...]
    gaps: tuple[str, ...]
    original: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "SplitText":
        """Split a text."""
        return _split(text)

    @cached_property
    def text(self) -> str:
        """The text; with a deleted word the space before it is deleted."""
        if "" not in self.words:
            parts = [self.gaps[0]]
            for word, gap in zip(self.words, self.gaps[1:], strict=True):
                parts += (word, gap)
            return "".join(parts)
        text = self.gaps[0]
        for word, gap in zip(self.words, self.gaps[1:], strict=True):
            if not word and (not text or text[-1].isspace()):
                text, gap = (text, gap.lstrip()) if gap else (text.rstrip(), gap)
            text += word + gap
        return text

    def with_word(self, position: int, word: str) -> "SplitText":
        """The text with another word at a position."""
        return replace(self, words=(*self.words[:position], word, *self.words[position + 1 :]))

    def without(self, position: int) -> "SplitText":
        """The text without the word at a position."""
        return self.with_word(position, "")

    @cached_property
    def changed(self) -> frozenset[int]:
        """Positions whose word differs from the original one."""
        pairs = zip(self.words, self.original, strict=True)
        return frozenset(i for i, (now, then) in enumerate(pairs) if now != then)

    def __len__(self) -> int:
        return len(self.words)


@lru_cache(maxsize=4096)
def _split(text: str) -> SplitText:
    words, gaps, end = [], [], 0
    for match in _WORD.finditer(text):
        gaps.append(text[end : match.start()])
        words.append(match.group())
        end = match.end()
    gaps.append(text[end:])
    return SplitText(tuple(words), tuple(gaps), tuple(words))


def words_apart(original: str, text: str) -> int:
    """Least number of words, separated by white space, that were inserted, deleted or replaced."""
    return edit_distance(tuple(original.split()), tuple(text.split()))


def share_changed(original: str, text: str) -> float:
    """Words inserted, deleted or replaced, over the words of the original; can be more than 1."""
    count = len(original.split())
    return words_apart(original, text) / count if count else float(original != text)


def allowed_changes(original: str, share: float) -> int:
    """Words of a text that may differ; one word always may, which in a short text is more than the share."""
    return max(1, int(share * len(original.split())))


def few_changed(original: str, text: str, share: float) -> bool:
    """Whether no more words differ than a share allows."""
    return words_apart(original, text) <= allowed_changes(original, share)


def edit_distance(a: "tuple[str, ...] | str", b: "tuple[str, ...] | str") -> int:
    """Levenshtein distance of two texts or lists of words: insertions, deletions, replacements."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    a, b = a[start : len(a) - end], b[start : len(b) - end]
    if not a or not b:
        return len(a) + len(b)
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def words_changed(original: str, text: str) -> list[str]:
    """Changes from one text to another as ``old -> new``; one side is empty for insertions and deletions."""
    before, after = original.split(), text.split()
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    return [
        f"{' '.join(before[a:b])} -> {' '.join(after[c:d])}"
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]


@cache
def word_list(name: str) -> tuple[str, ...]:
    """The words of one of the lists in ``word_lists``."""
    return tuple(word for line in word_sets(name) for word in line)


@cache
def word_sets(name: str) -> tuple[tuple[str, ...], ...]:
    """The words of each line of a list; lines that begin with ``#`` are comments."""
    text = (files("trilemma.attacks") / "word_lists" / f"{name}.txt").read_text("utf-8")
    return tuple(tuple(line.split()) for line in text.splitlines() if not line.startswith("#"))


@cache
def word_map(name: str) -> Mapping[str, str]:
    """The second word of each line of a list by the first one."""
    return {first: second for first, second in word_sets(name)}


@cache
def stop_words() -> frozenset[str]:
    """Function words of English: changing one changes the grammar rather than the choice of words."""
    return frozenset(word_list("stop"))
