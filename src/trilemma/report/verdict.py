"""The verdict in words, with its uncertainty: who leads on which axis, who is dominated, what to doubt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trilemma.comparisons import SIGNIFICANCE, Comparison
from trilemma.report.cautions import MEANINGLESS, cautions, join
from trilemma.report.decide import tests_against
from trilemma.report.evidence import Evidence
from trilemma.report.metrics import METRICS, Metric, format_value
from trilemma.report.pareto import Front
from trilemma.report.values import Candidate, Value

AxisName = Literal["efficiency", "performance", "robustness"]

HEADLINE: dict[AxisName, str] = {
    "efficiency": "latency_ms",
    "performance": "accuracy",
    "robustness": "robust_accuracy",
}
"""The metric that stands for each axis."""

_SUPERLATIVE: dict[AxisName, str] = {
    "efficiency": "fastest",
    "performance": "most accurate",
    "robustness": "most robust",
}


@dataclass(frozen=True)
class Ranking:
    """The candidates on one axis, best first.

    Attributes:
        axis: which axis.
        metric: the metric that stands for it.
        values: candidate name to value, best first; those not measured last.
        p_values: of the leader against each other measured candidate, Holm-adjusted.
        tasks: the tasks that the values are means over; empty on the axis of efficiency.
    """

    axis: AxisName
    metric: Metric
    values: dict[str, Value]
    p_values: dict[str, float]
    tasks: tuple[str, ...] = ()

    @property
    def leader(self) -> str | None:
        """The best candidate by the point estimate; None where nothing was measured."""
        return next((name for name, value in self.values.items() if value.value is not None), None)

    @property
    def ties(self) -> list[str]:
        """Candidates that are not distinguishable from the leader."""
        return [name for name, p in self.p_values.items() if p >= SIGNIFICANCE]

    @property
    def meaningless(self) -> dict[str, tuple[str, ...]]:
        """Candidates whose value means nothing on some tasks, with those tasks."""
        notes = {name: value.note.split(f"{MEANINGLESS} for ", 1) for name, value in self.values.items()}
        tasks = {name: parts[1].split("; ")[0] for name, parts in notes.items() if len(parts) == 2}
        return {name: tuple(text.split(", ")) for name, text in tasks.items()}

    @property
    def without_skill(self) -> list[str]:
        """Candidates whose value means nothing on any task."""
        return [name for name, tasks in self.meaningless.items() if set(tasks) >= set(self.tasks)]

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
        rankings: one an axis.
        findings: sentences, by topic (``efficiency``, ``performance``, ``robustness``, ``trade-off``,
            ``certainty``).
        cautions: what limits the claims: meaningless robustness, partial splits, things not measured.
    """

    headline: str
    rankings: tuple[Ranking, ...]
    findings: tuple[tuple[str, str], ...]
    cautions: tuple[str, ...]

    def text(self) -> str:
        """Everything as plain text."""
        lines = [self.headline, "", *(sentence for _, sentence in self.findings)]
        return "\n".join([*lines, "", *(f"Caution: {caution}" for caution in self.cautions)])


def verdict(evidence: Evidence, front: Front | None, comparisons: Sequence[Comparison]) -> Verdict:
    """Put a study's result into words.

    Args:
        evidence: the study's two tables.
        front: the three-axis Pareto front; None where an axis was not measured.
        comparisons: paired tests of all candidates (Holm-adjusted within each metric).
    """
    rankings = tuple(_ranking(evidence, axis) for axis in HEADLINE)
    efficiency, performance, robustness = (_ranking_sentence(ranking, evidence) for ranking in rankings)
    findings = [
        ("efficiency", efficiency),
        *(("efficiency", sentence) for sentence in (*_crossovers(evidence), *_memory(evidence))),
        ("performance", performance),
        ("robustness", robustness),
        *(("robustness", sentence) for sentence in _levels(evidence)),
        *(("trade-off", sentence) for sentence in _trade_off(front)),
        *(("certainty", sentence) for sentence in _tested(comparisons)),
    ]
    return Verdict(_headline(rankings), rankings, tuple(findings), cautions(evidence.records))


