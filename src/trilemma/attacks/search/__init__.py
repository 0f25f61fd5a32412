"""In which order candidates are tried: searches over the words of one item."""

from collections.abc import Callable

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.state import SearchState

Search = Callable[[SearchState], Steps[None]]
"""Looks for the goal among the transformation's proposals, until it is met, nothing is left to try, or the
budget is spent; its result is the state's ``best``."""
