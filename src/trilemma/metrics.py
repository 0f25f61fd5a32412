"""The metrics that records hold: axis, unit, which direction is better, and what a reader calls them.

They are the lines of ``metrics.csv`` beside this file, the one place that knows a metric. To add one, add a
line and have a measurement or a score yield its records.
"""

import csv
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal, get_args

from trilemma.errors import TrilemmaError
from trilemma.operating_point import OperatingPoint

Axis = Literal["E", "P", "R"]
Direction = Literal["lower", "higher"]
Phase = Literal["", "classify", "prefill", "decode", "generate", "train"]
"""What a model does while its efficiency is measured: a classifier's forward pass; reading a prompt up to the
first token; generating all further tokens; a whole answer, prompt and generation; a training step."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as in the records' column ``metric``.
        axis: ``E``, ``P`` or ``R``.
        better: which direction is better.
        unit: ``fraction``, ``ms``, ``s``, ``bytes``, ``count`` or a rate such as ``tokens/s``.
        title: what a reader calls it.
        phases: the phases in which it is recorded; none where it belongs to no phase.
        phase: the one phase that is meant, where a query names it (``METRIC@PHASE``).
        average: the metric that aggregates it over tasks (task ``average``); "" where the mean over
            tasks of the metric itself is meant.
        exact: whether it is counted, not measured: its value has no uncertainty and needs no interval.
    """

    name: str
    axis: Axis
    better: Direction
    unit: str
    title: str
    phases: tuple[Phase, ...] = ()
    phase: Phase = ""
    average: str = ""
    exact: bool = False

    def is_better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a > b if self.better == "higher" else a < b

    @property
    def key(self) -> str:
        """How a query names it: ``METRIC``, or ``METRIC@PHASE``."""
        return f"{self.name}@{self.phase}" if self.phase else self.name

    def phase_at(self, point: OperatingPoint) -> Phase:
        """The phase in which the metric is read at an operating point.

        It is the one that a query named; else that of generation where the point generates tokens and that of
        classification where it does not, as far as the metric is recorded in it; else the metric's first.
        """
        if self.phase or not self.phases:
            return self.phase
        usual: tuple[Phase, ...] = ("generate", "decode", "prefill") if point.decode else ("classify",)
        return next((phase for phase in usual if phase in self.phases), self.phases[0])

    def in_phase(self, phase: Phase) -> "Metric":
        """The metric of one phase alone, which its title then names."""
        words = _PHASE_WORDS.get(phase) if len(self.phases) > 1 else None
        return replace(self, phase=phase, title=f"{self.title} in {words}" if words else self.title)

    @property
    def in_phases(self) -> tuple["Metric", ...]:
        """The metric of each phase that it is recorded in; itself where it belongs to no phase."""
        return tuple(self.in_phase(phase) for phase in self.phases) or (self,)


_PHASE_WORDS = {"prefill": "prefill", "decode": "decoding", "generate": "generation", "train": "training"}


def _read(row: dict[str, Any]) -> Metric:
    return Metric(**row | {"phases": tuple(row["phases"].split()), "exact": row["exact"] == "yes"})


_TABLE = files("trilemma").joinpath("metrics.csv").read_text("utf-8")
METRICS: dict[str, Metric] = {row["name"]: _read(row) for row in csv.DictReader(_TABLE.splitlines())}
"""The metrics of ``metrics.csv`` by name."""

PER_ATTACK = (
    *("attack_success_rate", "transfer_success_rate", "white_box_gap", "words_changed"),
    *("queries_per_item", "queries_per_success", "perplexity_ratio", "similarity"),
)
"""Metrics that are recorded for each attack alone, and not over a benchmark."""

AGGREGATED = {
    metric.average: metric.name for metric in METRICS.values() if metric.average not in ("", metric.name)
}
"""A score over tasks to the metric that it aggregates by the leaderboards' rule."""

ALIASES = {
    "memory": "peak_memory_bytes",
    "training_memory": "peak_memory_bytes@train",
    "training_speed": "examples_per_s@train",
    "clean": "accuracy",
    "clean_accuracy": "accuracy",
    "robust": "robust_accuracy",
    "robustness": "robust_accuracy",
    "latency": "latency_ms",
    "p95": "latency_p95_ms",
    "throughput": "throughput_tokens_per_s",
    "ttft": "ttft_ms",
    "tpot": "tpot_ms",
    "energy": "energy_j_per_example",
    "cost": "cost_per_million",
}
"""Short names that a query may use."""

_PHASES = tuple(phase for phase in get_args(Phase) if phase)


def plugin_metric(name: str, unit: str, phases: tuple[Phase, ...] = ()) -> Metric:
    """A metric of axis E that a plug-in measures and :data:`METRICS` does not hold.

    Records do not say which direction is better: a rate (a unit that ends in ``/s``) is taken to be better
    when higher, everything else when lower, as costs are.
    """
    better: Direction = "higher" if unit.endswith("/s") else "lower"
    return Metric(name, "E", better, unit, name.replace("_", " "), phases)


def score_title(metric: Metric, official: Iterable[Sequence[str]]) -> str:
    """What a reader calls a metric over tasks with these official metrics.

    What is aggregated by the leaderboards' rule is accuracy only where accuracy is all that each task is
    scored by; else it is a score: ``clean score`` where a task counts F1 or a correlation, ``robust score``
    where one counts F1.

    Args:
        metric: e.g. that of the records' ``accuracy``.
        official: the official metrics of each task that is averaged over.
    """
    names = {name for own in official for name in own}
    other = names - {"accuracy"} if metric.axis == "P" else names & {"f1"}
    return METRICS[metric.average].title if metric.average and other else metric.title


def recorded_metric(name: str, phase: str) -> Metric:
    """The metric of a record, in its phase; of one that :data:`METRICS` does not hold its name alone."""
    metric = METRICS.get(name) or plugin_metric(name, "")
    return next((one for one in metric.in_phases if one.phase == phase), metric)


def find_metric(name: str, more: Iterable[Metric] = ()) -> Metric:
    """The metric called ``name``, one of :data:`ALIASES`, or ``METRIC@PHASE``; hyphens count as underscores.

    Args:
        name: as a user writes it.
        more: further metrics, as measurement plug-ins record them.

    Raises:
        TrilemmaError: if there is none, or it is not recorded in that phase; names what is known.
    """
    known = METRICS | {_spelled(metric.name): metric for metric in more}
    asked = _spelled(name)
    base, _, phase = ALIASES.get(asked, asked).partition("@")
    base, _, implied = ALIASES.get(base, base).partition("@")
    if base not in known:
        close = difflib.get_close_matches(base, [*known, *ALIASES], n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        usual = "accuracy, robust_accuracy, latency, memory, energy, cost"
        raise TrilemmaError(f"unknown metric {name!r}; {hint}some: {usual}; all: docs/reference/metrics.md")
    metric, chosen = known[base], phase or implied
    if not chosen:
        return metric
    for one in metric.in_phases:
        if one.phase == chosen:
            return one
    recorded = ", ".join(metric.phases) or "no phase"
    wrong = "" if chosen in _PHASES else f" ({chosen!r} is not a phase; phases: {', '.join(_PHASES)})"
    raise TrilemmaError(f"{base} is recorded in {recorded}, not in {chosen}{wrong}")


def _spelled(name: str) -> str:
    return name.strip().lower().replace("-", "_")
