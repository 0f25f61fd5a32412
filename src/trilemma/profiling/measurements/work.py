"""What the phases of inference compute and move, and the least time that this machine needs for it."""

from collections.abc import Iterator
from typing import get_args

from trilemma.errors import ModelError
from trilemma.hardware import Unmeasured
from trilemma.hardware.machine import Machine
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.cost import Cost, Pass, cost_of, multiplied, no_rate
from trilemma.profiling.grid import Answer
from trilemma.profiling.measurements.flops import counted
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.session import Session, Value, beyond_positions
from trilemma.profiling.timing import Quantity
from trilemma.records import Record

METRICS = ("flops", "bytes_moved", "roofline_ms")


@MEASUREMENTS.plugin(5)
def measure(session: Session) -> Iterator[Record]:
    """FLOPs, bytes and least time of one batch in classification, prefill and decoding; the machine's rates.

    They follow from the configuration, or of a family whose operations are not known, as far as torch can
    count them. The least time also follows from the rates of this machine, which are recorded for every
    model: that of memory, and that of products in the precision in which the model multiplies.
    """
    needed = {one: multiplied(session.config(one), session.precision(one)) for one in session.models}
    machine, note = session.rates(list(needed.values()))
    for index, model in enumerate(session.models):
        precision = needed[model]
        rate: Value = Unmeasured(no_rate(precision))
        if machine.multiplies(precision):
            kind = "of packed weights" if precision == "packed" else f"in {precision}"
            rate = Quantity(machine.rate(precision), note=f"products {kind}")
        bandwidth = Quantity(machine.bandwidth, note=note)
        rates: dict[str, Value] = {"machine_bytes_per_s": bandwidth, "machine_flops_per_s": rate}
        yield from session.records(model, rates)
        for phase in get_args(Pass):
            answer = "classify" if phase == "classify" else "generate"
            for point in session.grid.points(answer) if answer in session.phases(model) else ():
                values = _values(_cost(session, machine, model, phase, point))
                yield from session.records(model, values, point=point, phase=phase)
        session.advance(index + 1, len(session.models))


def _values(cost: Cost | Unmeasured) -> dict[str, Value]:
    if isinstance(cost, Unmeasured):
        return dict.fromkeys(METRICS, cost)
    reason = Unmeasured(cost.note)
    moved: Value = reason if cost.bytes is None else cost.bytes
    least: Value = reason
    if cost.least_seconds is not None:
        least = Quantity(1e3 * cost.least_seconds, note=cost.note)
    return dict(zip(METRICS, (Quantity(cost.flops, note=cost.uncounted), moved, least), strict=True))


def _cost(
    session: Session, machine: Machine, model: ModelUnderTest, phase: Pass, point: OperatingPoint
) -> Cost | Unmeasured:
    """The work of one phase at one point, or why it is not known."""
    beyond = beyond_positions(session.describe(model), point)
    if beyond is not None:
        return Unmeasured(beyond)
    precision = session.precision(model)
    try:
        return cost_of(session.config(model), precision, machine, phase, point)
    except ModelError as error:
        reason = str(error)
    if phase == "decode" or model.compiled or precision == "int8":
        return Unmeasured(reason)
    answer: Answer = "classify" if phase == "classify" else "generate"
    loaded = next((one for one in session.working(answer) if one.model == model), None)
    if loaded is None:
        return session.absent(model, answer) or Unmeasured(reason)
    flops = counted(session, loaded, point)
    if isinstance(flops, Unmeasured):
        return Unmeasured(f"{reason}; counting them: {flops.reason}", flops.failed)
    return Cost(flops.value, None, None, reason, uncounted=flops.note)
