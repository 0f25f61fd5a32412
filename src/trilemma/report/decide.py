"""Constraint queries: of the candidates that meet every bound, which is best?

A bound counts as met only if the 95% limit on the bad side meets it; otherwise it is "met by the
point estimate only". Performance and robustness are aggregated over the study's tasks, efficiency is
read at an operating point.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from trilemma.comparisons import SIGNIFICANCE
from trilemma.errors import TrilemmaError
from trilemma.report.cautions import MEANINGLESS
from trilemma.report.evidence import Evidence
from trilemma.report.metrics import Metric, find_metric, format_value, parse_limit
from trilemma.report.values import Candidate, Value

Standing = Literal["met", "met by the point estimate only", "not met", "not measured"]
ORDER: tuple[Standing, ...] = ("met", "met by the point estimate only", "not met", "not measured")


@dataclass(frozen=True)
class Bound:
    """A limit on one metric: at most (``max``) or at least (``min``) ``limit``, in the metric's unit."""

    metric: str
    side: Literal["max", "min"]
    limit: float

    def __str__(self) -> str:
        metric = find_metric(self.metric)
        return f"{metric.title} {'≤' if self.side == 'max' else '≥'} {format_value(self.limit, metric.unit)}"

    def standing(self, value: Value) -> Standing:
        """How ``value`` stands to the limit; only a count needs no interval to meet it."""
        if value.value is None:
            return "not measured"
        worst = value.high if self.side == "max" else value.low
        if worst is None and find_metric(self.metric).exact:
            worst = value.value
        if worst is not None and self._holds(worst):
            return "met"
        return "met by the point estimate only" if self._holds(value.value) else "not met"

    def _holds(self, number: float) -> bool:
        return number <= self.limit if self.side == "max" else number >= self.limit


@dataclass(frozen=True)
class Check:
    """One bound held against one candidate's value."""

    bound: Bound
    value: Value
    standing: Standing

    def __str__(self) -> str:
        unit = find_metric(self.bound.metric).unit
        if self.value.value is None:
            return f"{self.bound}: {self.value.note or 'not measured'}"
        number = format_value(self.value.value, unit, self.value.low, self.value.high)
        where = f" ({self.value.note})" if self.value.note.startswith("at ") else ""
        if self.value.low is None and self.standing == "met by the point estimate only":
            where += " (no interval was measured)"
        return f"{self.bound}: {self.standing}, {number}{where}"


@dataclass(frozen=True)
class Ranked:
    """One candidate in the answer.

    Attributes:
        candidate: its name.
        standing: the worst standing of its checks.
        best: its value of the metric that is to be best.
        checks: one a bound.
        distinguishable: whether it differs from the chosen candidate on that metric (paired test, 5%
            after Holm); None for the chosen one and for those that are not compared.
        p_adjusted: of that comparison.
    """

    candidate: str
    standing: Standing
    best: Value
    checks: tuple[Check, ...]
    distinguishable: bool | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True)
class Decision:
    """The answer to a query.

    Attributes:
        best: name of the metric that is to be best.
        at: the operating point in words.
        bounds: the limits asked for.
        ranked: all candidates: those that meet every bound first, each group by ``best``.
        choice: the best candidate that meets every bound; None if there is none.
    """

    best: str
    at: str
    bounds: tuple[Bound, ...]
    ranked: tuple[Ranked, ...]
    choice: str | None

    @property
    def ties(self) -> tuple[str, ...]:
        """Other candidates that meet every bound and are not distinguishable from the choice."""
        return tuple(r.candidate for r in self.ranked if r.standing == "met" and r.distinguishable is False)

    def to_json(self) -> str:
        """The whole answer as JSON."""
        content = asdict(self) | {"ties": self.ties, "answer": self.answer()}
        return json.dumps(content, indent=2, ensure_ascii=False)

    def answer(self) -> str:
        """The answer in one or two sentences."""
        metric = find_metric(self.best)
        asked = " and ".join(str(bound) for bound in self.bounds) or "no bound"
        if self.choice is None:
            nearly = [r.candidate for r in self.ranked if r.standing == "met by the point estimate only"]
            hint = f" Met by the point estimate only: {', '.join(nearly)}." if nearly else ""
            return f"No candidate meets {asked} (95% limits, {self.at}).{hint}"
        chosen = next(r for r in self.ranked if r.candidate == self.choice)
        value = _value_text(chosen.best, metric)
        text = f"{self.choice}: the best {metric.title}, {value}, under {asked} ({self.at})."
        if self.ties:
            text += f" Not distinguishable from it: {', '.join(self.ties)}."
        values = [chosen.best, *(check.value for check in chosen.checks)]
        cautions = [
            note for value in values for note in value.note.split("; ") if note.startswith(MEANINGLESS)
        ]
        cautions += ["a split is partial"] if any(value.partial for value in values) else []
        return text + "".join(f" Caution: {caution}." for caution in dict.fromkeys(cautions))

    def text(self) -> str:
        """The answer, the ranking and the reason for each rejection, for a terminal."""
        metric = find_metric(self.best)
        lines = [self.answer(), ""]
        for rank, row in enumerate(self.ranked, start=1):
            place = f"{rank}." if row.standing == "met" else "✗"
            lines.append(
                f"{place:3} {row.candidate}: {metric.title} {_value_text(row.best, metric)}{_tie_text(row)}"
            )
            lines += [f"      {check}" for check in row.checks]
        lines += ["", "95% intervals in brackets; a bound is met only if the 95% limit meets it."]
        return "\n".join(lines)


