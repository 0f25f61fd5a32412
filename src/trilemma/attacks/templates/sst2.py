"""SST-2: whether a review is favourable. The writer's own last word stays the review's."""

from trilemma.attacks.templates.additions import behind, denied, in_front, true_sums
from trilemma.attacks.templates.contractions import contraction, expansion
from trilemma.attacks.templates.swaps import swapped_names
from trilemma.attacks.templates.template import Family, Template, in_one_text

_POSITIVE, _NEGATIVE = frozenset({"positive"}), frozenset({"negative"})


def _of_both_classes(
    name: str, family: Family, reason: str, positive: tuple[str, ...], negative: tuple[str, ...]
) -> tuple[Template, Template]:
    """A template whose opening speaks against the review's class, and is overruled by it."""
    return (
        Template(name, family, reason, in_one_text(0, *in_front(*positive)), _POSITIVE),
        Template(name, family, reason, in_one_text(0, *in_front(*negative)), _NEGATIVE),
    )


TEMPLATES: tuple[Template, ...] = (
    *_of_both_classes(
        "earlier opinion",
        "checklist",
        "what the writer thought before is said to be over; the review is what the writer thinks now",
        (
            "I used to think little of films like this, but I have changed my mind:",
            "I came in expecting a bad film, and I was wrong:",
        ),
        (
            "I used to be fond of films like this, but I have changed my mind:",
            "I came in expecting a good film, and I was wrong:",
        ),
    ),
    *_of_both_classes(
        "others' opinion",
        "checklist",
        "the opinion of somebody else, with which the writer is said to disagree; the review is the writer's",
        ("My brother found it dreadful, and I do not agree:", "Some will call it boring. They are wrong:"),
        ("My brother found it wonderful, and I do not agree:", "Some will call it moving. They are wrong:"),
    ),
    *_of_both_classes(
        "question and answer",
        "checklist",
        "the question is answered by no, and the review says the same",
        ("Is it a bad film? No.", "Would I advise against it? No."),
        ("Is it a good film? No.", "Would I recommend it? No."),
    ),
    Template(
        "neutral sentence",
        "checklist",
        "when and where a film was shown says nothing of how good it is",
        in_one_text(
            0,
            *behind("I saw it on a Tuesday.", "It was shown in the larger hall."),
            *in_front("It is shown twice a day.", "I saw it with my sister."),
        ),
    ),
    swapped_names(),
    contraction(),
    expansion(),
    *_of_both_classes(
        "negated opposite",
        "stresstest",
        "a word of the other class under a negation is no praise and no blame against the review",
        (
            "I can't say, after all the films that I have seen, that this one is bad:",
            "I would not say, given how much I paid, that I was bored:",
        ),
        (
            "I can't say, after all the films that I have seen, that this one is good:",
            "I would not say, given how much I paid, that I was amused:",
        ),
    ),
    denied(0, "a denial that is denied leaves what is said as it is, and the review follows unchanged"),
    true_sums("arithmetic", "a true sum says nothing of the film", 0),
)
