"""In which order candidates are tried: searches over the words of one item."""

import importlib
from typing import TYPE_CHECKING, Protocol

from trilemma.attacks.lockstep import Steps

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt


class Search(Protocol):
    """Looks for the goal among what the transformation proposes; what it finds is the attempt's ``best``."""

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Search until the goal is met, nothing is left to try or the budget is spent."""


def named_search(name: str) -> Search:
    """The search of that name, with its default settings."""
    module, attribute = _NAMED[name].split(":")
    search: Search = getattr(importlib.import_module(f"trilemma.attacks.search.{module}"), attribute)()
    return search


_NAMED = {
    "greedy": "greedy:GreedyWordImportance",
    "beam": "beam:Beam",
    "genetic": "genetic:Genetic",
    "particle-swarm": "swarm:ParticleSwarm",
    "random": "sampling:Random",
    "exhaustive": "sampling:Exhaustive",
}
