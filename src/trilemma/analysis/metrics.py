"""The metrics a study records: which direction is better, their unit, how a person reads their values."""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trilemma.errors import TrilemmaError

Direction = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as in the records' column ``metric``.
        axis: ``E``, ``P`` or ``R``.
        better: which direction is better.
        unit: ``fraction``, ``ms``, ``s``, ``bytes``, ``count`` or a rate such as ``tokens/s``.
        title: what a reader calls it.
        average: the metric that aggregates it over tasks (task ``average``); "" where the mean over
            tasks of the metric itself is meant.
        exact: whether it is counted, not measured: its value has no uncertainty and needs no interval.
    """

    name: str
    axis: Literal["E", "P", "R"]
    better: Direction
    unit: str
    title: str
    average: str = ""
    exact: bool = False

    def is_better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a > b if self.better == "higher" else a < b


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "P", "higher", "fraction", "clean accuracy", "glue_score"),
        Metric("f1", "P", "higher", "fraction", "F1"),
        Metric("matthews", "P", "higher", "fraction", "Matthews correlation"),
        Metric("pearson", "P", "higher", "fraction", "Pearson correlation"),
        Metric("spearman", "P", "higher", "fraction", "Spearman correlation"),
        Metric("glue_score", "P", "higher", "fraction", "clean score", "glue_score"),
        Metric("held_out_perplexity", "P", "lower", "perplexity", "held-out perplexity"),
        Metric("robust_accuracy", "R", "higher", "fraction", "robust accuracy", "advglue_score"),
        Metric("robust_f1", "R", "higher", "fraction", "robust F1"),
        Metric("advglue_score", "R", "higher", "fraction", "robust score", "advglue_score"),
        Metric("attack_success_rate", "R", "lower", "fraction", "attack success rate"),
        Metric("transfer_success_rate", "R", "lower", "fraction", "success of others' examples"),
        Metric("white_box_gap", "R", "lower", "fraction", "gap of the white-box attack"),
        Metric("words_changed", "R", "higher", "fraction", "share of words changed"),
        Metric("queries_per_item", "R", "higher", "queries", "queries an item"),
        Metric("queries_per_success", "R", "higher", "queries", "queries a success"),
        Metric("perplexity_ratio", "R", "higher", "ratio", "perplexity over the original's"),
        Metric("similarity", "R", "lower", "cosine", "similarity of successes"),
        Metric("accuracy_drop", "R", "lower", "fraction", "accuracy drop"),
        Metric("flip_rate", "R", "lower", "fraction", "flip rate"),
        Metric("paired_clean_accuracy", "R", "higher", "fraction", "clean accuracy on the originals"),
        Metric("latency_ms", "E", "lower", "ms", "median latency"),
        Metric("latency_p95_ms", "E", "lower", "ms", "95th-percentile latency"),
        Metric("throughput_tokens_per_s", "E", "higher", "tokens/s", "throughput"),
        Metric("peak_inference_memory_bytes", "E", "lower", "bytes", "peak inference memory"),
        Metric("peak_training_memory_bytes", "E", "lower", "bytes", "peak training memory"),
        Metric("training_examples_per_s", "E", "higher", "examples/s", "training speed"),
        Metric("training_seconds", "E", "lower", "s", "training time"),
        Metric("ttft_ms", "E", "lower", "ms", "time to first token"),
        Metric("tpot_ms", "E", "lower", "ms", "time per output token"),
        Metric("decode_ms", "E", "lower", "ms", "decoding time"),
        Metric("decode_tokens_per_s", "E", "higher", "tokens/s", "decode speed"),
        Metric("forecast_latency_ms", "E", "lower", "ms", "forecast of median latency"),
        Metric("forecast_ttft_ms", "E", "lower", "ms", "forecast of time to first token"),
        Metric("forecast_tpot_ms", "E", "lower", "ms", "forecast of time per output token"),
        Metric("forecast_decode_tokens_per_s", "E", "higher", "tokens/s", "forecast of decode speed"),
        *(
            Metric(f"{kind}{name}", "E", "lower", "J", f"{title}{what}")
            for kind, what in (("", ""), ("gross_", ", idle power included"), ("estimated_", ", estimate"))
            for name, title in (
                ("energy_j_per_example", "energy an example"),
                ("prefill_energy_j_per_token", "energy a prompt's token"),
                ("decode_energy_j_per_token", "energy a generated token"),
                ("generation_energy_j_per_example", "energy an answer"),
                ("training_energy_j_per_example", "energy a training example"),
            )
        ),
        Metric("energy_j_per_correct_answer", "E", "lower", "J", "energy a correct answer"),
        Metric(
            "estimated_energy_j_per_correct_answer", "E", "lower", "J", "energy a correct answer, estimate"
        ),
        Metric("idle_power_w", "E", "lower", "W", "idle power"),
        *(
            metric
            for phase, what in (
                ("classify", "a classified batch"),
                ("prefill", "prefill"),
                ("decode_step", "a decoding step"),
            )
            for metric in (
                Metric(f"{phase}_flops", "E", "lower", "FLOPs", f"FLOPs of {what}", exact=True),
                Metric(f"{phase}_bytes", "E", "lower", "bytes", f"bytes moved in {what}", exact=True),
                Metric(f"{phase}_least_ms", "E", "lower", "ms", f"least time of {what}"),
            )
        ),
        Metric("machine_flops_per_s", "E", "higher", "FLOP/s", "the machine's matrix rate"),
        Metric("machine_bytes_per_s", "E", "higher", "bytes/s", "the machine's memory bandwidth"),
        Metric("activation_bytes", "E", "lower", "bytes", "activations at the peak"),
        Metric("weight_bytes", "E", "lower", "bytes", "weights", exact=True),
        Metric("state_bytes", "E", "lower", "bytes", "KV cache or recurrent state", exact=True),
        Metric("parameters", "E", "lower", "count", "parameters", exact=True),
        Metric("non_embedding_parameters", "E", "lower", "count", "non-embedding parameters", exact=True),
        Metric("flops_per_token", "E", "lower", "FLOPs", "FLOPs per token", exact=True),
    )
}

ENERGY = tuple(name for name, metric in METRICS.items() if metric.unit == "J")
"""Energy of each kind of work: net of idle power, gross, and estimated, which is no measurement."""

FORECASTS = {name.removeprefix("forecast_"): name for name in METRICS if name.startswith("forecast_")}
"""Measured metric to its forecast."""


def title(metric: Metric, official: Iterable[Sequence[str]]) -> str:
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


ALIASES = {
    "memory": "peak_inference_memory_bytes",
    "training_memory": "peak_training_memory_bytes",
    "clean": "accuracy",
    "clean_accuracy": "accuracy",
    "robust": "robust_accuracy",
    "latency": "latency_ms",
    "throughput": "throughput_tokens_per_s",
}
"""Short names that a query may use."""


def find_metric(name: str) -> Metric:
    """The metric called ``name`` (or one of :data:`ALIASES`; hyphens count as underscores).

    Raises:
        TrilemmaError: if there is none, naming the known ones.
    """
    asked = name.strip().lower().replace("-", "_")
    asked = ALIASES.get(asked, asked)
    if asked in METRICS:
        return METRICS[asked]
    known = [*METRICS, *ALIASES]
    close = difflib.get_close_matches(asked, known, n=3, cutoff=0.6)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    raise TrilemmaError(f"unknown metric {name!r}; {hint}known: {', '.join(known)}")


_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_limit(metric: Metric, text: str | float) -> float:
    """A limit as people write it, in the metric's own unit.

    Bytes: ``8GB`` is 8e9, ``512MiB`` is 512 * 2**20, a bare number is bytes. Counts and FLOPs take
    ``K``, ``M``, ``G`` (or ``B``). Milliseconds and seconds take ``ms`` and ``s``. Fractions are
    0..1 or written with a percent sign.

    Raises:
        TrilemmaError: when it cannot be read, or a fraction lies outside -1..1.
    """
    if isinstance(text, (int, float)):
        number, suffix = float(text), ""
    else:
        match = re.fullmatch(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z%]*)\s*", text)
        try:
            number, suffix = float(match[1]) if match else math.nan, match[2] if match else ""
        except ValueError:
            number, suffix = math.nan, ""
    factor = _factor(metric, suffix)
    if factor is None or not math.isfinite(number):
        raise TrilemmaError(
            f"cannot read {text!r} as a limit on {metric.name}; write {_EXAMPLES[_kind(metric)]}"
        )
    value = number * factor
    if metric.unit == "fraction" and abs(value) > 1:
        raise TrilemmaError(f"{metric.name} is a fraction: write {text} as {value / 100:g} or {value:g}%")
    return value


_EXAMPLES = {
    "bytes": "for example 8GB, 512MiB or a number of bytes",
    "fraction": "a fraction such as 0.88, or 88%",
    "ms": "milliseconds, for example 20, 20ms or 0.5s",
    "s": "seconds, for example 90, 90s or 1500ms",
    "count": "a number, for example 370M or 1.3B",
    "plain": "a number",
}


def _kind(metric: Metric) -> str:
    if metric.unit == "FLOPs":
        return "count"
    return metric.unit if metric.unit in _EXAMPLES else "plain"


def _factor(metric: Metric, suffix: str) -> float | None:
    kind = _kind(metric)
    if suffix == "":
        return 1.0
    if kind == "bytes":
        return _SIZES.get(suffix.upper())
    if kind == "count":
        return {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}.get(suffix.upper())
    if kind == "fraction":
        return 0.01 if suffix == "%" else None
    if kind in ("ms", "s"):
        seconds = {"ms": 1e-3, "s": 1.0}.get(suffix.lower())
        return None if seconds is None else seconds * (1e3 if kind == "ms" else 1.0)
    return None


def format_value(value: float | None, unit: str, low: float | None = None, high: float | None = None) -> str:
    """A value as a person reads it, its limits in the same unit: ``88.1% [86.0, 90.1]``, ``4.21 ms``.

    A dash stands for no value.
    """
    if value is None or not math.isfinite(value):
        return "–"
    factor, suffix = _scale(value, unit)
    scaled = value / factor
    whole = factor == 1 and unit != "ms" and unit != "s" and scaled == int(scaled)
    decimals = 1 if unit == "fraction" else 0 if whole else _decimals(scaled)
    text = f"{scaled:.{decimals}f}{suffix}"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{low / factor:.{decimals}f}, {high / factor:.{decimals}f}]"


def _scale(value: float, unit: str) -> tuple[float, str]:
    """The factor of the unit a person reads, and what follows the number."""
    if unit == "fraction":
        return 0.01, "%"
    if unit in ("perplexity", "cosine", "queries", "ratio"):
        return 1.0, ""
    if unit in ("ms", "s"):
        return 1.0, f" {unit}"
    if unit in ("J", "W") and 0 < abs(value) < 1:
        small = ("m", 1e-3) if abs(value) >= 1e-3 else ("\u00b5", 1e-6)
        return small[1], f" {small[0]}{unit}"
    prefixes = ("", "K", "M", "B", "T") if unit in ("count", "FLOPs") else ("", "K", "M", "G", "T")
    step = 0
    while abs(value) / 1000**step >= 999.5 and step < len(prefixes) - 1:
        step += 1
    name = {
        "bytes": f"{prefixes[step]}B",
        "bytes/s": f"{prefixes[step]}B/s",
        "FLOP/s": f"{prefixes[step]}FLOP/s",
        "count": prefixes[step],
        "FLOPs": prefixes[step],
    }.get(unit)
    name = f"{prefixes[step]} {unit}".strip() if name is None else name
    return 1000.0**step, f" {name}" if name else ""


def _decimals(number: float) -> int:
    """Decimals that show three significant digits."""
    return 0 if number == 0 else min(6, max(0, 2 - math.floor(math.log10(abs(float(f"{number:.3g}"))))))
