"""Constraint queries: of the candidates that meet every bound, which is best?

A bound counts as met only if the 95% limit on the bad side meets it; otherwise it is "met by the
point estimate only". Where no interval was measured the point estimate decides. Performance and
robustness are aggregated over the study's tasks, efficiency is read at an operating point.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pandas as pd

from trilemma.analysis.apart import Outcome, outcomes
from trilemma.analysis.cautions import MEANINGLESS, join
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.metrics import Metric, format_value, parse_limit
from trilemma.analysis.plugged import metric_of
from trilemma.analysis.skill import NO_SKILL, without_skill
from trilemma.analysis.values import Candidate, Value
from trilemma.errors import TrilemmaError
from trilemma.terminal import printable

Standing = Literal["met", "met by the point estimate only", "not met", "not measured", "no skill"]
ORDER: tuple[Standing, ...] = (
    "met",
    "met by the point estimate only",
    "not met",
    "not measured",
    "no skill",
)
_FEW_BYTES = 1000
"""A limit on memory below this is a number whose unit was forgotten."""


@dataclass(frozen=True)
class Bound:
    """A limit on one metric: at most (``max``) or at least (``min``) ``limit``, in the metric's unit."""

    metric: Metric
    side: Literal["max", "min"]
    limit: float

    def __str__(self) -> str:
        limit = format_value(self.limit, self.metric.unit)
        return f"{self.metric.title} {'≤' if self.side == 'max' else '≥'} {limit}"

    def standing(self, value: Value) -> Standing:
        """How ``value`` stands to the limit; without an interval, the point estimate decides."""
        if value.value is None:
            return "not measured"
        worst = value.high if self.side == "max" else value.low
        if self._holds(value.value if worst is None else worst):
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
        metric = self.bound.metric
        if self.value.value is None:
            return f"{self.bound}: {self.value.note or 'not measured'}"
        number = format_value(self.value.value, metric.unit, self.value.low, self.value.high)
        where = _where(self.value)
        if self.value.low is None and self.value.high is None:
            where += " (exact)" if metric.exact else " (no interval)"
        return f"{self.bound}: {self.standing}, {number}{where}"