def _ranking(evidence: Evidence, axis: AxisName) -> Ranking:
    metric = METRICS[HEADLINE[axis]]
    known, others = _ordered(evidence, metric)
    p_values = tests_against(evidence, metric, known[0], known[1:]) if known else []
    named = {other.name: p for other, p in zip(known[1:], p_values, strict=True)}
    values = {c.name: evidence.value(metric, c) for c in [*known, *others]}
    return Ranking(axis, metric, values, named, evidence.tasks(metric))


def _ordered(
    evidence: Evidence, metric: Metric, level: str | None = None
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates that have a value, best first, and those that have none."""
    known, others = [], []
    for candidate in evidence.candidates:
        value = evidence.value(metric, candidate, level).value
        if value is None:
            others.append(candidate)
        else:
            known.append((value if metric.better == "lower" else -value, candidate))
    return [candidate for _, candidate in sorted(known, key=lambda pair: pair[0])], others


def _headline(rankings: Sequence[Ranking]) -> str:
    """Who is clearly best at what; which axes do not tell the first from the others."""
    if len(rankings[0].values) == 1:
        return f"{next(iter(rankings[0].values))} is the only candidate: there is nothing to compare it with."
    crowns: dict[str, list[str]] = {}
    open_axes, absent, meaningless = [], [], ""
    for ranking in rankings:
        if ranking.leader is None:
            absent.append(ranking.axis)
        elif ranking.leader in ranking.without_skill:
            who = _who(ranking, ranking.without_skill)
            meaningless = f"Robustness is meaningless for {who}, for want of skill on clean text"
        elif not ranking.p_values or ranking.ties:
            open_axes.append(ranking.axis)
        else:
            crowns.setdefault(ranking.leader, []).append(_SUPERLATIVE[ranking.axis])
        for tasks, names in ranking.partly_meaningless.items():
            if ranking.leader in names:
                who = _who(ranking, names)
                meaningless = (
                    f"On {join(tasks)} robustness is meaningless for {who}, for want of skill on clean text"
                )
    sentences = (
        ["; ".join(f"{name} is the {join(titles)}" for name, titles in crowns.items())] if crowns else []
    )
    if len(open_axes) == 3:
        sentences.append("No candidate is distinguishable as best on any axis")
    elif open_axes:
        sentences.append(f"On {join(open_axes)} no candidate is distinguishably the best")
    if meaningless:
        sentences.append(meaningless)
    if absent:
        verb = "was" if len(absent) == 1 else "were"
        sentences.append(f"{join(absent).capitalize()} {verb} not measured")
    return ". ".join(sentences) + "."


def _who(ranking: Ranking, names: Sequence[str]) -> str:
    known = [name for name, value in ranking.values.items() if value.value is not None]
    return "every candidate" if len(known) == len(names) > 1 else join(names)


def _ranking_sentence(ranking: Ranking, evidence: Evidence) -> str:
    """Leader with value and interval, the next, and whether the difference is distinguishable."""
    metric, leader = ranking.metric, ranking.leader
    if leader is None:
        return f"{ranking.axis.capitalize()} was not measured."
    where = {
        "E": f"at {evidence.at}",
        "P": "mean over tasks of their official metrics",
        "R": f"on {evidence.benchmark}, mean over tasks",
    }
    best = _text(ranking.values[leader], metric)
    text = f"{metric.title.capitalize()} ({where[metric.axis]}): {leader} comes first with {best}"
    others = list(ranking.p_values)
    if not others:
        return f"{text}; no other candidate has a value."
    text += f", then {others[0]} with {_text(ranking.values[others[0]], metric)}."
    if ranking.meaningless:
        by_tasks: dict[tuple[str, ...], list[str]] = {}
        for name, tasks in ranking.meaningless.items():
            by_tasks.setdefault(tasks, []).append(name)
        parts = (f"{join(who)} on {', '.join(on)}" for on, who in by_tasks.items())
        text += f" Meaningless for {'; '.join(parts)}."
    if ranking.ties:
        return f"{text} Not distinguishable from the first: {join(ranking.ties)}."
    whom = "every other" if len(others) > 1 else "the other"
    return f"{text} Its lead over {whom} is distinguishable ({_p(max(ranking.p_values.values()))})."


def _crossovers(evidence: Evidence) -> list[str]:
    """Where the fastest candidate changes with length, at the operating point's batch."""
    records, batch = evidence.records, evidence.at.batch
    rows = records[
        (records["metric"] == "latency_ms") & (records["batch"] == batch) & records["value"].notna()
    ]
    if rows["length"].nunique() < 2 or rows["model"].nunique() < 2:
        return []
    fastest = rows.loc[rows.groupby("length")["value"].idxmin()].sort_values("length")
    runs: list[tuple[str, int]] = []
    for model, length in zip(fastest["model"], fastest["length"], strict=True):
        if not runs or runs[-1][0] != model:
            runs.append((str(model), int(length)))
    if len(runs) == 1:
        shortest, longest = int(fastest["length"].min()), int(fastest["length"].max())
        return [f"{runs[0][0]} is fastest at every measured length, from {shortest} to {longest}."]
    later = ", ".join(f"{model} from length {length}" for model, length in runs[1:])
    return [f"Who is fastest depends on length: {runs[0][0]} from length {runs[0][1]}, {later}."]


def _memory(evidence: Evidence) -> list[str]:
    """Least and most peak memory, in inference and in fine-tuning."""
    sentences = []
    for metric in (METRICS["peak_inference_memory_bytes"], METRICS["peak_training_memory_bytes"]):
        known, _ = _ordered(evidence, metric)
        if len(known) > 1:
            least, most = (_text(evidence.value(metric, c), metric) for c in (known[0], known[-1]))
            where = evidence.value(metric, known[0]).note.split("; ")[0]
            name = metric.title.capitalize() + (f" ({where})" if where.startswith("at ") else "")
            sentences.append(
                f"{name}: least {known[0].name} with {least}, most {known[-1].name} with {most}."
            )
    return sentences


def _levels(evidence: Evidence) -> list[str]:
    """The best candidate at each attack level, and from whom it is not distinguishable."""
    metric = METRICS["robust_accuracy"]
    sentences = []
    for level in ("word", "sentence", "human"):
        known, _ = _ordered(evidence, metric, level)
        if len(known) < 2:
            continue
        p_values = tests_against(evidence, metric, known[0], known[1:], level)
        ties = [c.name for c, p in zip(known[1:], p_values, strict=True) if p >= SIGNIFICANCE]
        best = f"{known[0].name} comes first with {_text(evidence.value(metric, known[0], level), metric)}"
        apart = f"not distinguishable from {join(ties)}" if ties else "distinguishable from the others"
        sentences.append(f"{level.capitalize()} level: {best}, {apart}.")
    return sentences


def _trade_off(front: Front | None) -> list[str]:
    if front is None:
        return []
    on = [p.candidate for p in front.positions if p.on_front]
    sentences = (
        [f"On the Pareto front of {join(metric.title for metric in front.metrics)}: {join(on)}."]
        if on
        else []
    )
    for position in front.positions:
        name, chance = position.candidate, position.dominated_probability
        if position.on_front is None:
            lacking = [
                METRICS[metric].title for metric, value in position.values.items() if value.value is None
            ]
            sentences.append(f"{name} is not placed on the front: no {join(lacking)}.")
        elif not position.on_front:
            sentences.append(
                f"{name} is dominated by {join(position.dominated_by)} (bootstrap probability {chance:.2f})."
            )
        elif chance is not None and chance >= 0.05:
            other = position.likely_dominator
            sentences.append(
                f"{name} is on it, yet {other} may dominate it (bootstrap probability {chance:.2f})."
            )
    return sentences


def _tested(comparisons: Sequence[Comparison]) -> list[str]:
    """How many of all paired tests tell two candidates apart."""
    tested = [c for c in comparisons if c.p_adjusted is not None]
    apart = sum(c.verdict in ("a better", "b better") for c in tested)
    if not tested:
        return []
    return [
        f"Of all {len(tested)} paired tests, by task and level, {apart} tell two candidates apart after "
        "Holm's correction."
    ]


def _text(value: Value, metric: Metric) -> str:
    return format_value(value.value, metric.unit, value.low, value.high)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
