"""The verdict in words, with its uncertainty: who leads on which axis, who is dominated, what to doubt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trilemma.analysis.candidates import Candidate
from trilemma.analysis.cautions import cautions
from trilemma.analysis.comparisons import Comparison, Distinction, say_p
from trilemma.analysis.crossovers import crossovers
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import Estimate
from trilemma.analysis.pareto import SETTLED, Front
from trilemma.metrics import METRICS, Metric
from trilemma.notebook import paragraph
from trilemma.units import join

AxisName = Literal["efficiency", "performance", "robustness"]

HEADLINE: dict[AxisName, tuple[str, str]] = {
    "efficiency": ("latency_ms", "fastest"),
    "performance": ("accuracy", "most accurate"),
    "robustness": ("robust_accuracy", "most robust"),
}
"""The metric by which candidates are ranked on each axis, and what the best one is called."""

_MOST_LEADERS = 2
"""Candidates that a headline names at most as leading together."""


@dataclass(frozen=True)
class Ranking:
    """The candidates on one axis, best first.

    Attributes:
        axis: which axis.
        metric: the metric by which they are ranked.
        title: what a reader calls its values.
        values: candidate name to value, best first; those without skill after them, those not measured
            last.
        distinctions: the leader against each other candidate that could be the best.
        without_skill: candidates whose robustness means nothing on any task: none of them leads.
        meaningless: candidates whose value means nothing on some tasks, with those tasks.
    """

    axis: AxisName
    metric: Metric
    title: str
    values: dict[str, Estimate]
    distinctions: Mapping[str, Distinction]
    without_skill: frozenset[str]
    meaningless: Mapping[str, tuple[str, ...]]

    @property
    def leader(self) -> str | None:
        """The best candidate by the point estimate; None where nothing was measured, or without skill."""
        first = next(iter(self.values))
        value = self.values[first].value
        return None if value is None or first in self.without_skill else first

    @property
    def measured(self) -> list[str]:
        """The candidates that have a value."""
        return [name for name, value in self.values.items() if value.value is not None]

    @property
    def ties(self) -> list[str]:
        """Candidates that are not distinguishable from the leader."""
        return [name for name in self.others if self.distinctions[name].apart is False]

    @property
    def first(self) -> list[str]:
        """The leader, if any, and those that have the same measurement."""
        shared = [name for name, one in self.distinctions.items() if one.shared]
        return [self.leader, *shared] if self.leader else []

    @property
    def others(self) -> list[str]:
        """The candidates that are held against the first."""
        return [name for name, one in self.distinctions.items() if not one.shared]

    @property
    def untested(self) -> list[str]:
        """Candidates that could not be tested against the leader."""
        return [name for name, one in self.distinctions.items() if one.apart is None]

    @property
    def crowned(self) -> bool:
        """Whether the leader is distinguishably the best of several."""
        return bool(self.others) and not self.ties and not self.untested

    @property
    def ahead(self) -> bool:
        """Whether the leader, and with it those it ties with, is distinguishable from somebody."""
        return not self.untested and 0 < len(self.ties) < len(self.others)

    @property
    def partly_meaningless(self) -> dict[tuple[str, ...], list[str]]:
        """Tasks to the candidates whose value means nothing on these alone."""
        found: dict[tuple[str, ...], list[str]] = {}
        for name, tasks in self.meaningless.items():
            if name not in self.without_skill:
                found.setdefault(tasks, []).append(name)
        return found


@dataclass(frozen=True)
class Verdict:
    """What the study says.

    Attributes:
        headline: one or two sentences.
        advice: what to choose where nothing is distinguishable; "" where a candidate leads.
        rankings: one for each axis.
        findings: sentences, by topic (``efficiency``, ``performance``, ``robustness``, ``trade-off``,
            ``certainty``).
        cautions: what limits the claims: meaningless robustness, partial splits, things not measured.
    """

    headline: str
    advice: str
    rankings: tuple[Ranking, ...]
    findings: tuple[tuple[str, str], ...]
    cautions: tuple[str, ...]

    def summary(self) -> str:
        """The headline, with the advice where there is one."""
        return " ".join(filter(None, (self.headline, self.advice)))

    def text(self) -> str:
        """Everything as plain text."""
        lines = [self.summary(), "", *(sentence for _, sentence in self.findings)]
        return "\n".join([*lines, "", *(f"Caution: {caution}" for caution in self.cautions)])

    def _repr_html_(self) -> str:
        """Everything as paragraphs, for a notebook."""
        return "".join(paragraph(line) for line in self.text().splitlines() if line)


def verdict(evidence: Evidence, front: Front | None, comparisons: Sequence[Comparison]) -> Verdict:
    """Put a study's result into words.

    Args:
        evidence: the study's two tables.
        front: the three-axis Pareto front; None where an axis was not measured.
        comparisons: paired tests of all candidates (Holm-adjusted within each metric).
    """
    rankings = tuple(_ranking(evidence, axis) for axis in HEADLINE)
    efficiency, performance, robustness = (_ranking_sentence(ranking, evidence) for ranking in rankings)
    topics = {
        "efficiency": [efficiency, *crossovers(evidence), *_memory(evidence)],
        "performance": [performance],
        "robustness": [robustness, *_levels(evidence)],
        "trade-off": _trade_off(front),
        "certainty": _tested(comparisons),
    }
    findings = tuple((topic, sentence) for topic, sentences in topics.items() for sentence in sentences)
    advice = _advice(evidence, rankings, front)
    return Verdict(_headline(rankings), advice, rankings, findings, cautions(evidence.records))


def _ranking(evidence: Evidence, axis: AxisName) -> Ranking:
    metric, attacked = METRICS[HEADLINE[axis][0]], axis == "robustness"
    lacking = evidence.without_skill(attacked=attacked)
    known, others = _ordered(evidence, metric)
    eligible = evidence.with_skill(known, attacked=attacked)
    compared = evidence.distinguish(metric, eligible[0], eligible[1:]) if eligible else []
    named = {other.name: one for other, one in zip(eligible[1:], compared, strict=True)}
    below = [candidate for candidate in known if candidate not in eligible]
    ordered = [*eligible, *below, *others]
    values = {candidate.name: evidence.estimate(metric, candidate) for candidate in ordered}
    flagged = {c.name: tasks for c in ordered if attacked and (tasks := evidence.meaningless_on(c))}
    return Ranking(axis, metric, evidence.title(metric), values, named, lacking, flagged)


def _ordered(
    evidence: Evidence, metric: Metric, level: str | None = None
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates that have a value, best first, and those that have none."""
    values = {one: evidence.estimate(metric, one, level).value for one in evidence.candidates}
    sign = 1 if metric.better == "lower" else -1
    known = [one for one, value in values.items() if value is not None]
    others = [one for one, value in values.items() if value is None]
    return sorted(known, key=lambda one: sign * (values[one] or 0.0)), others


