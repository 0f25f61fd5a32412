"""Question-answer entailment, in the shape of QNLI: does the sentence answer the question?

A sentence gives up to three circumstances of a deed, out of place, time, reason and company; the
question asks for one of them. A sentence with more circumstances is likelier to answer it, but what
decides is which one is asked for.
"""

import random
from collections.abc import Callable, Mapping

from trilemma.tasks.embedded.grammar import GeneratedItem, sentence, word
from trilemma.tasks.embedded.word_lists import NAMES, PLACES, SETS, WORDS

_CIRCUMSTANCES: Mapping[str, Callable[[random.Random], str]] = {
    "place": lambda rng: f"in {rng.choice(PLACES)}",
    "time": lambda rng: rng.choice(
        (f"on {rng.choice(WORDS['days'])}", f"last {rng.choice(WORDS['months'])}")
    ),
    "reason": lambda rng: f"because {rng.choice(WORDS['reasons'])}",
    "company": lambda rng: f"together with {rng.choice(NAMES)}",
}
_ORDER = tuple(_CIRCUMSTANCES)


def draw(rng: random.Random, label: int) -> GeneratedItem:
    """The sentence answers the question (label 0, entailment) or does not (1)."""
    asked, *others = rng.sample(_ORDER, 3)
    given = others[: rng.choice((0, 1, 1, 2))]
    if label == 0:
        given.append(asked)
    name, verb, thing = rng.choice(NAMES), word(rng, SETS["verbs"]), word(rng, SETS["things"])
    circumstances = [_CIRCUMSTANCES[kind](rng) for kind in sorted(given, key=_ORDER.index)]
    wordings = WORDS["circumstances"][asked]
    question = sentence(rng.choice(wordings["questions"]).format(deed=f"the {thing} {verb}"), end="")
    plain = sentence(" ".join([f"{name} {verb} the {thing}", *circumstances]))
    fronted = sentence(", ".join([*reversed(circumstances), f"the {thing} was {verb} by {name}"]))
    template = wordings["template"].format(deed=f"{name} {verb} the {thing}")
    return GeneratedItem(label, (question, plain), (question, fronted), (template, plain))
