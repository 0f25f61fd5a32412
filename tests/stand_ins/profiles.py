"""Records as a profile holds them, made by hand: two models at several lengths, with all that is measured."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from trilemma.metrics import METRICS
from trilemma.records import Record

LENGTHS = (32, 128, 512)

TIMED: dict[tuple[str, str], float] = {
    ("ttft_ms", "prefill"): 10.25,
    ("tpot_ms", "decode"): 1.5,
    ("latency_ms", "decode"): 4.5,
    ("latency_ms", "generate"): 14.75,
    ("throughput_tokens_per_s", "decode"): 1334.0,
    ("throughput_tokens_per_s", "generate"): 4881.0,
    ("roofline_share", "prefill"): 0.32,
    ("roofline_share", "decode"): 0.43,
}
COUNTED: dict[tuple[str, str], float] = {
    ("state_bytes", "generate"): 6.5e6,
    ("activation_bytes", "generate"): 3.15e7,
    ("flops", "prefill"): 8e8,
    ("bytes_moved", "prefill"): 4e7,
    ("flops", "decode"): 9e8,
    ("bytes_moved", "decode"): 2.7e8,
    ("roofline_ms", "prefill"): 3.28,
    ("roofline_ms", "decode"): 1.935,
}
ENERGY: dict[tuple[str, str], float] = {
    ("energy_j_per_token", "prefill"): 0.012,
    ("energy_j_per_token", "decode"): 0.2,
    ("energy_j_per_example", "generate"): 1.1,
    ("gross_energy_j_per_token", "prefill"): 0.02,
    ("gross_energy_j_per_token", "decode"): 0.3,
}
MODEL_WIDE = {
    "weight_bytes": 3.3e7,
    "parameters": 8.2e6,
    "machine_bytes_per_s": 4e10,
    "machine_flops_per_s": 1e11,
}


def value(metric: str, phase: str, number: float, spread: float | None = 0.1, **columns: object) -> Record:
    """One value of a GLA at batch 2; with an interval of half width ``spread`` where it was repeated."""
    ends = {} if spread is None else {"low": (1 - spread) * number, "high": (1 + spread) * number}
    record = Record(
        model="gla:nano",
        arch="gla",
        parameters=8_200_000,
        precision="float32",
        axis="E",
        metric=metric,
        phase=phase,  # type: ignore[arg-type]
        batch=2,
        length=32,
        decode=0 if phase in ("", "classify", "train") else 4,
        value=number,
        unit=METRICS[metric].unit if metric in METRICS else "",
        basis="counted" if spread is None else "measured",
        confidence=None if spread is None else 0.95,
        n=None if spread is None else 8,
        hardware="a processor, 2 cores",
        kernel="native",
        versions="trilemma 0",
        **ends,
    )
    return replace(record, **columns)  # type: ignore[arg-type]


def lacking(metric: str, phase: str, reason: str, **columns: object) -> Record:
    """A value that was not measured."""
    none: dict[str, object] = dict.fromkeys(("value", "low", "high", "confidence", "n"))
    none |= {"status": "not measured", "reason": reason}
    return replace(value(metric, phase, 1.0), **(none | columns))  # type: ignore[arg-type]


def of_model(
    name: str = "gla:nano", factor: float = 1.0, lengths: Iterable[int] = LENGTHS
) -> Iterator[Record]:
    """All that a profile holds of one causal model; its numbers grow in proportion to length and factor."""
    for metric, number in MODEL_WIDE.items():
        note = "products in float32" if metric == "machine_flops_per_s" else ""
        yield value(metric, "", number, None, model=name, batch=None, length=None, decode=None, note=note)
    for length in lengths:
        scale = factor * length / 32
        for (metric, phase), number in TIMED.items():
            scaled = number if metric == "roofline_share" else number * scale
            yield value(metric, phase, scaled, model=name, length=length, verdict="noisy")
        yield value("peak_memory_bytes", "generate", 7.1e7 * scale, 0.01, model=name, length=length)
        for (metric, phase), number in COUNTED.items():
            note = "bound by memory" if metric == "roofline_ms" else ""
            yield value(metric, phase, number * scale, None, model=name, length=length, note=note)
        for (metric, phase), number in ENERGY.items():
            yield value(metric, phase, number * scale, model=name, length=length)


def two_models() -> list[Record]:
    """A GLA, and a Transformer that needs more and grows faster."""
    return [*of_model(), *of_model("transformer-pp:nano", 1.4)]
