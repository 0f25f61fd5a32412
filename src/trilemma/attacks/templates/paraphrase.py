"""MRPC and QQP: whether two texts say, or ask, the same. What changes, changes in both, or means the same."""

import re

from trilemma.attacks.templates.additions import denied, in_front, other_order, same_opening, true_sums
from trilemma.attacks.templates.contractions import contraction, expansion
from trilemma.attacks.templates.swaps import swapped_names, swapped_numbers, swapped_places
from trilemma.attacks.templates.template import Template, in_one_text

_HOW = re.compile(
    r"How (?:can|do|should) (I|one|you|we|someone|a person) (?!know\b|feel\b|you\b|say\b)(\S.*)"
)


def _what_to_do(question: str) -> str | None:
    """Asks what to do for how to do it."""
    found = _HOW.fullmatch(question)
    if found is None or re.search(r"[.?!] ", question):
        return None
    return f"What should {found[1]} do to {found[2]}"


_SAME_IN_BOTH = "the same is said in both texts, so that they differ in nothing more and in nothing less"
_SWAPS = (swapped_names(), swapped_places(), swapped_numbers(), contraction(), expansion())
_ORDER = Template(
    "other order",
    "checklist",
    "that one text means the same as another does not depend on which stands first",
    other_order,
)

MRPC: tuple[Template, ...] = (
    _ORDER,
    *_SWAPS,
    Template(
        "same source",
        "checklist",
        _SAME_IN_BOTH,
        same_opening("The evening paper writes:", "As we heard on the radio:"),
    ),
    true_sums("arithmetic in both", _SAME_IN_BOTH, 0, 1),
    denied(0, "a denial that is denied leaves what is said as it is, so the sentence means the same"),
)

QQP: tuple[Template, ...] = (
    _ORDER,
    *_SWAPS,
    Template(
        "same request",
        "checklist",
        _SAME_IN_BOTH,
        same_opening("I ask for a friend:", "This is for a school essay:"),
    ),
    Template(
        "what to do",
        "checklist",
        "who asks how to do a thing asks what to do for it",
        in_one_text(1, _what_to_do),
    ),
    true_sums("arithmetic in both", _SAME_IN_BOTH, 0, 1),
    Template(
        "not known",
        "stresstest",
        "why a thing is asked is told, with a negation; what is asked stays",
        in_one_text(
            0,
            *in_front(
                "I do not know the answer, so I ask:",
                "Nobody could tell me this, not even my teacher:",
            ),
        ),
    ),
)
