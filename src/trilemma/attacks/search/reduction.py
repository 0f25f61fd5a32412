"""Input reduction: how little of a text the model needs for the same answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.beam import ask_in_turn, nearest, one_change_away

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


@dataclass(frozen=True)
class InputReduction:
    """Take out the least important word while the answer stays (Feng et al. 2018, arXiv 1804.07781).

    A word's importance is how much less sure the victim is without it (their eq. 1); it is asked for again
    after every removal. To be used with the transformation ``Deletion`` and the goal ``InputReduction``.

    Args:
        width: texts that are reduced further at each length, those of the surest answers.
    """

    width: int = 5

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Until every further removal changes the answer."""
        beam, seen = [attempt.first], {attempt.original.text}
        while beam:
            shorter = yield from one_change_away(attempt, beam)
            found = yield from ask_in_turn(attempt, shorter)
            same = [one for one in found if one.success and one.words.text not in seen]
            beam = nearest(same, self.width)
            seen.update(one.words.text for one in found)
