"""Constraints on how a text reads: as likely, as grammatical, and with the same parts of speech as before."""

from collections.abc import Sequence
from dataclasses import dataclass

from trilemma.attacks.attempt import Attempt
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.words import Words

WINDOW_WORDS = 10
"""Words on either side that a tagger reads; it decides by the two before and what they make likely."""


@dataclass(frozen=True)
class PerplexityRatio(Constraint):
    """Largest factor by which a language model's perplexity may rise against the original's.

    Args:
        perplexity: texts to perplexities, at least 1.
        most: factor, above 0.
    """

    perplexity: Service
    most: float
    name = "perplexity ratio"

    def holds(self, attempt: Attempt, candidates: Sequence[Words]) -> Steps[list[bool]]:
        """Which candidates are likely enough."""
        texts = [attempt.original.text, *(words.text for words in candidates)]
        before, *after = yield from ask(self.perplexity, texts)
        return [one <= self.most * before for one in after]


@dataclass(frozen=True)
class GrammarDrop(Constraint):
    """Largest fall of the probability that a sentence is acceptable (CoLA: Warstadt et al. 2019).

    Args:
        acceptability: texts to probabilities.
        most: 0 to 1.
    """

    acceptability: Service
    most: float
    name = "grammar drop"

    def holds(self, attempt: Attempt, candidates: Sequence[Words]) -> Steps[list[bool]]:
        """Which candidates are acceptable enough."""
        texts = [attempt.original.text, *(words.text for words in candidates)]
        before, *after = yield from ask(self.acceptability, texts)
        return [before - one <= self.most for one in after]


@dataclass(frozen=True)
class PartOfSpeech(Constraint):
    """A word in another's place is of the same part of speech, each tagged in its own sentence.

    Where several words stand in the place of one, one of them must be. It says nothing of deletions, nor of a
    text that is rewritten as a whole, in which no word has another's place.

    Args:
        tagger: tuples of words to as many parts of speech.
    """

    tagger: Service
    name = "part of speech"

    def holds(self, attempt: Attempt, candidates: Sequence[Words]) -> Steps[list[bool]]:
        """Which candidates keep the parts of speech."""
        questions: list[tuple[int, tuple[str, ...], range, tuple[str, ...], int]] = []
        for index, words in enumerate(candidates):
            if words.original != attempt.original.words:
                continue
            for position in sorted(words.changed):
                if words.words[position]:
                    before, [place] = _window(attempt.original.words, position)
                    after, places = _window(words.words, position)
                    questions.append((index, after, places, before, place))
        asked = [one for _, after, _, before, _ in questions for one in (before, after)]
        tags = iter((yield from ask(self.tagger, asked)))
        kept = [True] * len(candidates)
        for (index, _, places, _, place), old, new in zip(questions, tags, tags, strict=True):
            kept[index] &= old[place] in [new[i] for i in places]
        return kept


def _window(words: Sequence[str], position: int) -> tuple[tuple[str, ...], range]:
    """The words around a position, and the places among them of those that stand at it."""
    before = [one for word in words[max(0, position - WINDOW_WORDS) : position] for one in word.split()]
    here = words[position].split()
    after = [one for word in words[position + 1 : position + 1 + WINDOW_WORDS] for one in word.split()]
    return (*before, *here, *after), range(len(before), len(before) + len(here))
