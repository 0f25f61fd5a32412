"""Perturbations that leave the label as it is: typos, synonym swaps, distractions.

After AdvGLUE's taxonomy (Wang et al. 2021): typos and synonyms are word level (TextBugger,
knowledge-guided swaps), appended tautologies, links and handles are sentence level (StressTest,
CheckList).
"""

import random
import re
import string

from trilemma.tasks.embedded.word_lists import synonyms

_KEPT = frozenset({"hardly", "never", "none", "some", "most", "where", "when", "what", "whom"})
"""Words on which the label hangs and whose misspellings are words of their own ("hardy", "were")."""

_TAUTOLOGIES = ("and true is true", "and false is not true")


def typo(rng: random.Random, text: str, known: set[str]) -> str:
    """One or two words misspelt: two letters swapped, one dropped, doubled, or split off by a space.

    Args:
        rng: source of chance.
        text: the text.
        known: lower-case words that a misspelling must not turn into.
    """
    spans = [found for found in re.finditer(r"[A-Za-z]{4,}", text) if found.group().lower() not in _KEPT]
    chosen = rng.sample(spans, min(len(spans), 1 if len(spans) < 4 else 2))
    for span in sorted(chosen, key=lambda one: one.start(), reverse=True):
        text = text[: span.start()] + _misspelt(rng, span.group(), known) + text[span.end() :]
    return text


def _misspelt(rng: random.Random, word: str, known: set[str]) -> str:
    while True:
        at = rng.randrange(1, len(word) - 2)
        wrong = rng.choice(
            (
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
                word[:at] + " " + word[at:],
            )
        )
        if wrong != word and not known.intersection(wrong.lower().split()):
            return wrong


_WORD = re.compile(r"[A-Za-z-]+")


def has_synonyms(text: str) -> bool:
    """Whether any word of the text can be swapped."""
    return any(synonyms(word.lower()) for word in _WORD.findall(text))


def synonym(rng: random.Random, text: str) -> str:
    """One or two words replaced by synonyms, rather rare ones; the text itself where none has any."""
    spans = [found for found in _WORD.finditer(text) if synonyms(found.group().lower())]
    for span in sorted(rng.sample(spans, min(len(spans), 2)), key=lambda one: one.start(), reverse=True):
        others = synonyms(span.group().lower())
        other = others[0] if rng.random() < 0.7 else rng.choice(others)
        if span.group()[0].isupper():
            other = other.capitalize()
        text = text[: span.start()] + other + text[span.end() :]
    return text


def distraction(rng: random.Random, text: str) -> str:
    """A tautology before the final mark, or a link or handle that says nothing, at either end."""
    if rng.random() < 0.5:
        noise = " ".join([rng.choice(_TAUTOLOGIES)] * rng.randint(1, 4))
        return f"{text[:-1]} {noise}{text[-1]}"
    code = "".join(rng.choices(string.ascii_letters + string.digits, k=6))
    noise = rng.choice((f"https://t.co/{code}", f"@{code}"))
    return f"{noise} {text}" if rng.random() < 0.5 else f"{text} {noise}"