@dataclass(frozen=True)
class Ranked:
    """One candidate in the answer.

    Attributes:
        candidate: its name.
        standing: the worst standing of its checks; ``no skill`` where it is not distinguishably above
            the majority class on any task.
        best: its value of the metric that is to be best.
        checks: one a bound.
        outcome: how it compares with the chosen candidate on that metric; None for the chosen one and
            for those that are not compared.
    """

    candidate: str
    standing: Standing
    best: Value
    checks: tuple[Check, ...]
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Decision:
    """The answer to a query.

    Attributes:
        metric: the metric that is to be best.
        at: the operating point in words.
        bounds: the limits asked for.
        ranked: all candidates: those that meet every bound first, each group by ``metric``.
        choice: the best candidate that meets every bound; None if there is none.
    """

    metric: Metric
    at: str
    bounds: tuple[Bound, ...]
    ranked: tuple[Ranked, ...]
    choice: str | None

    def __str__(self) -> str:
        return self.text()

    @property
    def ties(self) -> tuple[str, ...]:
        """Other candidates that meet every bound and are not distinguishable from the choice."""
        return self._others(False)

    @property
    def untested(self) -> tuple[str, ...]:
        """Other candidates that meet every bound and could not be tested against the choice."""
        return self._others(None)

    @property
    def nearly(self) -> tuple[str, ...]:
        """Candidates that miss a bound only because of the width of an interval."""
        return tuple(r.candidate for r in self.ranked if r.standing == "met by the point estimate only")

    def _others(self, apart: bool | None) -> tuple[str, ...]:
        met = [r for r in self.ranked if r.standing == "met" and r.outcome is not None]
        return tuple(r.candidate for r in met if r.outcome is not None and r.outcome.apart is apart)

    def to_json(self) -> str:
        """The whole answer as JSON; what is not finite is null."""
        content = {
            "best": self.metric.name,
            "at": self.at,
            "bounds": [_bound_fields(bound) for bound in self.bounds],
            "ranked": [_ranked_fields(row) for row in self.ranked],
            "choice": self.choice,
            "ties": self.ties,
            "untested": self.untested,
            "met_by_the_point_estimate_only": self.nearly,
            "answer": self.answer(),
        }
        return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)

    def answer(self) -> str:
        """The answer in one or two sentences."""
        asked = " and ".join(str(bound) for bound in self.bounds) or "no bound"
        nearly = (
            f" {join(self.nearly)} would by the point estimate, but not by the 95% limit."
            if self.nearly
            else ""
        )
        if self.choice is None:
            return printable(f"{self._nobody(asked)}{nearly}{self._without_skill()}")
        chosen = next(r for r in self.ranked if r.candidate == self.choice)
        value = _value_text(chosen.best, self.metric)
        point = _where(chosen.best) or f" ({self.at})"
        text = f"{self.choice}: the best {self.metric.title}, {value}, under {asked}{point}."
        if self.ties:
            text += f" Not distinguishable from it: {join(self.ties)}."
        if self.untested:
            reason = next(str(r.outcome) for r in self.ranked if r.candidate == self.untested[0])
            text += f" {join(self.untested)}: {reason}."
        if self.nearly:
            text += f" {join(self.nearly)} would qualify by the point estimate, but not by the 95% limit."
        values = [chosen.best, *(check.value for check in chosen.checks)]
        cautions = [
            note for value in values for note in value.note.split("; ") if note.startswith(MEANINGLESS)
        ]
        cautions += ["a split is partial"] if any(value.partial for value in values) else []
        said = "".join(f" Caution: {caution}." for caution in dict.fromkeys(cautions))
        return printable(text + said + self._without_skill())

    def _nobody(self, asked: str) -> str:
        if all(row.standing == NO_SKILL for row in self.ranked):
            return "No candidate can be recommended."
        if not self.bounds:
            return f"No candidate with skill has a value of {self.metric.title}."
        return f"No candidate meets {asked} (95% limits, {self.at})."

    def _without_skill(self) -> str:
        names = [row.candidate for row in self.ranked if row.standing == NO_SKILL]
        if not names:
            return ""
        return (
            f" Caution: no skill: {join(names)}; clean accuracy is not distinguishably above that of the "
            f"majority class, so {MEANINGLESS}."
        )

    def text(self) -> str:
        """The answer, the ranking and the reason for each rejection, for a terminal."""
        lines = [self.answer(), ""]
        for rank, row in enumerate(self.ranked, start=1):
            place = f"{rank}." if row.standing == "met" else "✗"
            tie = f"; against the first: {row.outcome}" if row.outcome else ""
            skill = f" ({NO_SKILL})" if row.standing == NO_SKILL else ""
            value = _value_text(row.best, self.metric)
            point = _where(row.best)
            lines.append(f"{place:3} {row.candidate}{skill}: {self.metric.title} {value}{point}{tie}")
            lines += [f"      {check}" for check in row.checks]
        lines += [
            "",
            "95% intervals in brackets; a bound is met only if the 95% limit meets it, where there is one.",
        ]
        return printable("\n".join(lines))


def _bound_fields(bound: Bound) -> dict[str, Any]:
    return {"metric": bound.metric.name, "side": bound.side, "limit": bound.limit}


def _ranked_fields(row: Ranked) -> dict[str, Any]:
    checks = [
        {"bound": _bound_fields(c.bound), "value": asdict(c.value), "standing": c.standing}
        for c in row.checks
    ]
    return {
        "candidate": row.candidate,
        "standing": row.standing,
        "best": asdict(row.best),
        "checks": checks,
        "distinguishable": row.outcome.apart if row.outcome else None,
        "p_adjusted": row.outcome.p if row.outcome else None,
        "test": str(row.outcome) if row.outcome else "",
    }


