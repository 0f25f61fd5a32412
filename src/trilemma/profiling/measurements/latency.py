"""Inference latency and throughput of a classifier over batch sizes and lengths."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import torch

from trilemma.inference.classifier import fixed_arguments
from trilemma.profiling.points import Point, Unmeasured
from trilemma.profiling.session import Loaded, Session
from trilemma.profiling.timing import Median, Run, median
from trilemma.records import Record

UNITS = {"latency_ms": "ms", "latency_p95_ms": "ms", "throughput_tokens_per_s": "tokens/s"}

FEWEST_FOR_P95 = 20  # with fewer repetitions the 95th percentile lies between the two largest of them


def measure(session: Session) -> Iterator[Record]:
    """Median and 95th percentile of one batch's forward pass, and tokens a second at the median.

    Every item has the full length, so no time goes into padding.
    """
    prepare = partial(prepared, session)
    for loaded, point, samples in session.sweep(session.classifiers(), session.points(), prepare):
        if isinstance(samples, Unmeasured):
            yield from session.unmeasured(loaded.subject, UNITS, samples.reason, point)
        else:
            yield from _records(session, loaded, point, [sample["forward"] for sample in samples])


def prepared(session: Session, loaded: Loaded, point: Point) -> Run:
    """One batch's forward pass, with its seconds as ``forward``."""
    inputs = {**session.inputs(loaded, point), **fixed_arguments(loaded.model)}
    loaded.model.eval()

    def run() -> Mapping[str, float]:
        start = session.stopwatch()
        with torch.inference_mode():
            loaded.model(**inputs)
        return {"forward": session.stopwatch() - start}

    return run


def _records(session: Session, loaded: Loaded, point: Point, seconds: list[float]) -> Iterator[Record]:
    subject = loaded.subject
    middle = median(seconds)
    yield from timed(session, loaded, point, "latency_ms", "ms", middle, scale=1e3)
    if len(seconds) >= FEWEST_FOR_P95:
        p95 = 1e3 * float(np.quantile(seconds, 0.95))
        yield from session.record(subject, "latency_p95_ms", "ms", p95, point=point, n=len(seconds))
    else:
        reason = f"a 95th percentile needs {FEWEST_FOR_P95} repetitions, {len(seconds)} fitted the time"
        yield from session.unmeasured(subject, {"latency_p95_ms": "ms"}, reason, point)
    yield from rate(session, loaded, point, "throughput_tokens_per_s", "tokens/s", middle, work=point.tokens)


def timed(
    session: Session,
    loaded: Loaded,
    point: Point,
    metric: str,
    unit: str,
    seconds: Median,
    *,
    scale: float,
    note: str = "",
) -> Iterator[Record]:
    """A median time, in seconds times ``scale``, with its interval."""
    yield from session.record(
        loaded.subject,
        metric,
        unit,
        seconds.value * scale,
        point=point,
        low=None if seconds.low is None else seconds.low * scale,
        high=None if seconds.high is None else seconds.high * scale,
        n=seconds.n,
        note=note,
    )


def rate(
    session: Session,
    loaded: Loaded,
    point: Point,
    metric: str,
    unit: str,
    seconds: Median,
    *,
    work: float,
    adaptation: str = "",
) -> Iterator[Record]:
    """``work`` a second at the median time; the interval's ends change places."""
    yield from session.record(
        loaded.subject,
        metric,
        unit,
        work / seconds.value,
        point=point,
        low=None if seconds.high is None else work / seconds.high,
        high=None if seconds.low is None else work / seconds.low,
        n=seconds.n,
        adaptation=adaptation,
    )
