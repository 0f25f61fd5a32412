"""The verdict in words, with its uncertainty: who leads on which axis, who is dominated, what to doubt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trilemma.analysis.candidates import Candidate
from trilemma.analysis.cautions import cautions
from trilemma.analysis.comparisons import Comparison, Distinction, say_p, would_find
from trilemma.analysis.crossovers import crossovers
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import Estimate, metric_of
from trilemma.analysis.pareto import Front
from trilemma.decision.bounds import read_bounds
from trilemma.decision.decision import choose
from trilemma.decision.options import measured_options
from trilemma.errors import TrilemmaError
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

_MOST_NAMED = 5
"""Candidates that a headline names at most."""


_SEEDS = " With one seed this is said of these trained models: another training may turn it round."


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
        leading: the smallest group from the top of which each is distinguishably better than everybody who is
            not in it; empty where there is none but all of them.
        without_skill: candidates whose robustness means nothing on any task: none of them leads.
        meaningless: candidates whose value means nothing on some tasks, with those tasks.
    """

    axis: AxisName
    metric: Metric
    title: str
    values: dict[str, Estimate]
    distinctions: Mapping[str, Distinction]
    leading: tuple[str, ...]
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
        """Whether the leader is distinguishably the best of those that have a value."""
        return bool(self.others) and not self.ties and not self.untested

    @property
    def behind(self) -> list[str]:
        """Candidates that the leader is distinguishably better than."""
        return [name for name in self.others if self.distinctions[name].apart]

    @property
    def absent(self) -> list[str]:
        """Candidates that have no value, while others do."""
        return [name for name, value in self.values.items() if value.value is None] if self.measured else []

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
        answer: who meets the study's limits, and which of them is best; "" where it has none.
        advice: what to choose where nothing is distinguishable; "" where a candidate leads.
        rankings: one for each axis.
        findings: sentences, by topic (``efficiency``, ``performance``, ``robustness``, ``trade-off``,
            ``certainty``).
        cautions: what limits the claims: no skill shown, partial splits, things not measured.
    """

    headline: str
    answer: str
    advice: str
    rankings: tuple[Ranking, ...]
    findings: tuple[tuple[str, str], ...]
    cautions: tuple[str, ...]

    def summary(self) -> str:
        """The answer to the study's limits, the headline and the advice, as far as there are any."""
        return " ".join(filter(None, (self.answer, self.headline, self.advice)))

    def text(self) -> str:
        """Everything as plain text."""
        lines = [self.summary(), "", *(sentence for _, sentence in self.findings)]
        return "\n".join([*lines, "", *(f"Caution: {caution}" for caution in self.cautions)])

    def _repr_html_(self) -> str:
        """Everything as paragraphs, for a notebook."""
        return "".join(paragraph(line) for line in self.text().splitlines() if line)


def verdict(evidence: Evidence, front: Front | None) -> Verdict:
    """Put a study's result into words.

    Args:
        evidence: the study's two tables.
        front: the three-axis Pareto front; None where an axis was not measured.
    """
    rankings = tuple(_ranking(evidence, axis) for axis in HEADLINE)
    efficiency, performance, robustness = (_ranking_sentence(ranking, evidence) for ranking in rankings)
    topics = {
        "efficiency": [efficiency, *crossovers(evidence), *_memory(evidence)],
        "performance": [performance],
        "robustness": [robustness, *_levels(evidence)],
        "trade-off": _trade_off(front),
        "certainty": _tested(evidence.comparisons.study),
    }
    findings = tuple((topic, sentence) for topic, sentences in topics.items() for sentence in sentences)
    advice = _advice(evidence, rankings, front)
    headline = _headline(rankings) + _SEEDS * _one_seed(evidence)
    return Verdict(headline, _answer(evidence), advice, rankings, findings, cautions(evidence.records))


def _ranking(evidence: Evidence, axis: AxisName) -> Ranking:
    metric, attacked = METRICS[HEADLINE[axis][0]], axis == "robustness"
    lacking = evidence.without_skill(attacked=attacked)
    known, others = _ordered(evidence, metric)
    eligible = evidence.with_skill(known, attacked=attacked)
    compared = evidence.distinguish(metric, eligible[0], eligible[1:]) if eligible else []
    named = {other.name: one for other, one in zip(eligible[1:], compared, strict=True)}
    leading = _leading(evidence, metric, eligible)
    below = [candidate for candidate in known if candidate not in eligible]
    ordered = [*eligible, *below, *others]
    values = {candidate.name: evidence.estimate(metric, candidate) for candidate in ordered}
    flagged = {c.name: tasks for c in ordered if attacked and (tasks := evidence.meaningless_on(c))}
    return Ranking(axis, metric, evidence.title(metric), values, named, leading, lacking, flagged)


