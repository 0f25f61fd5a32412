"""Paraphrases of a whole text by a model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Service, Steps, ask

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


@dataclass(frozen=True)
class Paraphrase:
    """What a model writes for a text.

    Args:
        model: texts to paraphrases, the most probable first.
    """

    model: Service

    def rewrite(self, attempt: "Attempt") -> Steps[list[str]]:
        """Paraphrases of the attacked field; none of an empty one."""
        if not attempt.original.text.strip():
            return []
        [found] = yield from ask(self.model, [attempt.original.text])
        return list(found)
