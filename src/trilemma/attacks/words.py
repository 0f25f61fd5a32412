"""A text as words and what stands between them, so that words change one by one and nothing else does."""

import difflib
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import regex

_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*(?:['’\-][\p{L}\p{N}][\p{L}\p{N}\p{M}]*)*")
"""Letters and digits of any script with their marks; apostrophes and hyphens inside a word belong to it."""


@dataclass(frozen=True)
class Words:
    """One text under attack; positions count the words of the text it was made from.

    Attributes:
        words: the words as they are now; ``""`` for one that was deleted, several in one place where some
            were inserted.
        gaps: what stands before, between and after the words, one more than words.
        original: the words of the text it was made from.
    """

    words: tuple[str, ...]
    gaps: tuple[str, ...]
    original: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Words":
        """Split a text."""
        return _split(text)

    @cached_property
    def text(self) -> str:
        """The text; a deleted word takes the space before it along."""
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

    def with_word(self, position: int, word: str) -> "Words":
        """The text with another word at a position."""
        return replace(self, words=(*self.words[:position], word, *self.words[position + 1 :]))

    def without(self, position: int) -> "Words":
        """The text without the word at a position."""
        return self.with_word(position, "")

    @cached_property
    def changed(self) -> frozenset[int]:
        """Positions whose word is not the original one."""
        pairs = zip(self.words, self.original, strict=True)
        return frozenset(i for i, (now, then) in enumerate(pairs) if now != then)

    def __len__(self) -> int:
        return len(self.words)


@lru_cache(maxsize=4096)
def _split(text: str) -> Words:
    words, gaps, end = [], [], 0
    for match in _WORD.finditer(text):
        gaps.append(text[end : match.start()])
        words.append(match.group())
        end = match.end()
    gaps.append(text[end:])
    return Words(tuple(words), tuple(gaps), tuple(words))


def words_apart(original: str, text: str) -> int:
    """Words between white space that were inserted, deleted or replaced, at the least."""
    return edit_distance(tuple(original.split()), tuple(text.split()))


def share_changed(original: str, text: str) -> float:
    """Words inserted, deleted or replaced over the words of the original; can be more than 1."""
    count = len(original.split())
    return words_apart(original, text) / count if count else float(original != text)


def few_changed(original: str, text: str, share: float) -> bool:
    """Whether at most a share of the words differ; one word may always, which in a short text is more."""
    return words_apart(original, text) <= max(1, int(share * len(original.split())))


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
    """What changed from one text to the other, as ``old -> new``; an empty side was inserted or deleted."""
    before, after = original.split(), text.split()
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    return [
        f"{' '.join(before[a:b])} -> {' '.join(after[c:d])}"
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]