def _value_text(value: Value, metric: Metric) -> str:
    if value.value is None:
        return value.note or "not measured"
    return format_value(value.value, metric.unit, value.low, value.high)


def _tie_text(row: Ranked) -> str:
    if row.distinguishable is None:
        return ""
    word = "distinguishable" if row.distinguishable else "not distinguishable"
    return f"; {word} from the first (p = {row.p_adjusted:.3f} after Holm)"


def read_bounds(limits: Mapping[str, str | float]) -> list[Bound]:
    """Bounds from ``{"max_memory": "8GB", "min_clean": 0.88}``: ``max_`` or ``min_`` and a metric or alias.

    Raises:
        TrilemmaError: for another prefix, an unknown metric or an unreadable limit.
    """
    bounds = []
    for name, limit in limits.items():
        side, _, metric_name = name.replace("-", "_").partition("_")
        if side not in ("max", "min") or not metric_name:
            raise TrilemmaError(
                f"cannot read the bound {name!r}; write max_METRIC or min_METRIC, for example max_memory"
            )
        metric = find_metric(metric_name)
        bounds.append(Bound(metric.name, "max" if side == "max" else "min", parse_limit(metric, limit)))
    return bounds


def decide(evidence: Evidence, best: str, bounds: Sequence[Bound] = ()) -> Decision:
    """Answer a query.

    Args:
        evidence: the study's two tables; its operating point is where efficiency is read.
        best: the metric to optimise among candidates that meet every bound.
        bounds: the limits.

    Raises:
        TrilemmaError: for an unknown metric, or one that no candidate was measured on.
    """
    metric = find_metric(best)
    everyone = evidence.candidates
    rows = [_hold(evidence, candidate, metric, bounds) for candidate in everyone]
    _refuse_unmeasured(metric, [row.best for row in rows])
    for index, bound in enumerate(bounds):
        _refuse_unmeasured(find_metric(bound.metric), [row.checks[index].value for row in rows])
    rows.sort(key=lambda row: (ORDER.index(row.standing), _rank(metric, row.best)))
    accepted = [row for row in rows if row.standing == "met"]
    choice = accepted[0].candidate if accepted else None
    if len(accepted) > 1:
        rows[: len(accepted)] = _compare_with_first(evidence, metric, accepted)
    return Decision(metric.name, str(evidence.at), tuple(bounds), tuple(rows), choice)


def _hold(evidence: Evidence, candidate: Candidate, best: Metric, bounds: Sequence[Bound]) -> Ranked:
    checks = []
    for bound in bounds:
        value = evidence.value(find_metric(bound.metric), candidate)
        checks.append(Check(bound, value, bound.standing(value)))
    value = evidence.value(best, candidate)
    standings = [check.standing for check in checks] + (["not measured"] if value.value is None else ["met"])
    worst = max(standings, key=ORDER.index)
    return Ranked(candidate.name, worst, value, tuple(checks))


def _refuse_unmeasured(metric: Metric, values: Sequence[Value]) -> None:
    if all(value.value is None for value in values):
        notes = {value.note for value in values if value.note}
        raise TrilemmaError(
            f"no candidate has a value of {metric.name}: {'; '.join(sorted(notes)) or 'not measured'}"
        )


def _rank(metric: Metric, value: Value) -> float:
    if value.value is None:
        return math.inf
    return value.value if metric.better == "lower" else -value.value


def _compare_with_first(evidence: Evidence, metric: Metric, accepted: list[Ranked]) -> list[Ranked]:
    """Paired tests against the first, Holm-adjusted; what cannot be tested is not told apart."""
    by_name = {candidate.name: candidate for candidate in evidence.candidates}
    first = by_name[accepted[0].candidate]
    adjusted = tests_against(evidence, metric, first, [by_name[row.candidate] for row in accepted[1:]])
    compared = [
        replace(row, distinguishable=p < SIGNIFICANCE, p_adjusted=p)
        for row, p in zip(accepted[1:], adjusted, strict=True)
    ]
    return [accepted[0], *compared]


def tests_against(
    evidence: Evidence,
    metric: Metric,
    first: Candidate,
    others: Sequence[Candidate],
    level: str | None = None,
) -> list[float]:
    """Holm-adjusted p of ``first`` against each of ``others``; 1 where nothing could be tested."""
    p_values = [evidence.adjusted_p(metric, first, other, level) for other in others]
    return [1.0 if p is None else p for p in p_values]
