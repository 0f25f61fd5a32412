"""What the phases of inference compute and move, and how near they come to the machine's roofline."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from trilemma.errors import ModelError
from trilemma.hardware.roofline import Found, Roofline, find
from trilemma.profiling.operations import Operation, forward, shape_of
from trilemma.profiling.points import Point
from trilemma.profiling.session import Loaded, Session, beyond_positions
from trilemma.records import Record

MOST_STEPS = 128
"""Decoding steps whose cost is computed; of more, so many evenly spaced ones stand for all."""

CLASSIFY, PREFILL, DECODE_STEP = "classify", "prefill", "decode_step"
"""Phases: a classifier's pass over a batch, the prompt's pass, and one further token (the mean of all)."""


class Cost(NamedTuple):
    """The work of one phase.

    Attributes:
        flops: floating-point (or integer) operations.
        bytes: read and written: weights, activations, states; None where only operations were counted.
        least_seconds: time under the roofline, operation after operation, max(FLOPs / rate, bytes /
            bandwidth) summed; None where bytes or the machine's rate for the precision are not known.
        note: ``bound by compute`` or ``bound by memory``, after what most of that time is for; why bytes or
            time are not known.
        compute_share: share of that time in operations that arithmetic bounds; None where it is not known.
    """

    flops: float
    bytes: float | None
    least_seconds: float | None
    note: str
    compute_share: float | None = None

    def divided(self, parts: int) -> "Cost":
        """The mean of so many parts."""
        least = None if self.least_seconds is None else self.least_seconds / parts
        moved = None if self.bytes is None else self.bytes / parts
        return self._replace(flops=self.flops / parts, bytes=moved, least_seconds=least)


def measure(session: Session) -> Iterator[Record]:
    """FLOPs, bytes and least time of one batch in classification, prefill and a decoding step; the roofline.

    They follow from the configuration; the least time also from the rates of this machine, which stand at
    every model: that of memory, and that of products in the precision in which the model multiplies.
    """
    models = session.classifiers()
    precisions = [_precision(loaded) for loaded in models]
    multiply_in = [
        multiplied(loaded.model.config, precision)
        for loaded, precision in zip(models, precisions, strict=True)
    ]
    found = find(session.device, multiply_in)
    for index, loaded in enumerate(models):
        yield from _rates(session, loaded, multiply_in[index], found)
        generates = loaded.description.causal and session.grid.decode
        for phase in (CLASSIFY, PREFILL, DECODE_STEP) if generates else (CLASSIFY,):
            for point in session.points():
                cost = _phase_cost(session, loaded, precisions[index], found.roofline, phase, point)
                yield from _costs(session, loaded, phase, point, cost)
        session.advance(index + 1, len(models))


def _precision(loaded: Loaded) -> str:
    """In which it answers: what is deployed is packed where a kernel for packed weights is at hand."""
    return "packed" if getattr(loaded.model.config, "packed", False) else loaded.subject.precision


def _rates(session: Session, loaded: Loaded, precision: str, found: Found) -> Iterator[Record]:
    bandwidth, rate = found.roofline.bandwidth, found.roofline.flops.get(precision)
    yield from session.record(loaded.subject, "machine_bytes_per_s", "bytes/s", bandwidth, note=found.note)
    if rate is None:
        yield from session.unmeasured(loaded.subject, {"machine_flops_per_s": "FLOP/s"}, _lacks(precision))
        return
    note = "products of packed weights" if precision == "packed" else f"products in {precision}"
    yield from session.record(loaded.subject, "machine_flops_per_s", "FLOP/s", rate, note=note)


def _phase_cost(
    session: Session, loaded: Loaded, precision: str, roofline: Roofline, phase: str, point: Point
) -> Cost | str:
    """The work of one phase at one point, or why it is not known."""
    config, tokens = loaded.model.config, session.grid.decode
    reason = beyond_positions(loaded.description, point, tokens - 1 if phase == DECODE_STEP else 0)
    if reason is not None:
        return reason
    try:
        if phase != DECODE_STEP:
            return prefill(config, precision, roofline, point, logits=0 if phase == CLASSIFY else 1)
        return decode(config, precision, roofline, point, tokens).divided(tokens - 1)
    except ModelError as error:
        return str(error)


def _costs(session: Session, loaded: Loaded, phase: str, point: Point, cost: Cost | str) -> Iterator[Record]:
    flops, moved, least = f"{phase}_flops", f"{phase}_bytes", f"{phase}_least_ms"
    subject = loaded.subject
    if isinstance(cost, str):
        yield from session.unmeasured(subject, {flops: "FLOPs", moved: "bytes", least: "ms"}, cost, point)
        return
    yield from session.record(subject, flops, "FLOPs", cost.flops, point=point)
    yield from session.record(subject, moved, "bytes", cost.bytes, point=point)
    if cost.least_seconds is None:
        yield from session.unmeasured(subject, {least: "ms"}, cost.note, point)
        return
    milliseconds = 1e3 * cost.least_seconds
    yield from session.record(subject, least, "ms", milliseconds, point=point, note=cost.note)


def prefill(config: Any, precision: str, roofline: Roofline, point: Point, *, logits: int) -> Cost:
    """The forward pass over whole inputs.

    Args:
        config: of the model.
        precision: in which it answers.
        roofline: of the machine.
        point: batch and length.
        logits: positions of each sequence with logits over the vocabulary; 0 for a classifier.

    Raises:
        ModelError: for a model of a family whose operations are not known.
    """
    held = multiplied(config, precision)
    shape = shape_of(config)
    operations = forward(shape, point.batch, point.length, point.length, held, logits=logits)
    return _cost([operations], 1, held, roofline)


def decode(config: Any, precision: str, roofline: Roofline, point: Point, tokens: int) -> Cost:
    """All steps by which ``tokens`` are generated after a prompt, but for the first, which prefill gives.

    Raises:
        ModelError: for a model of a family whose operations are not known.
    """
    held = multiplied(config, precision)
    shape = shape_of(config)
    steps = tokens - 1
    contexts = np.linspace(point.length + 1, point.length + steps, min(steps, MOST_STEPS)).round().astype(int)
    passes = [forward(shape, point.batch, 1, int(context), held) for context in contexts]
    return _cost(passes, steps, held, roofline)


def multiplied(config: Any, precision: str) -> str:
    """The precision of what is multiplied: unpacked ternary weights are kept rounded, a byte each."""
    return "int8" if config.model_type == "hgrn_bit" and precision != "packed" else precision


def _cost(passes: Sequence[Sequence[Operation]], times: int, precision: str, roofline: Roofline) -> Cost:
    """The mean of some passes, so many times."""
    share = times / len(passes)
    operations = [one for each in passes for one in each]
    flops = share * sum(one.flops for one in operations)
    moved = share * sum(one.bytes for one in operations)
    rate = roofline.flops.get(precision)
    if rate is None:
        return Cost(flops, moved, None, _lacks(precision))
    computing = [one.flops / rate for one in operations]
    moving = [one.bytes / roofline.bandwidth for one in operations]
    pairs = list(zip(computing, moving, strict=True))
    least = sum(max(pair) for pair in pairs)
    computing_share = sum(a for a, b in pairs if a > b) / least
    bound = "compute" if computing_share > 0.5 else "memory"
    return Cost(flops, moved, share * least, f"bound by {bound}", computing_share)


def _lacks(precision: str) -> str:
    return f"this machine multiplies no matrices in {precision}"
