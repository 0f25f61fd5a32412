"""Points of a grid, and which of them need not be tried."""

from collections.abc import Iterable
from itertools import product
from typing import NamedTuple


class Point(NamedTuple):
    """Where something is measured: items a batch, tokens an item."""

    batch: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of the whole batch."""
        return self.batch * self.length

    def within(self, other: "Point") -> bool:
        """Whether this point is at most as large as the other, in both directions."""
        return self.batch <= other.batch and self.length <= other.length


class Unmeasured(NamedTuple):
    """Why a point has no value."""

    reason: str


def grid_points(batches: Iterable[int], lengths: Iterable[int]) -> list[Point]:
    """All combinations, smallest first."""
    points = {Point(batch, length) for batch, length in product(batches, lengths)}
    return sorted(points, key=lambda point: (point.tokens, point.batch))


class Boundary:
    """Which points of an ascending grid one model need not be tried at, after how smaller points went.

    Args:
        time_limit: seconds that one repetition may take.
    """

    def __init__(self, time_limit: float) -> None:
        self.time_limit = time_limit
        self._taken: dict[Point, float] = {}
        self._failed: dict[Point, str] = {}

    def passed(self, point: Point, seconds: float) -> str | None:
        """Note what a repetition took; the reason not to go on if that was over the limit."""
        self._taken[point] = seconds
        return self.too_slow(point) if seconds > self.time_limit else None

    def too_slow(self, point: Point) -> str:
        """Note that a repetition was over the limit, and say so."""
        return self._failed.setdefault(point, f"a repetition takes over {self.time_limit:g} s")

    def out_of_memory(self, point: Point) -> str:
        """Note that the point did not fit, and say so."""
        return self._failed.setdefault(point, "out of memory")

    def refusal(self, point: Point) -> str | None:
        """The reason not to try the point, or None.

        Work that takes seconds grows at least linearly with tokens, so a point is left out where the
        largest smaller one, scaled by tokens, is over the limit already.
        """
        for failed, reason in self._failed.items():
            if failed.within(point):
                return f"{reason} already at batch {failed.batch}, length {failed.length}"
        smaller = [known for known in self._taken if known.within(point)]
        if not smaller:
            return None
        nearest = max(smaller, key=lambda known: known.tokens)
        taken = self._taken[nearest]
        if taken * point.tokens / nearest.tokens <= self.time_limit:
            return None
        return (
            f"a repetition would take over {self.time_limit:g} s, as batch {nearest.batch}, "
            f"length {nearest.length} takes {taken:.3g} s"
        )
