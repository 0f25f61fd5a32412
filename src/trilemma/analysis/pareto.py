"""The Pareto front over any metrics, and which dominations the paired tests bear out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trilemma.analysis.candidates import Candidate
from trilemma.analysis.evidence import NO_SKILL, Evidence
from trilemma.analysis.lookup import Estimate, metric_of
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS, Metric
from trilemma.statistics.sums import Array

DEFAULT = ("latency_ms", "accuracy", "robust_accuracy")
"""One metric of each axis."""


@dataclass(frozen=True)
class Position:
    """Where a candidate stands.

    Attributes:
        candidate: its name.
        values: the value of each metric of the front; None where it was not measured.
        on_front: no candidate dominates it, by the point estimates; None where a metric is missing.
        dominated_by: the candidates that dominate it by the point estimates.
        settled_by: those of them that the tests bear out: each is distinguishably better on some metric, and
            on every other one distinguishably better, equivalent within the study's margin, or exactly as
            good.
        skill: False where its scores mean nothing: it has no place on a front of performance or robustness.
    """

    candidate: str
    values: tuple[Estimate, ...]
    on_front: bool | None
    dominated_by: tuple[str, ...] = ()
    settled_by: tuple[str, ...] = ()
    skill: bool = True

    @property
    def standing(self) -> str:
        """In words, with how sure it is."""
        if not self.skill:
            return NO_SKILL
        if self.on_front is None:
            return "not placed"
        if self.on_front:
            return "on the front"
        if self.settled_by:
            return f"dominated by {', '.join(self.settled_by)}"
        return f"behind {', '.join(self.dominated_by)}, not settled"


@dataclass(frozen=True)
class Front:
    """All candidates' positions under some metrics."""

    metrics: tuple[Metric, ...]
    titles: tuple[str, ...]
    positions: tuple[Position, ...]

    def table(self) -> pd.DataFrame:
        """One row for each candidate: each metric with its limits, front membership, domination."""
        rows = []
        for position in self.positions:
            row: dict[str, object] = {"candidate": position.candidate}
            for metric, value in zip(self.metrics, position.values, strict=True):
                key = metric.key
                row |= {key: value.value, f"{key}_low": value.low, f"{key}_high": value.high}
            row["on_front"] = position.on_front
            row["skill"] = position.skill
            row["dominated_by"] = ", ".join(position.dominated_by)
            row["settled_by"] = ", ".join(position.settled_by)
            rows.append(row)
        return pd.DataFrame(rows)


def front(evidence: Evidence, metrics: Sequence[str] = DEFAULT) -> Front:
    """Compute the Pareto front.

    A candidate is dominated by one that is at least as good on every metric and better on one. One without
    skill has no place on a front that shows performance or robustness.

    Args:
        evidence: the study's two tables; its operating point is where efficiency is read.
        metrics: at least two names of metrics.

    Raises:
        TrilemmaError: for an unknown metric, fewer than two, or one that no candidate was measured on.
    """
    chosen = tuple(dict.fromkeys(metric_of(evidence.records, name) for name in metrics))
    if len(chosen) < 2:
        raise TrilemmaError("a Pareto front needs at least two different metrics")
    everyone = evidence.candidates
    values = {c.name: tuple(evidence.estimate(metric, c) for metric in chosen) for c in everyone}
    for column, metric in enumerate(chosen):
        found = [own[column] for own in values.values()]
        if all(one.value is None for one in found):
            why = next((one.absence for one in found), "not measured")
            raise TrilemmaError(f"no candidate has a value of {metric.key}: {why}")
    scored = any(metric.axis != "E" for metric in chosen)
    lacking = evidence.without_skill() if scored else frozenset[str]()
    eligible = [c for c in everyone if c.name not in lacking]
    complete = [c for c in eligible if all(one.value is not None for one in values[c.name])]
    points = np.array(
        [[_cost(m, one.value) for m, one in zip(chosen, values[c.name], strict=True)] for c in complete]
    )
    dominates = domination(points.reshape(len(complete), len(chosen)))

    positions = []
    for candidate in everyone:
        own = values[candidate.name]
        if candidate not in complete:
            positions.append(Position(candidate.name, own, None, skill=candidate.name not in lacking))
            continue
        index = complete.index(candidate)
        by = [complete[other] for other in np.flatnonzero(dominates[:, index])]
        settled = tuple(one.name for one in by if _settled(evidence, one, candidate, chosen))
        positions.append(Position(candidate.name, own, not by, tuple(one.name for one in by), settled))
    return Front(chosen, tuple(evidence.title(metric) for metric in chosen), tuple(positions))


def three_axes(evidence: Evidence) -> Front | None:
    """The front of :data:`DEFAULT`; None where nothing was measured on one of the axes."""
    for name in DEFAULT:
        if all(evidence.estimate(METRICS[name], one).value is None for one in evidence.candidates):
            return None
    return front(evidence)


def _cost(metric: Metric, value: float | None) -> float:
    """The value with its sign turned so that lower is better."""
    assert value is not None
    return value if metric.better == "lower" else -value


def domination(costs: Array) -> NDArray[np.bool_]:
    """Whether row dominates column, [candidates, candidates], from costs [candidates, metrics]."""
    as_good = (costs[:, None] <= costs).all(axis=-1)
    return np.asarray(as_good & (costs[:, None] < costs).any(axis=-1))


def _settled(evidence: Evidence, better: Candidate, worse: Candidate, metrics: Sequence[Metric]) -> bool:
    """Whether the tests bear out that ``better``, ahead by the point estimates, dominates ``worse``."""
    found = [evidence.distinguish(metric, better, [worse])[0] for metric in metrics]
    return any(one.apart for one in found) and all(one.apart or one.as_good for one in found)
