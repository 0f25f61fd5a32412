"""What the user of a study needs: limits that candidates must meet, and differences of no matter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS, find_metric
from trilemma.units import parse_quantity

Quantities = Mapping[str, str | float]
"""By metric or alias a quantity as people write it: ``{"latency": "20ms"}``."""


@dataclass(frozen=True)
class Goals:
    """The ``limits`` and ``margins`` of a study.

    Attributes:
        limits: bounds as a query takes them: ``{"max_latency": "20ms", "min_robustness": "50%"}``.
        margins: by metric, a difference up to which two candidates are as good as one another.
    """

    limits: Quantities = field(default_factory=dict)
    margins: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, limits: Quantities, margins: Quantities) -> "Goals":
        """Read both blocks.

        Raises:
            TrilemmaError: for an unknown metric, an unreadable quantity, or a margin of a metric that is not
                computed from answers.
        """
        bounds = {}
        for name, limit in limits.items():
            metric = find_metric(name)
            parse_quantity(limit, metric.unit, name)
            bounds[f"{'max' if metric.better == 'lower' else 'min'}_{name}"] = limit
        found: dict[str, float] = {}
        for name, margin in margins.items():
            metric = find_metric(name)
            size = parse_quantity(margin, "fraction", name)
            if metric.axis == "E" or metric.unit != "fraction" or size <= 0:
                known = [one.name for one in METRICS.values() if one.axis != "E" and one.unit == "fraction"]
                raise TrilemmaError(
                    f"a margin is a share of answers above 0, as `accuracy: 1pt`; {name}: {margin} is not "
                    f"(known: {', '.join(known)})"
                )
            found[metric.name] = size
        return cls(bounds, found)

    @classmethod
    def of_study(cls, content: Any) -> "Goals":
        """Those of a run folder's ``study.json``, in which nothing is trusted."""
        blocks = [
            content.get(name) if isinstance(content, Mapping) else None for name in ("limits", "margins")
        ]
        limits, margins = (block if isinstance(block, Mapping) else {} for block in blocks)
        return cls.of(limits, margins)
