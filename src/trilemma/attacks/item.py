"""One item under attack: the clean text, as transformations and constraints see it, and its query budget."""

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.victims.local import WhiteBox, required
from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError
from trilemma.tasks.task import Text

if TYPE_CHECKING:
    from trilemma.inference.gradients import TokenGradients


@dataclass(frozen=True, eq=False)
class Item:
    """A clean item, of which one text is attacked.

    Attributes:
        text: the clean input.
        label: its class.
        field: which of its texts is attacked.
        original: that text, split into words.
        random: the item's own source of randomness: the same whatever other items are attacked.
        similarities: of changed texts to the original one, where a constraint has measured them.
    """

    text: Text
    label: int
    field: int
    original: SplitText
    random: random.Random
    similarities: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, text: Text, label: int, field: int, seed: int) -> "Item":
        """An item; ``field`` counts from the end where it is negative."""
        field %= len(text)
        return cls(text, label, field, SplitText.of(text[field]), random.Random(f"{seed} {text}"))

    def full(self, words: SplitText) -> Text:
        """The whole item, with another text in the attacked field."""
        return (*self.text[: self.field], words.text, *self.text[self.field + 1 :])

    def at(self, field: int) -> "Item":
        """The same item with another of its texts in place of the attacked one."""
        if field == self.field:
            return self
        return replace(self, field=field, original=SplitText.of(self.text[field]))


class SpentError(Exception):
    """An item's budget of queries is used up; this ends its search."""


class Budget:
    """The queries of one item: how many are allowed, what was asked, and what the victim answered.

    Args:
        queries: how many are allowed, of distinct texts.
        victim: answers texts with class probabilities.
        white_box: the victim's gradients and embeddings; None where it gives probabilities alone.

    Raises:
        AttackError: if no query is allowed.
    """

    def __init__(self, queries: int, victim: Service, white_box: WhiteBox | None = None) -> None:
        if queries < 1:
            raise AttackError(
                f"a budget of {queries} queries is not enough to ask the victim about the item itself; "
                "allow at least 1"
            )
        self._allowed, self._victim, self._white_box = queries, victim, white_box
        self._answers: dict[Text, NDArray[np.float32]] = {}
        self._differentiated: set[Text] = set()

    @property
    def spent(self) -> int:
        """Distinct texts whose answers were asked for so far, and distinct texts whose gradients were."""
        return len(self._answers) + len(self._differentiated)

    @property
    def left(self) -> int:
        """Queries that are still allowed."""
        return max(0, self._allowed - self.spent)

    @property
    def white_box(self) -> WhiteBox:
        """The victim's gradients and embeddings.

        Raises:
            AttackError: if it shows none.
        """
        return required(self._white_box)

    def answers(self, texts: Sequence[Text]) -> Steps[dict[Text, NDArray[np.float32]]]:
        """The victim's probabilities, by text; only for as many texts as the budget allows.

        Raises:
            SpentError: if it allows none.
        """
        new = list(dict.fromkeys(text for text in texts if text not in self._answers))
        if new and not self.left and all(text not in self._answers for text in texts):
            raise SpentError
        new = new[: self.left]
        outputs = yield from ask(self._victim, new)
        self._answers.update(zip(new, outputs, strict=True))
        return {text: self._answers[text] for text in texts if text in self._answers}

    def gradients(self, texts: Sequence[Text], label: int) -> Steps[list["TokenGradients"]]:
        """Gradients of a label's loss by the tokens' embeddings, in order; each distinct text is a query.

        Raises:
            AttackError: if the victim shows none.
            SpentError: if the budget does not allow all of them.
        """
        service = self.white_box.gradients
        new = set(texts) - self._differentiated
        if len(new) > self.left:
            raise SpentError
        self._differentiated |= new
        return list((yield from ask(service, [(text, label) for text in texts], remembered=False)))