def _where(value: Value) -> str:
    """The point that a value was read at where it is not the operating point."""
    first = value.note.split("; ")[0]
    return f" ({first})" if first.startswith("at ") else ""


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(part) for key, part in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(part) for part in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _value_text(value: Value, metric: Metric) -> str:
    if value.value is None:
        return value.note or "not measured"
    return format_value(value.value, metric.unit, value.low, value.high)


def read_bounds(limits: Mapping[str, str | float], records: pd.DataFrame) -> list[Bound]:
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
        metric = metric_of(records, metric_name)
        number = parse_limit(metric, limit)
        bare = not re.search("[a-zA-Z]", str(limit))
        if metric.unit == "bytes" and bare and number < _FEW_BYTES:
            raise TrilemmaError(
                f"{name} {limit} means {number:g} bytes; write the unit, for example {number:g}GB"
            )
        bounds.append(Bound(metric, "max" if side == "max" else "min", number))
    return bounds


def decide(evidence: Evidence, best: str, bounds: Sequence[Bound] = ()) -> Decision:
    """Answer a query.

    A candidate without skill (:mod:`trilemma.analysis.skill`) is never the answer.

    Args:
        evidence: the study's two tables; its operating point is where efficiency is read.
        best: the metric to optimise among candidates that meet every bound.
        bounds: the limits.

    Raises:
        TrilemmaError: for an unknown metric, or one that no candidate was measured on.
    """
    lacking = without_skill(evidence)

    def titled(metric: Metric) -> Metric:
        return replace(metric, title=evidence.title(metric))

    metric = titled(metric_of(evidence.records, best))
    bounds = [replace(bound, metric=titled(bound.metric)) for bound in bounds]
    rows = [_hold(evidence, c, metric, bounds, c.name in lacking) for c in evidence.candidates]
    _refuse_unmeasured(metric, [row.best for row in rows])
    for index, bound in enumerate(bounds):
        _refuse_unmeasured(bound.metric, [row.checks[index].value for row in rows])
    rows.sort(key=lambda row: (ORDER.index(row.standing), _rank(metric, row.best)))
    accepted = [row for row in rows if row.standing == "met"]
    choice = accepted[0].candidate if accepted else None
    if len(accepted) > 1:
        rows[: len(accepted)] = _compare_with_first(evidence, metric, accepted)
    return Decision(metric, str(evidence.at), tuple(bounds), tuple(rows), choice)


def _hold(
    evidence: Evidence, candidate: Candidate, best: Metric, bounds: Sequence[Bound], unskilled: bool
) -> Ranked:
    checks = []
    for bound in bounds:
        value = evidence.value(bound.metric, candidate)
        checks.append(Check(bound, value, bound.standing(value)))
    value = evidence.value(best, candidate)
    standings = [check.standing for check in checks] + (["not measured"] if value.value is None else ["met"])
    worst = max(standings, key=ORDER.index)
    return Ranked(candidate.name, NO_SKILL if unskilled else worst, value, tuple(checks))


def _refuse_unmeasured(metric: Metric, values: Sequence[Value]) -> None:
    if all(value.value is None for value in values):
        notes = {value.note for value in values if value.note}
        remedy = "; name what is to be measured in the study's `efficiency` block and run it again"
        raise TrilemmaError(
            f"no candidate has a value of {metric.name}: {'; '.join(sorted(notes)) or 'not measured'}"
            + (remedy if metric.axis == "E" and notes <= {"not measured"} else "")
        )


def _rank(metric: Metric, value: Value) -> float:
    if value.value is None:
        return math.inf
    return value.value if metric.better == "lower" else -value.value


def _compare_with_first(evidence: Evidence, metric: Metric, accepted: list[Ranked]) -> list[Ranked]:
    by_name = {candidate.name: candidate for candidate in evidence.candidates}
    first, *others = (by_name[row.candidate] for row in accepted)
    found = outcomes(evidence, metric, first, others)
    compared = [replace(row, outcome=outcome) for row, outcome in zip(accepted[1:], found, strict=True)]
    return [accepted[0], *compared]