def _headline(rankings: Sequence[Ranking]) -> str:
    """Who is clearly best at what, and on which axes the first is not distinguishable from the others."""
    everyone = list(rankings[0].values)
    if len(everyone) == 1:
        return f"{everyone[0]} is the only candidate: there is nothing to compare it with."
    crowns: dict[tuple[str, ...], list[str]] = {}
    open_axes, absent, doubts, leading = [], [], [], []
    lacking = [name for name in everyone if name in rankings[0].without_skill]
    alone = len(everyone) - len(lacking) == 1
    for ranking in rankings:
        _, superlative = HEADLINE[ranking.axis]
        if not ranking.measured:
            absent.append(ranking.axis)
        elif ranking.crowned:
            crowns.setdefault(tuple(ranking.first), []).append(superlative)
        elif ranking.leader is not None and ranking.untested and not ranking.ties:
            reason = ranking.distinctions[ranking.untested[0]]
            doubts.append(f"{ranking.leader} is the {superlative} by the point estimate, {reason}")
        elif ranking.leader is not None and not alone:
            shown = [*ranking.first, *ranking.ties]
            if ranking.ahead and len(shown) <= _MOST_LEADERS:
                leading.append(f"On {ranking.axis} {join(shown)} lead, not distinguishable from one another")
            else:
                open_axes.append(ranking.axis)
        if own := [name for name in ranking.without_skill if name not in lacking]:
            doubts.append(
                f"Robustness is meaningless for {join(own)}: no skill on the tasks that are attacked"
            )
        for tasks, names in ranking.partly_meaningless.items():
            if ranking.leader in names:
                who = "every candidate" if len(names) == len(ranking.measured) > 1 else join(names)
                doubts.append(f"On {join(tasks)} robustness is meaningless for {who}: no skill on clean text")
    crowned = [f"{join(who)} {'is' if len(who) == 1 else 'are'} the {join(of)}" for who, of in crowns.items()]
    sentences = [*(["; ".join(crowned)] if crowned else []), *leading]
    if len(open_axes) == 3:
        sentences.append("No candidate is distinguishable as best on any axis")
    elif open_axes:
        sentences.append(f"On {join(open_axes)} no candidate is distinguishably the best")
    if lacking:
        who = "every candidate" if len(lacking) == len(everyone) else join(lacking)
        if alone:
            skilled = next(name for name in everyone if name not in lacking)
            sentences.append(f"{skilled} is the only candidate with skill on clean text")
        if 2 < len(lacking) < len(everyone):
            sentences.append(
                f"{len(lacking)} of {len(everyone)} candidates have no skill on clean text, so their "
                "robustness is meaningless"
            )
        else:
            sentences.append(f"Robustness is meaningless for {who}: no skill on clean text")
    sentences += doubts
    if absent:
        verb = "was" if len(absent) == 1 else "were"
        sentences.append(f"{join(absent).capitalize()} {verb} not measured")
    return ". ".join(sentences) + "."


