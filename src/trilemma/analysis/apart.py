"""Whether two candidates differ on a metric: a test's answer, a difference of exact values, or no test."""

from collections.abc import Sequence
from dataclasses import dataclass

from trilemma.analysis.comparisons import SIGNIFICANCE
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.metrics import Metric
from trilemma.analysis.values import Candidate


@dataclass(frozen=True)
class Outcome:
    """A candidate held against the first.

    Attributes:
        apart: whether they differ; None where nothing was tested.
        p: after Holm's correction; None where nothing was tested or nothing is uncertain.
        reason: what stands in the place of p.
        shared: whether both have one measurement, so that there is nothing to test.
    """

    apart: bool | None
    p: float | None = None
    reason: str = ""
    shared: bool = False

    def __str__(self) -> str:
        if self.apart is None:
            return self.reason
        why = self.reason if self.p is None else f"{format_p(self.p)} after Holm"
        return f"{'distinguishable' if self.apart else 'not distinguishable'} ({why})"


def format_p(p: float) -> str:
    """``p = 0.031``; small ones are bounded, since resampling finds no smaller."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def outcomes(
    evidence: Evidence,
    metric: Metric,
    first: Candidate,
    others: Sequence[Candidate],
    level: str | None = None,
) -> list[Outcome]:
    """``first`` held against each of ``others``, Holm-adjusted over all pairs of the study's candidates."""
    return [_outcome(evidence, metric, first, other, level) for other in others]


def _outcome(
    evidence: Evidence, metric: Metric, first: Candidate, other: Candidate, level: str | None
) -> Outcome:
    if metric.exact:
        values = [evidence.value(metric, candidate).value for candidate in (first, other)]
        return Outcome(values[0] != values[1], reason="exact")
    if evidence.shared(metric, first, other):
        return Outcome(False, reason="one measurement for both", shared=True)
    p = evidence.adjusted_p(metric, first, other, level)
    if p is not None:
        return Outcome(p < SIGNIFICANCE, p)
    on_items = metric.axis != "E" and metric.name != "held_out_perplexity"
    return Outcome(None, reason="not tested" if on_items else "not tested: no interval")
