"""Constraints on which words are changed, and how many."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from trilemma.attacks.constraints import Constraint
from trilemma.attacks.words import SplitText, edit_distance, few_changed, stop_words


class UnchangedWords(Constraint):
    """A word that was changed already is left alone."""

    def allows(self, words: SplitText, position: int) -> bool:
        """Not where the word has been changed."""
        return position not in words.changed


class NoStopWords(Constraint):
    """Function words are left alone."""

    def allows(self, words: SplitText, position: int) -> bool:
        """Not a function word."""
        return words.original[position].lower().replace("’", "'") not in stop_words()


@dataclass(frozen=True)
class ProtectedWords(Constraint):
    """Words (in lower case) that bear the label are left alone: "not" in a pair whose label depends on it."""

    words: frozenset[str]

    def allows(self, words: SplitText, position: int) -> bool:
        """Not a protected word."""
        return words.original[position].lower().replace("’", "'") not in self.words

    def keeps(self, original: SplitText, words: SplitText) -> bool:
        """Whether a text that was rewritten as a whole contains every protected word as often as before."""
        if words.original == original.words:
            return True
        before, after = (Counter(map(str.lower, text.words)) for text in (original, words))
        return all(after[word] >= before[word] for word in self.words)


@dataclass(frozen=True)
class MostChanged(Constraint):
    """At most a share of the words differ (AdvGLUE allows 15%: Wang et al. 2021, arXiv 2111.02840).

    One word may always change: in a short text that is more than a small share.
    """

    share: float

    def keeps(self, original: SplitText, words: SplitText) -> bool:
        """Whether few enough words differ."""
        return few_changed(original.text, words.text, self.share)


@dataclass(frozen=True)
class EditDistance(Constraint):
    """At most so many characters are inserted, deleted or replaced in the text."""

    most: int

    def keeps(self, original: SplitText, words: SplitText) -> bool:
        """Whether the texts are near enough."""
        if words.original == original.words:  # word by word: an upper bound, and fast for long texts
            pairs = ((words.words[i], words.original[i]) for i in words.changed)
            return sum(edit_distance(now, then) + (not now) for now, then in pairs) <= self.most
        return edit_distance(original.text, words.text) <= self.most


def protected(words: Collection[str]) -> ProtectedWords:
    """The constraint that leaves these words alone, in upper and lower case."""
    return ProtectedWords(frozenset(word.lower() for word in words))