def _leading(evidence: Evidence, metric: Metric, ordered: Sequence[Candidate]) -> tuple[str, ...]:
    """The smallest group from the top whose members are all better than everybody else."""
    apart = [
        [one.apart for one in evidence.distinguish(metric, candidate, ordered[index + 1 :])]
        for index, candidate in enumerate(ordered)
    ]
    for size in range(1, len(ordered)):
        if all(all(row[size - index - 1 :]) for index, row in enumerate(apart[:size])):
            return tuple(one.name for one in ordered[:size])
    return ()


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
    skilled = [name for name in everyone if name not in (*lacking, *rankings[1].absent)]
    alone = len(skilled) == 1
    for ranking in rankings:
        _, superlative = HEADLINE[ranking.axis]
        if not ranking.measured:
            absent.append(ranking.axis)
        elif ranking.crowned:
            crowns.setdefault(tuple(ranking.first), []).append(superlative + _among(ranking))
        elif ranking.leader is not None and ranking.untested and not ranking.ties:
            reason = ranking.distinctions[ranking.untested[0]]
            doubts.append(f"{ranking.leader} is the {superlative} by the point estimate, {reason}")
        elif ranking.leader is not None and not alone:
            if said := _partly_ordered(ranking):
                leading.append(said)
            else:
                open_axes.append(ranking.axis)
        if own := [name for name in ranking.without_skill if name not in lacking]:
            doubts.append(f"Robustness says nothing of {join(own)}: no skill on the tasks that are attacked")
        for tasks, names in ranking.partly_meaningless.items():
            if ranking.leader in names:
                who = "every candidate" if len(names) == len(ranking.measured) > 1 else join(names)
                doubts.append(f"On {join(tasks)} robustness says nothing of {who}: no skill on clean text")
    crowned = [f"{join(who)} {'is' if len(who) == 1 else 'are'} the {join(of)}" for who, of in crowns.items()]
    sentences = [*(["; ".join(crowned)] if crowned else []), *leading]
    if len(open_axes) == 3:
        sentences.append("No candidate is distinguishable as best on any axis")
    elif open_axes:
        sentences.append(f"On {join(open_axes)} no candidate is distinguishably the best")
    if lacking:
        who = "every candidate" if len(lacking) == len(everyone) else join(lacking)
        if alone:
            sentences.append(f"{skilled[0]} is the only candidate with skill on clean text")
        if 2 < len(lacking) < len(everyone):
            sentences.append(
                f"{len(lacking)} of {len(everyone)} candidates have no skill on clean text, so their "
                "robustness says nothing"
            )
        else:
            sentences.append(f"Robustness says nothing of {who}: no skill on clean text")
    sentences += doubts
    if absent:
        verb = "was" if len(absent) == 1 else "were"
        sentences.append(f"{join(absent).capitalize()} {verb} not measured")
    return ". ".join(sentences) + "."


def _answer(evidence: Evidence) -> str:
    """Who meets the study's limits, the most robust first, or the most accurate, or the fastest."""
    bounds = read_bounds(evidence.goals.limits, find=lambda name: metric_of(evidence.records, name))
    if not bounds:
        return ""
    known = [
        metric
        for metric in (METRICS[name] for name, _ in reversed(HEADLINE.values()))
        if any(evidence.estimate(metric, one).value is not None for one in evidence.candidates)
    ]
    if not known:
        return ""
    try:
        found = choose(measured_options(evidence), known[0], bounds, str(evidence.at), evidence)
    except TrilemmaError as error:
        return f"The study's limits cannot be held against it: {error}."
    asked = join(str(bound) for bound in found.bounds)
    if not found.qualifying:
        nearly = " would by the point estimate, not by the limit of the interval."
        return f"No candidate meets {asked}.{f' {join(found.nearly)}{nearly}' if found.nearly else ''}"
    chosen, metric = found.qualifying[0], found.metric
    best = f", with the best {metric.title} of those that do: {chosen.best.text(metric.unit)}"
    ties = f" Not distinguishable from it: {join(found.ties)}." if found.ties else ""
    return f"{chosen.name} meets {asked}{best * (len(found.qualifying) > 1)}.{ties}"


def _among(ranking: Ranking) -> str:
    """`` of the two that were measured (not: X)``, where not all were."""
    if not ranking.absent:
        return ""
    return f" of the {len(ranking.measured)} that were measured (not: {join(ranking.absent)})"


