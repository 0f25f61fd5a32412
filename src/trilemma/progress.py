"""How long-running work tells its caller how far it is, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called with work done so far and in total, in ``unit`` (items, steps, tokens, points)."""

    def __call__(self, done: float, total: float, unit: str) -> None:
        """Report; must be cheap, is called often."""


def silent(done: float, total: float, unit: str) -> None:
    """A listener that does nothing."""
