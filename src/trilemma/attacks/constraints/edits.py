"""Constraints on which words are changed, and how many."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from trilemma.attacks.constraints import Constraint
from trilemma.attacks.words import Words, edit_distance, few_changed

_FUNCTION_WORDS = """
a about above after again against ain't all am an and any are aren't as at be because been before being
below between both but by can can't cannot could couldn't did didn't do does doesn't doing don don't down
during each few for from further had hadn't has hasn't have haven't having he he'd he'll he's her here
here's hers herself him himself his how how's i i'd i'll i'm i've if in into is isn't it it'd it'll it's
its itself just ll let's me might mightn't more most must mustn't my myself n't needn't neither no nor not
of off on once only onto or other ought our ours ourselves out over own re s same shall shan't she she'd
she'll she's should shouldn't since so some such t than that that'd that'll that's the their theirs them
themselves then there there's these they they'd they'll they're they've this those through to too under
until up upon ve very was wasn't we we'd we'll we're we've were weren't what what's when when's where
where's which while who who'd who'll who's whom why why's will with without won won't would wouldn't you
you'd you'll you're you've your yours yourself yourselves
"""

STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Function words of English: changing one changes the grammar rather than the choice of words."""


class UnchangedWords(Constraint):
    """A word that was changed already is left alone."""

    name = "no word twice"

    def allows(self, words: Words, position: int) -> bool:
        """Not where the word has been changed."""
        return position not in words.changed


@dataclass(frozen=True)
class NoStopWords(Constraint):
    """Function words are left alone."""

    words: frozenset[str] = STOP_WORDS
    name = "stop words"

    def allows(self, words: Words, position: int) -> bool:
        """Not a function word."""
        return words.original[position].lower().replace("’", "'") not in self.words


@dataclass(frozen=True)
class ProtectedWords(Constraint):
    """Words that bear the label are left alone, as "not" in a pair whose label hangs on it.

    Args:
        words: in lower case.
    """

    words: frozenset[str]
    name = "protected words"

    def allows(self, words: Words, position: int) -> bool:
        """Not a protected word."""
        return words.original[position].lower().replace("’", "'") not in self.words

    def keeps(self, original: Words, words: Words) -> bool:
        """Whether a text that was rewritten as a whole still has every protected word as often."""
        if words.original == original.words:
            return True
        before, after = (Counter(map(str.lower, text.words)) for text in (original, words))
        return all(after[word] >= before[word] for word in self.words)


@dataclass(frozen=True)
class MostChanged(Constraint):
    """At most a share of the words differ (AdvGLUE keeps 15%: Wang et al. 2021, arXiv 2111.02840).

    One word may always change: in a short text it is more than any small share.
    """

    share: float
    name = "share of words changed"

    def keeps(self, original: Words, words: Words) -> bool:
        """Whether few enough words differ."""
        return few_changed(original.text, words.text, self.share)


@dataclass(frozen=True)
class EditDistance(Constraint):
    """At most so many characters are inserted, deleted or replaced in the text."""

    most: int
    name = "edit distance"

    def keeps(self, original: Words, words: Words) -> bool:
        """Whether the texts are that near."""
        if words.original == original.words:  # word by word: a bound, and quick in long texts
            pairs = ((words.words[i], words.original[i]) for i in words.changed)
            return sum(edit_distance(now, then) + (not now) for now, then in pairs) <= self.most
        return edit_distance(original.text, words.text) <= self.most


def protected(words: Collection[str]) -> ProtectedWords:
    """Leave these words alone, in either case."""
    return ProtectedWords(frozenset(word.lower() for word in words))
