"""The metrics that records hold: axis, unit, which direction is better, and what a reader calls them.

This is the one place that knows a metric. To add one, add a line to :data:`METRICS` and have a measurement
or a score yield its records.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

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
        words = _PHASE_WORDS[phase] if len(self.phases) > 1 else ""
        return replace(self, phase=phase, title=f"{self.title} in {words}" if words else self.title)

    @property
    def in_phases(self) -> tuple["Metric", ...]:
        """The metric of each phase that it is recorded in; itself where it belongs to no phase."""
        return tuple(self.in_phase(phase) for phase in self.phases) or (self,)


_ANSWERS: tuple[Phase, ...] = ("classify", "generate")
_PASSES: tuple[Phase, ...] = ("classify", "prefill", "decode")
_TRAIN: tuple[Phase, ...] = ("train",)
_PHASE_WORDS: dict[Phase, str] = {
    "": "",
    "classify": "",
    "prefill": "prefill",
    "decode": "decoding",
    "generate": "generation",
    "train": "training",
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "P", "higher", "fraction", "clean accuracy", average="glue_score"),
        Metric("f1", "P", "higher", "fraction", "F1"),
        Metric("matthews", "P", "higher", "fraction", "Matthews correlation"),
        Metric("pearson", "P", "higher", "fraction", "Pearson correlation"),
        Metric("spearman", "P", "higher", "fraction", "Spearman correlation"),
        Metric("glue_score", "P", "higher", "fraction", "clean score", average="glue_score"),
        Metric("held_out_perplexity", "P", "lower", "perplexity", "held-out perplexity"),
        Metric("robust_accuracy", "R", "higher", "fraction", "robust accuracy", average="advglue_score"),
        Metric("robust_f1", "R", "higher", "fraction", "robust F1"),
        Metric("advglue_score", "R", "higher", "fraction", "robust score", average="advglue_score"),
        Metric("attack_success_rate", "R", "lower", "fraction", "attack success rate"),
        Metric("transfer_success_rate", "R", "lower", "fraction", "success of others' examples"),
        Metric("white_box_gap", "R", "lower", "fraction", "gap of the white-box attack"),
        Metric("words_changed", "R", "higher", "fraction", "share of words changed"),
        Metric("queries_per_item", "R", "higher", "queries", "queries per item"),
        Metric("queries_per_success", "R", "higher", "queries", "queries per success"),
        Metric("perplexity_ratio", "R", "higher", "ratio", "perplexity over the original's"),
        Metric("similarity", "R", "lower", "cosine", "similarity of successes"),
        Metric("accuracy_drop", "R", "lower", "fraction", "accuracy drop"),
        Metric("flip_rate", "R", "lower", "fraction", "flip rate"),
        Metric("paired_clean_accuracy", "R", "higher", "fraction", "clean accuracy on the originals"),
        Metric("latency_ms", "E", "lower", "ms", "median latency", (*_ANSWERS, "decode")),
        Metric("latency_p95_ms", "E", "lower", "ms", "95th-percentile latency", _ANSWERS),
        Metric("ttft_ms", "E", "lower", "ms", "time to first token", ("prefill",)),
        Metric("tpot_ms", "E", "lower", "ms", "time per output token", ("decode",)),
        Metric("throughput_tokens_per_s", "E", "higher", "tokens/s", "throughput", (*_ANSWERS, "decode")),
        Metric("examples_per_s", "E", "higher", "examples/s", "example rate", (*_TRAIN, *_ANSWERS)),
        Metric("step_ms", "E", "lower", "ms", "time per training step", _TRAIN),
        Metric("data_ms", "E", "lower", "ms", "time per training step: data", _TRAIN),
        Metric("forward_ms", "E", "lower", "ms", "time per training step: forward", _TRAIN),
        Metric("backward_ms", "E", "lower", "ms", "time per training step: backward", _TRAIN),
        Metric("optimiser_ms", "E", "lower", "ms", "time per training step: optimiser", _TRAIN),
        Metric("training_seconds", "E", "lower", "s", "training time", _TRAIN),
        Metric("peak_memory_bytes", "E", "lower", "bytes", "peak memory", (*_ANSWERS, *_TRAIN)),
        Metric("weight_bytes", "E", "lower", "bytes", "weights", exact=True),
        Metric(
            "state_bytes", "E", "lower", "bytes", "KV cache or recurrent state", ("generate",), exact=True
        ),
        Metric("gradient_bytes", "E", "lower", "bytes", "gradients", _TRAIN, exact=True),
        Metric("optimiser_bytes", "E", "lower", "bytes", "optimiser state", _TRAIN, exact=True),
        Metric("activation_bytes", "E", "lower", "bytes", "activations at the peak", (*_ANSWERS, *_TRAIN)),
        Metric("flops", "E", "lower", "FLOPs", "FLOPs", _PASSES, exact=True),
        Metric("bytes_moved", "E", "lower", "bytes", "bytes moved", _PASSES, exact=True),
        Metric("roofline_ms", "E", "lower", "ms", "least time under the roofline", _PASSES),
        Metric("roofline_share", "E", "higher", "fraction", "share of the roofline", _PASSES),
        Metric("flops_per_token", "E", "lower", "FLOPs", "FLOPs per token", exact=True),
        Metric("parameters", "E", "lower", "count", "parameters", exact=True),
        Metric("non_embedding_parameters", "E", "lower", "count", "non-embedding parameters", exact=True),
        Metric("machine_flops_per_s", "E", "higher", "FLOP/s", "matrix rate of the machine"),
        Metric("machine_bytes_per_s", "E", "higher", "bytes/s", "memory bandwidth of the machine"),
        Metric("machine_memory_bytes", "E", "higher", "bytes", "memory of the machine", exact=True),
        Metric("energy_j_per_example", "E", "lower", "J", "energy per example", (*_ANSWERS, *_TRAIN)),
        Metric("energy_j_per_token", "E", "lower", "J", "energy per token", ("decode", "prefill")),
        Metric(
            "gross_energy_j_per_example",
            *("E", "lower", "J", "energy per example, idle power included"),
            phases=(*_ANSWERS, *_TRAIN),
        ),
        Metric(
            "gross_energy_j_per_token",
            *("E", "lower", "J", "energy per token, idle power included"),
            phases=("decode", "prefill"),
        ),
        Metric("energy_j_per_correct_answer", "E", "lower", "J", "energy per correct answer", ("classify",)),
        Metric("idle_power_w", "E", "lower", "W", "idle power"),
        Metric("cost_per_million", "E", "lower", "", "cost of a million sequences", _ANSWERS),
    )
}

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
    "latency": "latency_ms",
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
        words = [*known, *ALIASES]
        close = difflib.get_close_matches(base, words, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise TrilemmaError(f"unknown metric {name!r}; {hint}known: {', '.join(words)}")
    metric = known[base]
    if not (phase or implied):
        return metric
    chosen = phase or implied
    for one in metric.in_phases:
        if one.phase == chosen:
            return one
    recorded = ", ".join(metric.phases) or "no phase"
    wrong = "" if chosen in _PHASES else f" ({chosen!r} is not a phase; phases: {', '.join(_PHASES)})"
    raise TrilemmaError(f"{base} is recorded in {recorded}, not in {chosen}{wrong}")


def _spelled(name: str) -> str:
    return name.strip().lower().replace("-", "_")