def _partly_ordered(ranking: Ranking) -> str:
    """Who is ahead of whom, where nobody is ahead of all others; "" where nobody is ahead of anybody."""
    group, rest = ranking.leading, len(ranking.others) + len(ranking.first) - len(ranking.leading)
    if 1 < len(group) <= _MOST_NAMED:
        others = "the other" if rest == 1 else f"each of the other {rest}"
        return f"On {ranking.axis} {join(group)} are ahead of {others}{_among(ranking)}, not of one another"
    if ranking.behind:
        behind, ties = ranking.behind, [*ranking.ties, *ranking.untested]
        who = join(behind) if len(behind) <= _MOST_NAMED else f"{len(behind)} others"
        if len(ties) > _MOST_NAMED:
            return f"On {ranking.axis} {ranking.leader} is ahead of {who}{_among(ranking)}"
        return f"On {ranking.axis} {ranking.leader} is ahead of {who}{_among(ranking)}, not of {join(ties)}"
    return ""


def _one_seed(evidence: Evidence) -> bool:
    """Whether every candidate was trained once, so that what is said is said of these trained models."""
    seeds = evidence.records.loc[evidence.records["axis"].isin(["P", "R"]), ["model", "adaptation", "seed"]]
    counts = seeds.dropna().drop_duplicates().groupby(["model", "adaptation"]).size()
    return len(counts) > 1 and int(counts.max()) == 1


def _advice(evidence: Evidence, rankings: Sequence[Ranking], front: Front | None) -> str:
    """What to choose where no axis has a clear first: the cheapest that neither failed nor is dominated."""
    if any(ranking.crowned or ranking.behind for ranking in rankings) or len(evidence.candidates) == 1:
        return ""
    undominated = {position.candidate for position in front.positions if position.on_front} if front else None
    cost = METRICS["latency_ms"]
    if all(evidence.estimate(cost, candidate).value is None for candidate in evidence.candidates):
        cost = METRICS["parameters"]
    rows = evidence.records[evidence.records["status"] == "failed"]
    failed = set(zip(rows["model"], rows["adaptation"], strict=True))
    known = [
        one
        for one in evidence.with_skill(_ordered(evidence, cost)[0])
        if failed.isdisjoint({(one.model, one.adaptation), (one.model, "")})
    ]
    eligible = [c for c in known if undominated is None or c.name in undominated]
    if len(known) < 2 or not eligible:
        return ""
    best, price = eligible[0], evidence.estimate(cost, eligible[0]).text(cost.unit)
    scored = any(ranking.measured for ranking in rankings if ranking.axis != "efficiency")
    pool = "those with skill" if scored else "all candidates"
    pool = pool if undominated is None else "those that no other dominates"
    pool += " and of which no stage failed" * bool(failed)
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
        could = would_find([ranking.distinctions[name] for name in ranking.ties])
        text += f" Not distinguishable from the first: {join(ranking.ties)}{could and f' ({could})'}."
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
    return f" Says nothing of {'; '.join(parts)}." if by_tasks else ""


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
        could = would_find([one for one in found if one.apart is False])
        parts = [f"not distinguishable from {join(ties)}{could and f' ({could})'}"] if ties else []
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
        name = position.candidate
        if not position.skill:
            yield f"{name} is not placed on the front: no skill."
        elif position.on_front is None:
            values = zip(front.titles, position.values, strict=True)
            lacking = [title for title, value in values if value.value is None]
            yield f"{name} is not placed on the front: no {join(lacking)}."
        elif position.settled_by:
            yield f"{name} is dominated by {join(position.settled_by)}."
        elif not position.on_front:
            by = join(position.dominated_by)
            yield f"{name} is behind {by} by the point estimates, which the tests do not bear out everywhere."


def _tested(comparisons: Sequence[Comparison]) -> list[str]:
    """How many of all paired tests of the study distinguish two candidates."""
    verdicts = [one.verdict for one in comparisons if one.p_adjusted is not None]
    apart, equal = sum(one in ("a better", "b better") for one in verdicts), verdicts.count("equivalent")
    if not verdicts:
        return []
    verb = "distinguishes" if apart == 1 else "distinguish"
    count = f"Of all {len(verdicts)} paired tests" if len(verdicts) > 1 else "Of the only paired test"
    same = f", {equal} show{'s' * (equal == 1)} them equivalent" if equal else ""
    found = f"{apart or 'none'} {verb} two candidates{same}"
    return [f"{count} of the study, {found} after Holm's correction over all of them."]
