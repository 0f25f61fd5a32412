"""Latency and throughput of models that classify."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from trilemma.hardware import Unmeasured
from trilemma.inference.reading import fixed_arguments
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.session import LoadedModel, Session, Value
from trilemma.profiling.timing import Quantity, Run, Sample, quantile
from trilemma.records import Record

FEWEST_FOR_P95 = 20
"""With fewer repetitions the 95th percentile is between the two largest of them; its interval needs 72."""

_NO_INTERVAL = "its interval needs 72 repetitions; raise `rounds` and `seconds`"


@MEASUREMENTS.plugin(1)
def measure(session: Session) -> Iterator[Record]:
    """Median and 95th percentile of one batch's forward pass, and what is answered per second.

    Every item has the full length, so no time goes into padding.
    """
    for model, point, samples in session.time_phase("classify", partial(prepared, session)):
        yield from session.records(model, answer_values(point, samples), point=point, phase="classify")


def prepared(session: Session, loaded: LoadedModel, point: OperatingPoint) -> Run:
    """One batch's forward pass, with its seconds as ``forward``."""
    inputs = {**session.inputs(loaded, point), **fixed_arguments(loaded.module)}
    loaded.module.eval()

    def forward() -> None:
        with torch.inference_mode():
            loaded.module(**inputs)

    return session.timed("forward", forward)


def answer_values(point: OperatingPoint, samples: Sequence[Sample] | Unmeasured) -> Mapping[str, Value]:
    """Latency and rates of a batch of whole answers, whose samples hold all that one takes."""
    metrics = ("latency_ms", "latency_p95_ms", "throughput_tokens_per_s", "examples_per_s")
    if isinstance(samples, Unmeasured):
        return dict.fromkeys(metrics, samples)
    seconds = [sum(sample.values()) for sample in samples]
    time, n = Quantity.of_times(seconds), len(seconds)
    p95: Value = Unmeasured(
        f"a 95th percentile needs {FEWEST_FOR_P95} repetitions, {n} fitted the time; raise `seconds`"
    )
    if n >= FEWEST_FOR_P95:
        found = quantile(seconds, 0.95)
        note = "" if found.high is not None else _NO_INTERVAL
        p95 = replace(Quantity(*found).times(1e3), note=note)
    tokens = time.rate(point.tokens + point.batch * point.decode)
    return dict(zip(metrics, (time.times(1e3), p95, tokens, time.rate(point.batch)), strict=True))