def _advice(evidence: Evidence, rankings: Sequence[Ranking], front: Front | None) -> str:
    """What to choose where no axis has a clear first: the cheapest that is not dominated."""
    if any(ranking.crowned or ranking.ahead for ranking in rankings) or len(evidence.candidates) == 1:
        return ""
    undominated = {position.candidate for position in front.positions if position.on_front} if front else None
    cost = METRICS["latency_ms"]
    if all(evidence.estimate(cost, candidate).value is None for candidate in evidence.candidates):
        cost = METRICS["parameters"]
    known = evidence.with_skill(_ordered(evidence, cost)[0])
    eligible = [c for c in known if undominated is None or c.name in undominated]
    if len(known) < 2 or not eligible:
        return ""
    best, price = eligible[0], evidence.estimate(cost, eligible[0]).text(cost.unit)
    scored = any(ranking.measured for ranking in rankings if ranking.axis != "efficiency")
    pool = "those with skill" if scored else "all candidates"
    pool = pool if undominated is None else "those that no other dominates"
    return (
        f"If you must choose: {best.name}, because by the point estimates it is the cheapest of {pool} "
        f"({cost.title} {price})."
    )


def _ranking_sentence(ranking: Ranking, evidence: Evidence) -> str:
    """Leader with value and interval, the next, and whether the difference is distinguishable."""
    metric, leader = ranking.metric, ranking.leader
    if not ranking.measured:
        return f"{ranking.axis.capitalize()} was not measured."
    where = {
        "E": f"at {evidence.at}",
        "P": "mean over tasks of their official metrics",
        "R": f"on {evidence.benchmark}, mean over tasks",
    }
    start = f"{ranking.title.capitalize()} ({where[metric.axis]}): "
    doubts = _doubts(ranking)
    if leader is None:
        return f"{start}no candidate has skill on clean text, so none is ranked.{doubts}"
    verb = "comes" if len(ranking.first) == 1 else "come"
    text = f"{start}{join(ranking.first)} {verb} first with {ranking.values[leader].text(metric.unit)}"
    others = ranking.others
    if not others and len(ranking.first) == len(ranking.measured) > 1:
        return (
            f"{start}{join(ranking.first)} have one measurement, {ranking.values[leader].text(metric.unit)}."
        )
    if not others:
        left = [name for name in ranking.measured if name not in ranking.first]
        return f"{text}; no other candidate has {'skill' if left else 'a value'}.{doubts}"
    text += f", then {others[0]} with {ranking.values[others[0]].text(metric.unit)}.{doubts}"
    if ranking.ties:
        text += f" Not distinguishable from the first: {join(ranking.ties)}."
    if ranking.untested:
        reason = ranking.distinctions[ranking.untested[0]]
        text += f" Against {join(ranking.untested)}: {reason}."
    if not ranking.crowned:
        return text
    which = "every other" if len(others) > 1 else "the other"
    p_values = [one.p for one in ranking.distinctions.values() if one.p is not None]
    return f"{text} The lead over {which} is distinguishable ({say_p(max(p_values))})."


