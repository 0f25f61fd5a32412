"""What the phases of inference compute and move, and how near they come to the machine's roofline."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trilemma.profile.operations import Operation, forward, shape_of
from trilemma.profile.points import Point
from trilemma.profile.roofline import Roofline

MOST_STEPS = 128
"""Decoding steps whose cost is computed; of more, so many evenly spaced ones stand for all."""


class Cost(NamedTuple):
    """The work of one phase.

    Attributes:
        flops: floating-point (or integer) operations.
        bytes: read and written: weights, activations, states; None where only operations were counted.
        least_seconds: time under the roofline, operation after operation, max(FLOPs / rate, bytes /
            bandwidth) summed; None where bytes or the machine's rate for the precision are not known.
        note: ``bound by compute`` or ``bound by memory``, after what most of that time is for; why bytes or
            time are not known.
    """

    flops: float
    bytes: float | None
    least_seconds: float | None
    note: str


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
        return Cost(flops, moved, None, f"this machine multiplies no matrices in {precision}")
    computing = [one.flops / rate for one in operations]
    moving = [one.bytes / roofline.bandwidth for one in operations]
    pairs = list(zip(computing, moving, strict=True))
    least = sum(max(pair) for pair in pairs)
    by_compute = sum(a for a, b in pairs if a > b)
    return Cost(flops, moved, share * least, f"bound by {'compute' if by_compute > least / 2 else 'memory'}")
