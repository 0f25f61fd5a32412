"""The answer to a query: which option that meets every bound is best, and why the others were rejected.

A bound counts as met only if the interval's bad end meets it; else it is "met by the point estimate only",
as it is where there is no interval. Accuracy and robustness are aggregated over the run's tasks,
efficiency is read at the operating point: measured in the run, or forecast for a machine.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trilemma.analysis.comparisons import Distinction
from trilemma.analysis.evidence import NO_SKILL, Evidence
from trilemma.analysis.lookup import Estimate
from trilemma.decision.bounds import ORDER, Bound, Check, Standing
from trilemma.decision.options import Option
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS, PER_ATTACK, Metric
from trilemma.notebook import paragraph, table
from trilemma.terminal import printable
from trilemma.units import join

_FEW = 4
"""Names in a sentence."""

SHOWN = 12
"""Options that a text names of those that qualify, and of those that do not; JSON holds all."""

UNTESTED = "not tested: forecast"
"""Why two forecasts are not held against each other."""

_UNSKILLED = "no official metric is distinguishably above answers without skill"


@dataclass(frozen=True)
class Ranked:
    """One option in the answer.

    Attributes:
        option: what can be chosen.
        standing: the worst standing of its checks; ``no skill`` where none was shown on any
            task.
        best: its value of the metric that is to be best.
        checks: one for each bound.
        distinction: how it compares with the chosen one on that metric; None for the chosen one, for those
            that are rejected, and where both have the accuracy of one candidate.
    """

    option: Option
    standing: Standing
    best: Estimate
    checks: tuple[Check, ...]
    distinction: Distinction | None = None

    @property
    def name(self) -> str:
        """The deployment; of what was measured in a run, the candidate."""
        return str(self.option.deployment)

    @property
    def candidate(self) -> str:
        """The candidate's name."""
        return self.option.deployment.candidate

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was rejected; none where it qualifies."""
        found = [f"{NO_SKILL}: {_UNSKILLED}"] if self.standing == NO_SKILL else []
        if self.option.refusal:
            return (*found, self.option.refusal)
        found += [str(check) for check in self.checks if check.standing != "met"]
        return (*found, *([f"nothing to rank it by: {self.best.absence}"] if self.best.value is None else []))


@dataclass(frozen=True)
class Decision:
    """The answer to a query.

    Attributes:
        metric: the metric that is to be best.
        at: the operating point in words; without the batch where several are compared.
        bounds: the limits that were asked for.
        ranked: all options: those that meet every bound first, each group by ``metric``.
    """

    metric: Metric
    at: str
    bounds: tuple[Bound, ...]
    ranked: tuple[Ranked, ...]

    def __str__(self) -> str:
        return self.text()

    @property
    def qualifying(self) -> tuple[Ranked, ...]:
        """The options that meet every bound, the best first."""
        return tuple(row for row in self.ranked if row.standing == "met")

    @property
    def choice(self) -> str | None:
        """The best option that meets every bound; None if there is none."""
        return next((row.name for row in self.qualifying), None)

    @property
    def ties(self) -> tuple[str, ...]:
        """Options of other candidates that qualify and are not distinguishable from the choice."""
        return self._others(False)

    @property
    def untested(self) -> tuple[str, ...]:
        """Measured options of other candidates that qualify and could not be tested against the choice."""
        return self._others(None)

    @property
    def nearly(self) -> tuple[str, ...]:
        """Options that miss a bound only because of the width of an interval, or because there is none."""
        return tuple(row.name for row in self.ranked if row.standing == "met by the point estimate only")

    def _others(self, apart: bool | None) -> tuple[str, ...]:
        return tuple(
            row.name
            for row in self.qualifying
            if row.candidate != self.qualifying[0].candidate
            and row.distinction
            and (row.distinction.apart, row.distinction.reason == UNTESTED) == (apart, False)
        )

    def why(self, candidate: str) -> str:
        """Why a candidate was rejected, or that it was not: one line for each of its deployments.

        Raises:
            TrilemmaError: for a candidate that is not among the options.
        """
        own = [row for row in self.ranked if candidate in (row.candidate, row.name)]
        if not own:
            known = ", ".join(dict.fromkeys(row.candidate for row in self.ranked))
            raise TrilemmaError(f"no candidate is called {candidate!r}; this decision has: {known}")
        qualified = {row.name: "chosen" if row.name == self.choice else "qualifies" for row in own}
        lines = (f"{row.name}: {'; '.join(row.reasons) or qualified[row.name]}" for row in own)
        return printable("\n".join(lines))

    def answer(self) -> str:
        """The answer in a few sentences."""
        asked = " and ".join(str(bound) for bound in self.bounds) or "no bound"
        unskilled = dict.fromkeys(row.candidate for row in self.ranked if row.standing == NO_SKILL)
        sentences = []
        if self.qualifying:
            chosen, others = self.qualifying[0], self.untested
            where = chosen.best.where or chosen.option.deployment.point
            value = chosen.best.text(self.metric.unit)
            sentences.append(
                f"{chosen.name}: the best {self.metric.title}, {value}, under {asked} ({where})."
            )
            if self.ties:
                sentences.append(f"Not distinguishable from it: {join(_few(self.ties))}.")
            if others:
                reason = next(str(row.distinction) for row in self.qualifying if row.name == others[0])
                sentences.append(f"{join(_few(others))}: {reason}.")
        else:
            sentences.append(self._nobody(asked))
        if self.nearly:
            would = f"would{' qualify' if self.qualifying else ''} by the point estimate, but"
            sentences.append(f"{join(_few(self.nearly))} {would} {self._unmet()}.")
        sentences += self._doubts()
        if unskilled:
            sentences.append(
                f"Caution: no skill: {join(unskilled)}; {_UNSKILLED}, so robustness says nothing."
            )
        return printable(" ".join(sentences))

    def _unmet(self) -> str:
        """What those lack that would meet the bounds by the point estimate."""
        rows = [row for row in self.ranked if row.name in self.nearly]
        short = [c.value for row in rows for c in row.checks if c.standing == row.standing]
        kinds = {one.low is None for one in short}
        limit, nothing = "not by the limit of its interval", "how far off that may be is not known"
        return limit if kinds == {False} else nothing if kinds == {True} else f"{limit}, or {nothing}"

    def _doubts(self) -> Iterator[str]:
        """What limits what is said of the chosen option."""
        for row in self.qualifying[:1]:
            values = [(self.metric, row.best), *((check.bound.metric, check.value) for check in row.checks)]
            tasks = row.option.meaningless_on
            if tasks and any(metric.axis == "R" for metric, _ in values):
                yield f"Caution: robustness says nothing on {join(tasks)}."
            if any(value.partial for _, value in values):
                yield "Caution: a split is partial."

    def _nobody(self, asked: str) -> str:
        if all(row.standing == NO_SKILL for row in self.ranked):
            return "No candidate can be recommended."
        if not self.bounds and all(row.option.refusal for row in self.ranked):
            return f"No deployment is possible ({self.at})."
        if not self.bounds:
            return f"No candidate with skill has a value of {self.metric.title}."
        what = "candidate" if all(row.option.measured for row in self.ranked) else "deployment"
        return f"No {what} meets {asked} (by the limits of the intervals, {self.at})."

    def text(self) -> str:
        """The answer, the ranking and the reason for each rejection, for a terminal."""
        qualifying, rejected = self.qualifying, self.ranked[len(self.qualifying) :]
        lines = [self.answer(), ""]
        for rank, row in enumerate(qualifying[:SHOWN], start=1):
            lines += self._lines(row, f"{rank}.")
        if len(qualifying) > SHOWN:
            lines.append(f"{len(qualifying) - SHOWN} more qualify; --json lists all.")
        if len(rejected) <= SHOWN:
            lines += [line for row in rejected for line in self._lines(row, "✗")]
        else:
            lines += self._summary(rejected)
        return printable("\n".join([*lines, "", *self._legend()]))

    def _lines(self, row: Ranked, place: str) -> Iterator[str]:
        start = f"{place:3} {row.name}{f' ({NO_SKILL})' if row.standing == NO_SKILL else ''}"
        if row.option.refusal:
            yield f"{start}: {row.option.refusal}"
            return
        tested = row.distinction is not None and row.distinction.reason != UNTESTED
        tie = f"; against the first: {row.distinction}" if tested else ""
        point = f" ({row.best.where})" if row.best.where else ""
        yield f"{start}: {self.metric.title} {row.best.text(self.metric.unit)}{point}{tie}"
        yield from (f"      {check}" for check in row.checks)

    def _summary(self, rejected: Sequence[Ranked]) -> Iterator[str]:
        """Why many options were rejected, the most frequent reason first, with the one that came nearest."""
        kinds: dict[str, list[tuple[float, str]]] = {}
        for row in rejected:
            missed = {f"misses {c.bound}": (c.bound.excess(c.value), str(c)) for c in row.checks}
            missed = {kind: one for kind, one in missed.items() if one[1] in row.reasons}
            for kind, (excess, reason) in (missed or {"cannot be deployed": (0.0, row.reasons[0])}).items():
                kinds.setdefault(kind, []).append((excess, f"{row.name} ({reason})"))
        for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
            yield f"✗   {len(found)} rejected, {kind}; nearest: {min(found, key=lambda one: one[0])[1]}"

    def _legend(self) -> Iterator[str]:
        shown = [one for row in self.ranked for one in (row.best, *(check.value for check in row.checks))]
        limited = [one for one in shown if one.low is not None]
        shares = sorted({f"{one.confidence:.0%}" for one in limited if one.confidence})
        intervals = f"{join(shares)} intervals" if shares else "limits"
        if limited:
            yield f"{intervals.capitalize()} in brackets; a bound is met only if the limit meets it."
        yield from self._notes()

    def _notes(self) -> Iterator[str]:
        """What the records say of the values, each once, with the options of which it is said."""
        found: dict[str, dict[str, None]] = {}
        memory: dict[str, None] = {}
        for row in self.ranked:
            values = ((self.metric, row.best), *((check.bound.metric, check.value) for check in row.checks))
            for metric, one in values:
                if not one.note or one.value is None:
                    continue
                if metric.name == "peak_memory_bytes" and one.basis != "forecast":
                    memory[one.note] = None
                else:
                    found.setdefault(one.note, {})[row.name] = None
        for note in memory:
            yield f"Peak memory is the {note}; Python and its libraries need more beside it."
        for note, names in found.items():
            yield f"{join(_few(list(names)))}: {note}."

    def to_json(self) -> str:
        """The whole answer as JSON; what is not finite is null."""
        content = {
            "best": self.metric.key,
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

    def _repr_html_(self) -> str:
        """The answer and a table of all options, for a notebook."""
        rows = [
            (
                str(rank) if row.standing == "met" else "✗",
                row.name,
                row.best.text(self.metric.unit),
                *(f"{c.value.text(c.bound.metric.unit)}: {c.standing}" for c in row.checks),
                "; ".join(row.reasons),
            )
            for rank, row in enumerate(self.ranked, start=1)
        ]
        header = ("", "option", self.metric.title, *map(str, self.bounds), "rejected because")
        return paragraph(self.answer()) + table(header, rows)


def choose(
    options: Sequence[Option],
    best: Metric,
    bounds: Sequence[Bound],
    at: str,
    evidence: Evidence | None = None,
) -> Decision:
    """Hold every option against every bound and rank those that meet them.

    A candidate without skill is never the answer.

    Args:
        options: what can be chosen.
        best: the metric to optimise among options that meet every bound.
        bounds: the limits.
        at: the operating point, in words.
        evidence: of the run, if there is one: it titles metrics and tests candidates.

    Raises:
        TrilemmaError: for a metric that no option has a value of.
    """
    if evidence is not None:
        best = replace(best, title=evidence.title(best))
        metrics = [replace(bound.metric, title=evidence.title(bound.metric)) for bound in bounds]
        bounds = [replace(bound, metric=metric) for bound, metric in zip(bounds, metrics, strict=True)]
    lacking = evidence.without_skill() if evidence is not None else frozenset[str]()
    rows = [_hold(option, best, bounds, option.deployment.candidate in lacking) for option in options]
    possible = [row for row in rows if not row.option.refusal]
    for metric, values in (
        (best, [row.best for row in possible]),
        *((bound.metric, [row.checks[i].value for row in possible]) for i, bound in enumerate(bounds)),
    ):
        if possible and all(value.value is None for value in values):
            raise TrilemmaError(_absent(metric, values))
    rows.sort(key=lambda row: (ORDER.index(row.standing), *_rank(best, row)))
    first = rows[0].option if rows else None
    ranked = [
        replace(row, distinction=_distinguish(best, first, row.option, evidence))
        if first and index and row.standing == "met"
        else row
        for index, row in enumerate(rows)
    ]
    return Decision(best, at, tuple(bounds), tuple(ranked))


def _hold(option: Option, best: Metric, bounds: Sequence[Bound], unskilled: bool) -> Ranked:
    values = [(bound, option.estimate(bound.metric)) for bound in bounds]
    checks = tuple(Check(bound, value, bound.standing(value)) for bound, value in values)
    value = option.estimate(best)
    standings: list[Standing] = [check.standing for check in checks]
    standings.append("not measured" if value.value is None else "not met" if option.refusal else "met")
    worst = NO_SKILL if unskilled else max(standings, key=ORDER.index)
    return Ranked(option, worst, value, checks)


_REMEDIES = {
    "cost_per_million": "; name machines with a `price` per hour, from a YAML file of machines",
    "energy_j_per_example": "; give each machine its `watts` in a YAML file of machines, or meter them",
}


def _absent(metric: Metric, values: Sequence[Estimate]) -> str:
    """That no option has a metric, so that a bound on it would reject all of them, whatever they are."""
    if metric.name in PER_ATTACK:
        return (
            f"{metric.key} is recorded per attack only, so candidates cannot be ranked by it; choose another "
            "metric, for example robust_accuracy"
        )
    reasons = sorted({value.absence for value in values})
    remedy = _REMEDIES.get(metric.name, "")
    if metric.axis == "E" and reasons == ["not measured"] and metric.name != "cost_per_million":
        remedy = "; name what is to be measured in the study's `efficiency` block and run it again"
    return f"no candidate has a value of {metric.key}: {'; '.join(reasons)}{remedy}"


def _rank(best: Metric, row: Ranked) -> tuple[float, ...]:
    """The smaller the better; forecasts that are alike by cost, then by how much they answer in a second."""
    ties = () if row.option.measured else (METRICS["cost_per_million"], METRICS["examples_per_s"])
    values = [(best, row.best), *((metric, row.option.estimate(metric)) for metric in ties)]
    return tuple(
        math.inf if one.value is None else one.value if metric.better == "lower" else -one.value
        for metric, one in values
    )


def _distinguish(best: Metric, first: Option, other: Option, evidence: Evidence | None) -> Distinction | None:
    a, b = first.candidate, other.candidate
    if a is not None and b is not None and evidence is not None:
        if best.axis != "E" and a == b:
            return None
        if best.axis != "E" or (first.measured and other.measured):
            (found,) = evidence.distinguish(best, a, [b])
            return found
    if best.exact:
        return Distinction(first.estimate(best).value != other.estimate(best).value, reason="exact")
    return Distinction(None, reason=UNTESTED)


def _few(names: Sequence[str]) -> Sequence[str]:
    """The first names, and how many more there are."""
    return names if len(names) <= _FEW else [*names[: _FEW - 1], f"{len(names) - _FEW + 1} others"]


def _bound_fields(bound: Bound) -> dict[str, Any]:
    return {"metric": bound.metric.key, "side": bound.side, "limit": bound.limit}


def _ranked_fields(row: Ranked) -> dict[str, Any]:
    checks = [
        {"bound": _bound_fields(c.bound), "value": asdict(c.value), "standing": c.standing}
        for c in row.checks
    ]
    deployment = row.option.deployment
    return {
        **asdict(deployment),
        "point": deployment.point._asdict(),
        "standing": row.standing,
        "reasons": row.reasons,
        "best": asdict(row.best),
        "checks": checks,
        "distinguishable": row.distinction.apart if row.distinction else None,
        "p_adjusted": row.distinction.p if row.distinction else None,
        "test": str(row.distinction) if row.distinction else "",
    }


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(part) for key, part in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(part) for part in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