def _doubts(ranking: Ranking) -> str:
    by_tasks: dict[tuple[str, ...], list[str]] = {}
    for name, tasks in ranking.meaningless.items():
        by_tasks.setdefault(tasks, []).append(name)
    parts = (f"{join(who)} on {', '.join(on)}" for on, who in by_tasks.items())
    return f" Meaningless for {'; '.join(parts)}." if by_tasks else ""


def _memory(evidence: Evidence) -> Iterator[str]:
    """Least and most peak memory, in inference and in fine-tuning, and whether they differ."""
    peak = METRICS["peak_memory_bytes"]
    for metric in (peak, peak.in_phase("train")):
        known, _ = _ordered(evidence, metric)
        if len(known) > 1:
            least, most = (evidence.estimate(metric, c).text(metric.unit) for c in (known[0], known[-1]))
            where = evidence.estimate(metric, known[0]).where
            name = metric.title.capitalize() + (f" ({where})" if where else "")
            (distinction,) = evidence.distinguish(metric, known[0], known[-1:])
            doubt = "" if distinction.apart else f"; {distinction}"
            yield f"{name}: least {known[0].name} with {least}, most {known[-1].name} with {most}{doubt}."


def _levels(evidence: Evidence) -> Iterator[str]:
    """The best candidate at each attack level, and the others from which it is not distinguishable."""
    metric = METRICS["robust_accuracy"]
    for level in ("word", "sentence", "human"):
        known = evidence.with_skill(_ordered(evidence, metric, level)[0], attacked=True)
        if len(known) < 2:
            continue
        found = evidence.distinguish(metric, known[0], known[1:], level)
        ties = [c.name for c, one in zip(known[1:], found, strict=True) if one.apart is False]
        untested = [c.name for c, one in zip(known[1:], found, strict=True) if one.apart is None]
        value = evidence.estimate(metric, known[0], level).text(metric.unit)
        parts = [f"not distinguishable from {join(ties)}"] if ties else []
        parts += [f"not tested against {join(untested)}"] if untested else []
        rest = "the others" if len(known) > 2 else known[1].name
        apart = ", ".join(parts) or f"distinguishable from {rest}"
        yield f"{level.capitalize()} level: {known[0].name} comes first with {value}, {apart}."


def _trade_off(front: Front | None) -> Iterator[str]:
    if front is None:
        return
    if on := [p.candidate for p in front.positions if p.on_front]:
        yield f"On the Pareto front of {join(front.titles)}: {join(on)}."
    for position in front.positions:
        name, chance = position.candidate, position.dominated_probability
        shown = "its uncertainty is not known" if chance is None else f"bootstrap probability {chance:.2f}"
        if not position.skill:
            yield f"{name} is not placed on the front: no skill."
        elif position.on_front is None:
            values = zip(front.titles, position.values, strict=True)
            lacking = [title for title, value in values if value.value is None]
            yield f"{name} is not placed on the front: no {join(lacking)}."
        elif not position.on_front:
            by = join(position.dominated_by)
            if chance is not None and chance >= SETTLED:
                yield f"{name} is dominated by {by} ({shown})."
            else:
                yield f"{name} is behind {by} by the point estimates, but that is not settled ({shown})."
        elif chance is not None and chance >= 1 - SETTLED:
            yield f"{name} is on it, yet {position.likely_dominator} may dominate it ({shown})."


def _tested(comparisons: Sequence[Comparison]) -> list[str]:
    """How many of all paired tests distinguish two candidates."""
    tested = [c for c in comparisons if c.p_adjusted is not None]
    apart = sum(c.verdict in ("a better", "b better") for c in tested)
    if not tested:
        return []
    verb = "distinguishes" if apart == 1 else "distinguish"
    count = f"Of all {len(tested)} paired tests" if len(tested) > 1 else "Of the only paired test"
    return [f"{count}, by task and level, {apart or 'none'} {verb} two candidates after Holm's correction."]
