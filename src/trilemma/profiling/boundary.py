"""Which points of a grid one model need not be tried at, after how smaller points went."""

from trilemma.operating_point import OperatingPoint


class Boundary:
    """What one model took at the points of an ascending grid.

    Args:
        time_limit: seconds that one repetition may take.
    """

    def __init__(self, time_limit: float) -> None:
        self.time_limit = time_limit
        self._taken: dict[OperatingPoint, float] = {}
        self._failed: dict[OperatingPoint, str] = {}

    def passed(self, point: OperatingPoint, seconds: float) -> str | None:
        """Note what a repetition took; the reason to stop if that was over the limit."""
        self._taken[point] = seconds
        return self.too_slow(point) if seconds > self.time_limit else None

    def too_slow(self, point: OperatingPoint) -> str:
        """Note that a repetition was over the limit, and say so."""
        return self._failed.setdefault(point, f"a repetition takes over {self.time_limit:g} s")

    def out_of_memory(self, point: OperatingPoint) -> str:
        """Note that the point did not fit, and say so."""
        return self._failed.setdefault(point, "out of memory")

    def refusal(self, point: OperatingPoint) -> str | None:
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
