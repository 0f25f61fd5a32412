"""Peak memory where models answer and where they are trained, and what it consists of.

:mod:`trilemma.profiling.peak_worker` says what exactly is measured.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import get_args

from trilemma.hardware import Unmeasured
from trilemma.metrics import Phase
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.grid import Answer
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.peaks import Peak, Work
from trilemma.profiling.session import Session, Value, beyond_positions
from trilemma.profiling.timing import Quantity
from trilemma.records import Record

PARTS: dict[Phase, dict[str, str]] = {
    "classify": {},
    "generate": {"state_bytes": "state"},
    "train": {"gradient_bytes": "gradients", "optimiser_bytes": "optimiser"},
}
"""Metrics of the parts that a phase has beside weights and activations, with their names in a peak."""


@MEASUREMENTS.plugin(6)
def measure(session: Session) -> Iterator[Record]:
    """Peak bytes of each phase, and its parts, at each point of the grids."""
    for phase in get_args(Answer):
        for model, point, absent in session.refused(phase):
            yield from session.records(model, _values(phase, absent), point=point, phase=phase)
    for method in session.methods:
        for model, point, absent in session.refused("train", method):
            values = _values("train", absent)
            yield from session.records(model, values, point=point, phase="train", adaptation=method)
    works = [work for model in session.models for work in _works(session, model)]
    reasons = [beyond_positions(session.describe(work.model), work.point) for work in works]
    session.release()  # what is in memory here is not there for those that measure
    asked = [work for work, reason in zip(works, reasons, strict=True) if not reason]
    peaks = session.peaks(asked, session.device, session.grid.time_limit)
    for index, (work, reason) in enumerate(zip(works, reasons, strict=True)):
        values = _values(work.phase, Unmeasured(reason) if reason else next(peaks))
        method = work.adaptation.method if work.adaptation else ""
        yield from session.records(work.model, values, point=work.point, phase=work.phase, adaptation=method)
        session.advance(index + 1, len(works))


def _works(session: Session, model: ModelUnderTest) -> Iterator[Work]:
    """Those of one phase and adaptation together, smallest first."""
    for phase in session.phases(model):
        for point in session.grid.points(phase) if session.absent(model, phase) is None else ():
            yield Work(model, phase, point)
    trained = list(filter(None, map(model.adaptation, session.methods)))
    for settings in () if model.untrainable or (trained and session.absent(model, "train")) else trained:
        for point in session.grid.points("train"):
            yield Work(model, "train", point, settings)


def _values(phase: Phase, peak: Peak | Unmeasured) -> Mapping[str, Value]:
    metrics = ("peak_memory_bytes", *PARTS[phase], "activation_bytes")
    if isinstance(peak, Unmeasured):
        return dict.fromkeys(metrics, peak)
    whole = Quantity(peak.bytes, peak.low, peak.high, peak.n, note=peak.note)
    if any(part not in peak.parts for part in PARTS[phase].values()):
        uncounted = Unmeasured("the model returned no cache whose layers could be counted")
        return dict.fromkeys(metrics, uncounted) | {"peak_memory_bytes": whole}
    held = {metric: float(peak.parts[part]) for metric, part in PARTS[phase].items()}
    counted = peak.parts["weights"] + sum(held.values())
    value, low, high = (
        None if end is None else max(0.0, end - counted) for end in (peak.bytes, peak.low, peak.high)
    )
    assert value is not None
    beside = f"the peak less {', '.join(['weights', *PARTS[phase].values()])}"
    rest = replace(whole, value=value, low=low, high=high, note=beside)
    return {"peak_memory_bytes": whole, **held, "activation_bytes": rest}
