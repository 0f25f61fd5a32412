"""Classes of a checkpoint and of a task are matched by name, never by position, where both have names."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import ModelError

_UNNAMED = re.compile(r"label_?\d+|\d+")
"""What Hugging Face calls classes that nobody named."""


def class_order(config: Any, labels: Sequence[str]) -> NDArray[np.int64]:
    """For each class of a task its index among a model's outputs.

    Classes that the checkpoint does not name (``LABEL_0``) are taken in their order. Names are compared
    without case and punctuation, and one may be the beginning of the other (``neg``, ``entail``).

    Args:
        config: of the model.
        labels: names of the task's classes.

    Raises:
        ModelError: where the names do not say which class is which, or there are not equally many.
    """
    if config.num_labels != len(labels):
        raise ModelError(
            f"the model answers with {config.num_labels} classes, the task has {len(labels)}; ask it about "
            "the task that it was adapted to"
        )
    names = [str(config.id2label.get(index, index)) for index in range(config.num_labels)]
    if all(_UNNAMED.fullmatch(name.lower()) for name in names):
        return np.arange(len(labels))
    found = [_matching(label, names) for label in labels]
    if any(len(places) != 1 for places in found) or len({places[0] for places in found}) < len(labels):
        raise ModelError(
            f"the model calls its classes {', '.join(names)}, the task {', '.join(labels)}, and these names "
            "cannot be matched; write the task's names, in the model's order, as id2label in its config.json"
        )
    return np.array([places[0] for places in found])


def _matching(label: str, names: Sequence[str]) -> list[int]:
    """Names that are the label, else those of which one is the beginning of the other."""
    wanted, known = _plain(label), [_plain(name) for name in names]
    equal = [place for place, name in enumerate(known) if name == wanted]
    alike = [
        place
        for place, name in enumerate(known)
        if min(len(name), len(wanted)) >= 3 and (name.startswith(wanted) or wanted.startswith(name))
    ]
    return equal or alike


def _plain(name: str) -> str:
    return re.sub(r"\W|_", "", name.casefold())
