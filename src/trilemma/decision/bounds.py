"""Bounds on metrics: read as people write them, and held against a value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from trilemma.analysis.evidence import NO_SKILL
from trilemma.analysis.lookup import Estimate
from trilemma.errors import TrilemmaError
from trilemma.metrics import Metric
from trilemma.units import format_limit, parse_quantity, parse_slo

Standing = Literal["met", "met by the point estimate only", "not met", "not measured", "no skill"]
ORDER: tuple[Standing, ...] = ("met", "met by the point estimate only", "not met", "not measured", NO_SKILL)
"""From the best to the worst."""

_FEW_BYTES = 1000
"""A limit on memory below this is a number whose unit was forgotten."""


@dataclass(frozen=True)
class Bound:
    """A limit on one metric: at most (``max``) or at least (``min``) ``limit``, in the metric's unit."""

    metric: Metric
    side: Literal["max", "min"]
    limit: float

    def __str__(self) -> str:
        limit = format_limit(self.limit, self.metric.unit)
        return f"{self.metric.title} {'≤' if self.side == 'max' else '≥'} {limit}"

    def standing(self, value: Estimate) -> Standing:
        """How ``value`` stands to the limit.

        A bound is met only if the interval's bad end meets it. What was timed, sampled or forecast without an
        interval meets none: less known is not better. What was counted is what it is.
        """
        if value.value is None:
            return "not measured"
        worst = value.high if self.side == "max" else value.low
        if worst is None and (self.metric.exact or value.basis == "counted"):
            worst = value.value
        if worst is not None and self._holds(worst):
            return "met"
        return "met by the point estimate only" if self._holds(value.value) else "not met"

    def excess(self, value: Estimate) -> float:
        """By what share of the limit a value misses it; infinite where there is no value."""
        if value.value is None:
            return float("inf")
        beyond = value.value - self.limit if self.side == "max" else self.limit - value.value
        return beyond / abs(self.limit) if self.limit else beyond

    def _holds(self, number: float) -> bool:
        return number <= self.limit if self.side == "max" else number >= self.limit


@dataclass(frozen=True)
class Check:
    """One bound held against one value."""

    bound: Bound
    value: Estimate
    standing: Standing

    def __str__(self) -> str:
        metric = self.bound.metric
        if self.value.value is None:
            return f"{self.bound}: {self.value.absence}"
        number = self.value.text(metric.unit)
        where = f" ({self.value.where})" if self.value.where else ""
        if self.value.low is None and self.value.high is None:
            why = f": {self.value.note}" if self.value.note and self.value.basis == "measured" else ""
            exact = metric.exact or self.value.basis == "counted"
            where += " (exact)" if exact else f" (no interval{why})"
        return f"{self.bound}: {self.standing}, {number}{where}"


def read_bounds(
    limits: Mapping[str, str | float], slo: str = "", *, find: Callable[[str], Metric]
) -> list[Bound]:
    """Bounds as people write them.

    Args:
        limits: ``{"max_memory": "8GB", "min_clean": 0.88}``: ``max_`` or ``min_`` and a metric or alias.
        slo: bounds on times, ``ttft=200ms,tpot=40ms,latency=1s``.
        find: the metric that a name stands for.

    Raises:
        TrilemmaError: for another prefix, an unknown metric, an unreadable limit, or one that is given twice.
    """
    bounds: dict[str, Bound] = {}
    for name, limit in [*limits.items(), *((f"max_{name}", limit) for name, limit in parse_slo(slo))]:
        side, _, metric_name = name.partition("_")
        if side not in ("max", "min") or not metric_name:
            raise TrilemmaError(
                f"cannot read the bound {name!r}; write max_METRIC or min_METRIC, for example max_memory"
            )
        metric = find(metric_name)
        number = parse_quantity(limit, metric.unit, metric.name)
        bare = not re.search("[a-zA-Z]", str(limit))
        if metric.unit == "bytes" and bare and number < _FEW_BYTES:
            raise TrilemmaError(
                f"{name} {limit} means {number:g} bytes; write the unit, for example {number:g}GB"
            )
        key = f"{side} {metric.key}"
        if key in bounds:
            raise TrilemmaError(f"two bounds are given on the {side} of {metric.key}; give one of them")
        bounds[key] = Bound(metric, "max" if side == "max" else "min", number)
    return list(bounds.values())
