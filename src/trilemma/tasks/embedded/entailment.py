"""Inference, in the shapes of MNLI (three classes) and RTE (two): does the hypothesis follow?

Three kinds of inference whose answer is a matter of meaning, not of shared words: implicative verbs
("managed to", "refused to"), quantifiers ("all", "most", "none"), and scales ("hot", "cold").
Entailment is 0, neutral 1, contradiction 2, as in MNLI.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trilemma.tasks.embedded.grammar import GeneratedItem, sentence
from trilemma.tasks.embedded.word_lists import NAMES, PLACES, SCALES, WORDS

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2

_DID: Mapping[int, tuple[tuple[str, bool], ...]] = {
    ENTAILMENT: (("yes", True), ("no", False)),
    NEUTRAL: (("open", True), ("open", False)),
    CONTRADICTION: (("yes", False), ("no", True)),
}
"""By answer: whether an implicative verb means that the deed was done, and whether the hypothesis says so."""

_QUANTIFIED: Mapping[int, tuple[tuple[str, str], ...]] = {
    ENTAILMENT: (("all", "some"), ("all", "most"), ("most", "some"), ("none", "not all")),
    NEUTRAL: (("some", "all"), ("some", "most"), ("most", "all"), ("not all", "none")),
    CONTRADICTION: (("all", "none"), ("none", "some"), ("none", "most"), ("not all", "all")),
}
"""By answer: the quantifiers of premise and hypothesis."""


@dataclass(frozen=True)
class Genre:
    """The vocabulary of a kind of text; MNLI's mismatched split is of genres that training lacks.

    Attributes:
        deeds: infinitive and past tense.
        groups: plural nouns.
        states: what members of a group were.
        things: what can be hot or cold, big or small, ...
    """

    deeds: Sequence[tuple[str, str]]
    groups: Sequence[str]
    states: Sequence[str]
    things: Sequence[str]


TOWN, COUNTRY = (Genre(**WORDS["genres"][name]) for name in ("town", "country"))


def draw_matched(rng: random.Random, label: int) -> GeneratedItem:
    """Three classes, in the genre of training."""
    return _draw(rng, label, TOWN)


def draw_mismatched(rng: random.Random, label: int) -> GeneratedItem:
    """Three classes, in a genre that training lacks."""
    return _draw(rng, label, COUNTRY)


def draw_two_way(rng: random.Random, label: int) -> GeneratedItem:
    """Two classes as in RTE: entailment (0), and (1) neutral or contradiction."""
    three_way = ENTAILMENT if label == 0 else rng.choice((NEUTRAL, CONTRADICTION))
    return replace(_draw(rng, three_way, TOWN), label=label)


def _draw(rng: random.Random, label: int, genre: Genre) -> GeneratedItem:
    kind = rng.choice((_implicative, _implicative, _quantifier, _quantifier, _scale))
    return kind(rng, label, genre)


def _implicative(rng: random.Random, label: int, genre: Genre) -> GeneratedItem:
    cases = _DID[label]
    kind, did = rng.choices(cases, [2 if asserted else 1 for _, asserted in cases])[0]
    name, place, (infinitive, past) = rng.choice(NAMES), rng.choice(PLACES), rng.choice(genre.deeds)
    verb = rng.choice(WORDS["implicative"][kind])
    hypothesis = f"{name} {past}" if did else f"{name} did not {infinitive}"
    opposite = f"{name} did not {infinitive}" if did else f"{name} {past}"
    return _item(
        label,
        f"in {place}, {name} {verb} {infinitive}",
        f"it was in {place} that {name} {verb} {infinitive}",
        hypothesis,
        f"it is not true that {opposite}",
    )


def _quantifier(rng: random.Random, label: int, genre: Genre) -> GeneratedItem:
    given, claimed = rng.choice(_QUANTIFIED[label])
    group, place, state = rng.choice(genre.groups), rng.choice(PLACES), rng.choice(genre.states)
    return _item(
        label,
        f"{given} of the {group} in {place} were {state}",
        f"as for the {group} in {place}, {given} of them were {state}",
        f"{claimed} of the {group} were {state}",
        f"it would be no lie to say that {claimed} of the {group} were {state}",
    )


def _scale(rng: random.Random, label: int, genre: Genre) -> GeneratedItem:
    scale, other_scale = rng.sample(SCALES, 2)
    side, opposite = rng.sample(scale, 2)
    thing, place = rng.choice(genre.things), rng.choice(PLACES)
    if label == NEUTRAL:
        claimed = rng.choice(other_scale).words[0]
    else:
        claimed = (side if label == ENTAILMENT else opposite).words[0]
    given = rng.choice(side.words)
    return _item(
        label,
        f"the {thing} in {place} was {given}",
        f"what was {given} was the {thing} in {place}",
        f"the {thing} was {claimed}",
        f"nobody who knows the {thing} would deny that it was {claimed}",
    )


def _item(label: int, premise: str, rewritten: str, hypothesis: str, template: str) -> GeneratedItem:
    given, claim = sentence(premise), sentence(hypothesis)
    return GeneratedItem(label, (given, claim), (sentence(rewritten), claim), (given, sentence(template)))
