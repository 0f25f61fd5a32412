"""Forward passes whose time is forecast, and what of their work a machine's time depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from trilemma.hardware.machine import Machine
from trilemma.profiling.cost import Pass
from trilemma.profiling.operations import Dimensions, Operation, forward

Floats = NDArray[np.float64]

FAMILIES = ("attention", "gla", "matmul-free")
PARTS = (
    "products by torch",
    "products by compiled kernels",
    "ternary products",
    "attention",
    "gla",
    "scan",
    "weights read by torch",
    "weights read by compiled kernels",
    "ternary weights",
    "tensors",
    "starts",
    "starts of compiled kernels",
)
"""What seconds are the sum of: arithmetic and weights by kernel, other tensors moved, kernels started."""

COMPUTE_SHARE = 0.5
"""Share of a peak rate that matrix products reach before anything is measured; GUIDE's band is about it."""

MEMORY_SHARE = 0.7
"""Share of the memory bandwidth that is reached before anything is measured."""


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass.

    Attributes:
        dimensions: of the model.
        precision: of its weights, a key of ``trilemma.profiling.operations.WEIGHT_BYTES``.
        phase: a classifier's pass, the prompt's pass of a language model, or the pass of one further token.
        batch: sequences.
        length: tokens of each; in decoding, those before the new one.
    """

    dimensions: Dimensions
    precision: str
    phase: Pass
    batch: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of all sequences that are computed."""
        return self.batch * (1 if self.phase == "decode" else self.length)

    def operations(self, machine: Machine) -> list[Operation]:
        """Its operations on a machine."""
        decoding = self.phase == "decode"
        return forward(
            self.dimensions,
            self.batch,
            1 if decoding else self.length,
            self.length + decoding,
            self.precision,
            logits=0 if self.phase == "classify" else 1,
            compiled=machine.kind == "cpu",
        )


def analytic_seconds(one: ForwardPass, machine: Machine) -> float:
    """Time by the roofline of each operation, at usual shares of the peaks, and a cost per kernel.

    t = max(FLOPs / (share * peak), bytes / (share * bandwidth)) + launches * launch, summed over operations
    (Williams et al. 2009, Communications of the ACM 52(4); as GUIDE does, arXiv 2412.04788).
    """
    rate = machine.rate(one.precision) * COMPUTE_SHARE
    bandwidth = machine.bandwidth * MEMORY_SHARE
    return sum(
        max(operation.flops / rate, operation.bytes / bandwidth) + operation.launches * machine.launch
        for operation in one.operations(machine)
    )


def parts(operations: Sequence[Operation], precision: str, machine: Machine) -> Floats:
    """Seconds of each of :data:`PARTS` at usual shares of the machine's peaks, [parts].

    A fit multiplies each by what this machine's kernels really need.
    """
    seconds = dict.fromkeys(PARTS, 0.0)
    rate, bandwidth = machine.rate(precision) * COMPUTE_SHARE, machine.bandwidth * MEMORY_SHARE
    for one in operations:
        compiled = one.kernel == "compiled"
        by = "compiled kernels" if compiled else "torch"
        computing, reading = {
            "linear": (f"products by {by}", f"weights read by {by}"),
            "ternary": ("ternary products", "ternary weights"),
        }.get(one.kind, (one.kind, "tensors"))
        if one.kind != "elementwise":
            seconds[computing] += one.flops / rate
        seconds[reading] += one.weight_bytes / bandwidth
        seconds["tensors"] += one.other_bytes / bandwidth
        seconds["starts of compiled kernels" if compiled else "starts"] += one.launches * machine.launch
    return np.array([seconds[name] for name in PARTS])


def coordinates(passes: Sequence[ForwardPass]) -> Floats:
    """Where passes stand among others, for a learned residual, [passes, coordinates].

    Logarithms of width, layers, batch and length, the ratio of MLP and vocabulary to width, and one
    coordinate each for phase, precision and family, in which unlike ones are far apart.
    """
    rows = []
    for one in passes:
        model = one.dimensions
        one_hot = [
            *(2.0 * (one.phase == phase) for phase in get_args(Pass)),
            *(2.0 * (one.precision == precision) for precision in ("float32", "bfloat16", "packed")),
            *(2.0 * (model.family == family) for family in FAMILIES),
            2.0 * model.own,
            2.0 * model.causal,
            2.0 * model.gated,
        ]
        logs = [model.width, model.layers, one.batch, one.length]
        ratios = [model.mlp_width / model.width, model.vocabulary / model.width]
        rows.append([*np.log2(logs), *np.log2(ratios), *one_hot])
    return np.array(rows, float)
