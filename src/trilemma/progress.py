"""How long-running work says how far it is, without knowing who listens."""

from collections.abc import Callable, Iterator, Sequence

Progress = Callable[[float, float, str], None]
"""Called often, so cheap: with the work done so far and in total, and its unit (items, steps, tokens)."""


def parts_of(progress: Progress, sizes: Sequence[float]) -> Iterator[Progress]:
    """What each part of a piece of work reports to, one after the other, so that the whole is told in parts.

    Args:
        progress: is given the share of the whole that is done.
        sizes: of the parts, in any unit.
    """
    before = 0.0
    for size in sizes:

        def report(done: float, total: float, unit: str, before: float = before, size: float = size) -> None:
            progress((before + size * done / total) / sum(sizes), 1.0, "")

        yield report
        before += size


def silent(done: float, total: float, unit: str) -> None:
    """A listener that does nothing."""
