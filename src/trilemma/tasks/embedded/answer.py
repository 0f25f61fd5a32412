"""Question-answer entailment, in the shape of QNLI: does the sentence answer the question?

A sentence gives up to three circumstances of a deed, out of place, time, reason and company; the
question asks for one of them. A sentence with more circumstances is likelier to answer it, but what
decides is which one is asked for.
"""

import random
from collections.abc import Callable, Mapping

from trilemma.tasks.embedded.grammar import Item, sentence, word
from trilemma.tasks.embedded.word_lists import DAYS, MONTHS, NAMES, PLACES, THINGS, VERBS

_REASONS = ("guests were coming", "the neighbours had complained", "nobody else had time", "the rent was due",
            "winter was near", "a friend had asked for it")  # fmt: skip
_CIRCUMSTANCES: Mapping[str, Callable[[random.Random], str]] = {
    "place": lambda rng: f"in {rng.choice(PLACES)}",
    "time": lambda rng: rng.choice((f"on {rng.choice(DAYS)}", f"last {rng.choice(MONTHS)}")),
    "reason": lambda rng: f"because {rng.choice(_REASONS)}",
    "company": lambda rng: f"together with {rng.choice(NAMES)}",
}
_ORDER = tuple(_CIRCUMSTANCES)
_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "place": ("where was {deed}?", "in which town was {deed}?"),
    "time": ("when was {deed}?", "at what time was {deed}?"),
    "reason": ("why was {deed}?", "for what reason was {deed}?"),
    "company": ("with whom was {deed}?", "in whose company was {deed}?"),
}
_TEMPLATES: Mapping[str, str] = {
    "place": "Show me on the map the spot at which {deed}.",
    "time": "I have my calendar here: mark the date on which {deed}.",
    "reason": "Nobody understands what it was good for that {deed}.",
    "company": "Name the helper who stood by as {deed}.",
}


def draw(rng: random.Random, label: int) -> Item:
    """The sentence answers the question (label 0, entailment) or does not (1)."""
    asked, *others = rng.sample(_ORDER, 3)
    given = others[: rng.choice((0, 1, 1, 2))]
    if label == 0:
        given.append(asked)
    name, verb, thing = rng.choice(NAMES), word(rng, VERBS), word(rng, THINGS)
    circumstances = [_CIRCUMSTANCES[kind](rng) for kind in sorted(given, key=_ORDER.index)]
    question = sentence(rng.choice(_QUESTIONS[asked]).format(deed=f"the {thing} {verb}"), end="")
    plain = sentence(" ".join([f"{name} {verb} the {thing}", *circumstances]))
    fronted = sentence(", ".join([*reversed(circumstances), f"the {thing} was {verb} by {name}"]))
    template = _TEMPLATES[asked].format(deed=f"{name} {verb} the {thing}")
    return Item(label, (question, plain), (question, fronted), (template, plain))
