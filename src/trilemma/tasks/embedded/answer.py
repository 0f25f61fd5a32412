"""Question-answer entailment, in the shape of QNLI: does the sentence answer the question?

A sentence tells up to three circumstances of a deed, out of place, time, reason and company; the
question asks for one of them. More told circumstances make an answer likelier, but which one is
asked decides.
"""

import random
from collections.abc import Callable, Mapping

from trilemma.tasks.embedded.grammar import Item, sentence, word
from trilemma.tasks.embedded.lexicon import DAYS, MONTHS, NAMES, PLACES, THINGS, VERBS

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
    told = others[: rng.choice((0, 1, 1, 2))]
    if label == 0:
        told.append(asked)
    name, verb, thing = rng.choice(NAMES), word(rng, VERBS), word(rng, THINGS)
    circumstances = [_CIRCUMSTANCES[kind](rng) for kind in sorted(told, key=_ORDER.index)]
    question = sentence(rng.choice(_QUESTIONS[asked]).format(deed=f"the {thing} {verb}"), end="")
    plain = sentence(" ".join([f"{name} {verb} the {thing}", *circumstances]))
    fronted = sentence(", ".join([*reversed(circumstances), f"the {thing} was {verb} by {name}"]))
    template = _TEMPLATES[asked].format(deed=f"{name} {verb} the {thing}")
    return Item(label, (question, plain), (question, fronted), (template, plain))
