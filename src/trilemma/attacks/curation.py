"""Which adversarial examples are worth keeping: the automatic part of AdvGLUE's curation.

Wang et al. 2021, arXiv 2111.02840, section 3.3: examples that change too many words or drift too far in
meaning are dropped before people look at the rest.
"""

from collections import Counter
from collections.abc import Sequence

from trilemma.attacks.words import few_changed
from trilemma.tasks.task import Text

WORDS_CHANGED = 0.15
"""AdvGLUE's largest share of words changed at word level."""


def curated(
    pairs: Sequence[tuple[Text, Text]],
    *,
    words_changed: float | None = None,
    similarity: float | None = None,
    similarities: Sequence[float | None] = (),
) -> tuple[list[int], dict[str, int]]:
    """Which pairs of original and adversarial text are kept.

    Args:
        pairs: originals and what was made of them.
        words_changed: largest share of words that may differ; None for any.
        similarity: least similarity; None for any.
        similarities: of each pair; needed for ``similarity``, and a pair whose own is unknown is dropped.

    Returns:
        Indices of the pairs that are kept, and the number dropped by reason.
    """
    kept: list[int] = []
    dropped: Counter[str] = Counter()
    seen: set[Text] = set()
    for index, (original, text) in enumerate(pairs):
        fields = list(zip(original, text, strict=True))
        near = similarities[index] if similarity is not None else None
        if text == original:
            dropped["unchanged"] += 1
        elif text in seen:
            dropped["duplicate"] += 1
        elif words_changed is not None and not all(few_changed(a, b, words_changed) for a, b in fields):
            dropped["too many words changed"] += 1
        elif similarity is not None and (near is None or near < similarity):
            dropped["too little similar"] += 1
        else:
            kept.append(index)
            seen.add(text)
    return kept, dict(dropped)
