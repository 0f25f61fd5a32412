"""Sentiment, in the shape of SST-2: verdicts on a film, with negation and contrast.

The last word that counts is that of the main clause; half the items hold a negation or a clause of
the other polarity, so that no single word decides.
"""

import random

from trilemma.tasks.embedded.grammar import GeneratedItem, sentence, word
from trilemma.tasks.embedded.word_lists import SETS

_SUBJECTS = ("the", "its")
_LINKS = ("was", "is", "seemed")
_NEGATIONS = ("{link} not", "{link} never", "{link} hardly", "{link} far from")
_ADVERBS = ("", "", "really ", "quite ")
_OPENERS = ("", "", "", "overall, ", "honestly, ", "in the end, ")


def draw(rng: random.Random, label: int) -> GeneratedItem:
    """An item whose main clause is positive (label 1) or negative (0)."""
    shape = rng.choice(("plain", "plain", "plain", "plain", "and", "but", "although"))
    noun, other_noun = (
        f"{rng.choice(_SUBJECTS)} {rng.choice(one.words)}" for one in rng.sample(SETS["works"], 2)
    )
    main, cleft = _clause(rng, noun, label)
    if shape == "plain":
        text, rewritten = main, cleft
    else:
        other, other_cleft = _clause(rng, other_noun, label if shape == "and" else 1 - label)
        text, rewritten = {
            "and": (f"{main} and {other}", f"not only was it true that {other}, but {cleft}"),
            "but": (f"{other}, but {main}", f"{cleft}, for all that {other}"),
            "although": (f"{main}, although {other}", f"while it may be that {other_cleft}, {main}"),
        }[shape]
    text = rng.choice(_OPENERS) + text
    return GeneratedItem(label, (sentence(text),), (sentence(rewritten),), (_template(rng, noun, label),))


def _clause(rng: random.Random, noun: str, label: int) -> tuple[str, str]:
    """A clause of the given polarity, and the same as a cleft sentence."""
    link = rng.choice(_LINKS)
    if rng.random() < 0.2:
        verb = rng.choice(_NEGATIONS).format(link=link)
        adjective = _adjective(rng, 1 - label)
    else:
        verb = link
        adjective = rng.choice(_ADVERBS) + _adjective(rng, label)
    return f"{noun} {verb} {adjective}", f"it is fair to say of {noun} that it {verb} {adjective}"


def _template(rng: random.Random, noun: str, label: int) -> str:
    same, opposite = _adjective(rng, label), _adjective(rng, 1 - label)
    return rng.choice(
        (
            f"I had been told that {noun} would be {opposite}, and it turned out {same}.",
            f"Was {noun} {opposite}? Not in the slightest.",
            f"Years ago I found {noun} {opposite}; today I find it {same}.",
            f"My friends say {noun} was {opposite}. They could not be more wrong.",
            f"Call {noun} {same}, whatever the critics who found it {opposite} may write.",
        )
    )


def _adjective(rng: random.Random, label: int) -> str:
    return word(rng, SETS["positive" if label else "negative"])
