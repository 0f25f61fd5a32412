"""What a phase of a model computes and moves, and the least time in which a machine could do it."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from trilemma.hardware.machine import Machine
from trilemma.models.description import is_ternary
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.operations import Operation, dimensions_of, forward

MOST_STEPS = 128
"""Decoding steps whose cost is computed; of more, so many evenly spaced ones stand for all."""

Pass = Literal["classify", "prefill", "decode"]
"""Phases that consist of forward passes: of a classifier; of a prompt; of all further tokens."""


class Cost(NamedTuple):
    """The work of one phase.

    Attributes:
        flops: floating-point (or integer) operations.
        bytes: read and written: weights, activations, states; None where only operations were counted.
        least_seconds: time under the roofline, operation after operation, max(FLOPs / rate, bytes /
            bandwidth) summed; None where bytes or the machine's rate for the precision are not known.
        note: ``bound by compute`` or ``bound by memory``, by what most of that time is for; or why bytes or
            time are not known.
        compute_share: share of that time in operations that arithmetic bounds; None where it is not known.
        uncounted: what is not in ``flops`` although it should be; "" for nothing.
    """

    flops: float
    bytes: float | None
    least_seconds: float | None
    note: str
    compute_share: float | None = None
    uncounted: str = ""


def cost_of(config: Any, precision: str, machine: Machine, phase: Pass, point: OperatingPoint) -> Cost:
    """The work of a whole batch in one phase; in decoding, of all tokens but the first.

    Args:
        config: of the model.
        precision: in which it answers.
        machine: whose rates give the least time.
        phase: what the model does.
        point: batch, length, and the tokens that are generated.

    Raises:
        ModelError: for a model of a family whose operations are not known.
    """
    held = multiplied(config, precision)
    dimensions = dimensions_of(config)
    batch, length, decode = point
    if phase != "decode":
        logits = 0 if phase == "classify" else 1
        return _cost([forward(dimensions, batch, length, length, held, logits=logits)], 1, held, machine)
    steps = decode - 1
    contexts = np.linspace(length + 1, length + steps, min(steps, MOST_STEPS)).round().astype(int)
    passes = [forward(dimensions, batch, 1, int(context), held) for context in contexts]
    return _cost(passes, steps, held, machine)


def multiplied(config: Any, precision: str) -> str:
    """The precision of what is multiplied: unpacked ternary weights are kept rounded, a byte each."""
    return "int8" if is_ternary(config) and precision != "packed" else precision


def no_rate(precision: str) -> str:
    """Why there is no least time."""
    return f"this machine has no rate for products in {precision}"


def _cost(passes: Sequence[Sequence[Operation]], times: int, precision: str, machine: Machine) -> Cost:
    """The mean of some passes, so many times."""
    share = times / len(passes)
    operations = [one for each in passes for one in each]
    flops = share * sum(one.flops for one in operations)
    moved = share * sum(one.bytes for one in operations)
    if not machine.multiplies(precision):
        return Cost(flops, moved, None, no_rate(precision))
    rate = machine.rate(precision)
    pairs = [(one.flops / rate, one.bytes / machine.bandwidth) for one in operations]
    least = sum(max(pair) for pair in pairs)
    computing_share = sum(a for a, b in pairs if a > b) / least
    bound = "compute" if computing_share > 0.5 else "memory"
    return Cost(flops, moved, share * least, f"bound by {bound}", computing_share)
