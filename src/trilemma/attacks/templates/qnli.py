"""QNLI: whether a sentence holds the answer to a question. What is added answers nothing."""

from trilemma.attacks.templates.additions import behind, in_front, true_sums
from trilemma.attacks.templates.contractions import contraction, expansion
from trilemma.attacks.templates.swaps import swapped_names, swapped_numbers, swapped_places
from trilemma.attacks.templates.template import Template, in_one_text

_SAME_QUESTION = "the opening tells that something is asked, and what is asked stays"

TEMPLATES: tuple[Template, ...] = (
    swapped_names(),
    swapped_places(),
    swapped_numbers(),
    contraction(),
    expansion(),
    Template(
        "asked at length",
        "checklist",
        _SAME_QUESTION,
        in_one_text(0, *in_front("Here is what I should like to know:", "Read the sentence and tell me:")),
    ),
    Template(
        "neutral sentence",
        "checklist",
        "a sentence on how the text goes on holds no answer and takes none away",
        in_one_text(1, *behind("More on this is said further down.", "The text goes on after this.")),
    ),
    Template(
        "not known",
        "stresstest",
        f"{_SAME_QUESTION}; the negation is about the one who asks",
        in_one_text(
            0, *in_front("I do not know this, nor does my teacher:", "Nobody in my class has an answer yet:")
        ),
    ),
    true_sums("arithmetic", "a true sum answers no question of the data and takes no answer away", 1),
)
