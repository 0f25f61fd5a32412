"""How long-running work says how far it is, without knowing who listens."""

from collections.abc import Callable

Progress = Callable[[float, float, str], None]
"""Called often, so cheap: with the work done so far and in total, and its unit (items, steps, tokens)."""


def silent(done: float, total: float, unit: str) -> None:
    """A listener that does nothing."""
