"""In which order candidates are tried: searches over the words of one item."""

from typing import TYPE_CHECKING, Protocol

from trilemma.attacks.lockstep import Steps

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


class Search(Protocol):
    """Looks for the goal among what the transformation proposes; what it finds is the attempt's ``best``."""

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Search until the goal is met, nothing is left to try or the budget is spent."""
