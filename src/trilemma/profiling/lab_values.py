"""The values of a profile, kind by kind: phases, steps of training, memory, energy."""

from collections.abc import Iterable, Iterator, Mapping

from trilemma.profiling.energy_estimates import ESTIMATED
from trilemma.profiling.exchange import ABSENT, Value
from trilemma.profiling.measurements import work
from trilemma.profiling.measurements.memory import Peak, Work
from trilemma.profiling.points import Point, Unmeasured
from trilemma.profiling.session import NOT_GENERATIVE, Sample
from trilemma.profiling.values import Timed, absent, costs, memory, roofline_share
from trilemma.records import Record

GENERATED = {
    "ttft_ms": "ms",
    "tpot_ms": "ms",
    "decode_tokens_per_s": "tokens/s",
}
BATCH = {"batch_latency_ms": "ms", "throughput_tokens_per_s": "tokens/s"}
PARTS = {"weight_bytes": "weights", "state_bytes": "state"}
MEMORY = dict.fromkeys(("peak_memory_bytes", *PARTS, "activation_bytes"), "bytes")
COSTS = {
    phase: {f"{phase}_flops": "FLOPs", f"{phase}_bytes": "bytes", f"{phase}_roofline_share": "fraction"}
    for phase in ("prefill", "decode")
}
STEP = ("data", "forward", "backward", "optimiser")
TRAINING = {"training_examples_per_s": "examples/s", "step_ms": "ms", **{f"{part}_ms": "ms" for part in STEP}}
TRAINING_PARTS = {"weight_bytes": "weights", "gradient_bytes": "gradients", "optimiser_bytes": "optimiser"}
TRAINING_MEMORY = dict.fromkeys(("peak_memory_bytes", *TRAINING_PARTS, "activation_bytes"), "bytes")

Outcome = list[Sample] | Unmeasured
"""Repetitions of one model at one point, or why there are none."""


def phase_values(phase: str, cost: work.Cost | str, timed: Timed | Unmeasured) -> dict[str, Value]:
    """FLOPs, bytes and the share of the roofline of one phase."""
    if isinstance(cost, str):
        return absent(COSTS[phase], cost)
    if isinstance(timed, Unmeasured):
        share = absent({f"{phase}_roofline_share": "fraction"}, timed.reason)
    else:
        share = roofline_share(phase, cost, timed)
    return {**costs(phase, cost), **share}


def training_values(point: Point, samples: Outcome) -> dict[str, Value]:
    """The values of training steps at one point."""
    if isinstance(samples, Unmeasured):
        return absent(TRAINING, samples.reason)
    whole = Timed.of([sum(sample.values()) for sample in samples])
    return {
        "training_examples_per_s": whole.per_second(point.batch, "examples/s"),
        "step_ms": whole.milliseconds(),
        **{f"{part}_ms": Timed.of([sample[part] for sample in samples]).milliseconds() for part in STEP},
    }


def memory_values(asked: Work, peak: Peak | Unmeasured) -> dict[str, Value]:
    """The values of memory at one place."""
    if asked.adaptation is not None:
        if isinstance(peak, Unmeasured):
            return absent(TRAINING_MEMORY, peak.reason)
        return memory(peak, TRAINING_PARTS, "activation_bytes")
    if isinstance(peak, Unmeasured):
        return absent(MEMORY, peak.reason)
    if asked.decode is None:
        stateless = absent({"state_bytes": "bytes"}, NOT_GENERATIVE)
        return {**memory(peak, {"weight_bytes": "weights"}, "activation_bytes"), **stateless}
    return memory(peak, PARTS, "activation_bytes")


CLASSIFIED = "energy_j_per_example"
"""Energy of one classified example."""


def of_model(record: Record) -> bool:
    """Whether a record holds for all points of its model."""
    return record.batch is None or record.length is None


def value_of(record: Record) -> Value:
    """A record as a value; repeated measurements without verdict, as meters average over windows."""
    return Value(
        value=record.value,
        unit=record.unit,
        low=record.low,
        high=record.high,
        n=record.n,
        note=record.note[:1000],
    )


def estimated(
    values: Mapping[str, Value], point: Point, watts: float, *, generates: bool
) -> Iterator[tuple[str, Value]]:
    """Energy of what was timed at one point, watts times seconds, by metric.

    Args:
        values: of the point.
        point: batch and length.
        watts: power under load.
        generates: whether the batch latency is that of whole answers, else of a classifier's pass.
    """
    of_batch, seconds_of_example = ESTIMATED["latency_ms"]
    if generates:
        of_batch = "estimated_generation_energy_j_per_example"
    known = ESTIMATED | {"batch_latency_ms": (of_batch, seconds_of_example)}
    for metric, (name, seconds) in known.items():
        value = values.get(metric)
        if value is None or value.value is None:
            continue
        ends = [seconds(end, point) for end in (value.low, value.high) if end is not None]
        low, high = sorted(watts * end for end in ends) if len(ends) == 2 else (None, None)
        yield (
            name,
            Value(
                value=watts * seconds(value.value, point),
                unit="J",
                low=low,
                high=high,
                n=value.n,
                verdict=value.verdict,
                note=f"estimate: {watts:g} W, as given, times the measured {metric}",
            ),
        )


def reasons(records: Iterable[Record]) -> list[str]:
    """Why a model has no energy at all, each reason once."""
    notes = (record.note for record in records if of_model(record) and record.value is None)
    return list(dict.fromkeys(f"energy is {ABSENT}{note.removeprefix(ABSENT)}" for note in notes))
