"""Forward passes whose time is forecast, and what of their work a machine's time depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trilemma.hardware.catalogue import Machine
from trilemma.profiling.operations import Operation, Shape, forward

Phase = Literal["classify", "prefill", "decode"]
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
"""Of a peak rate, that matrix products reach before anything is measured; GUIDE's band is about it."""

MEMORY_SHARE = 0.7
"""Likewise of the bandwidth."""


@dataclass(frozen=True)
class Case:
    """One forward pass.

    Attributes:
        shape: of the model.
        precision: of its weights, a key of ``trilemma.profiling.operations.WEIGHT_BYTES``.
        phase: a classifier's pass, the prompt's pass of a language model, or the pass of one further token.
        batch: sequences.
        length: tokens of each; in decoding, those before the new one.
    """

    shape: Shape
    precision: str
    phase: Phase
    batch: int
    length: int

    def operations(self, machine: Machine) -> list[Operation]:
        """Its work."""
        decoding = self.phase == "decode"
        return forward(
            self.shape,
            self.batch,
            1 if decoding else self.length,
            self.length + decoding,
            self.precision,
            logits=0 if self.phase == "classify" else 1,
            compiled=machine.kind == "cpu",
        )


def analytic_seconds(case: Case, machine: Machine) -> float:
    """Time by the roofline of each operation, at usual shares of the peaks, and a cost a kernel.

    t = max(FLOPs / (share * peak), bytes / (share * bandwidth)) + launches * launch, summed over operations
    (Williams et al. 2009, Communications of the ACM 52(4); as GUIDE does, arXiv 2412.04788).
    """
    rate = machine.rate(case.precision) * COMPUTE_SHARE
    bandwidth = machine.bandwidth * MEMORY_SHARE
    return sum(
        max(one.flops / rate, one.bytes / bandwidth) + one.launches * machine.launch
        for one in case.operations(machine)
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


def coordinates(cases: Sequence[Case]) -> Floats:
    """Where cases lie among others, for a learned residual, [cases, coordinates].

    Logarithms of width, layers, batch and length, the ratio of MLP and vocabulary to width, and one
    coordinate each for phase, precision and family, in which unlike ones are far apart.
    """
    rows = []
    for case in cases:
        shape = case.shape
        one_hot = [
            *(2.0 * (case.phase == phase) for phase in ("classify", "prefill", "decode")),
            *(2.0 * (case.precision == precision) for precision in ("float32", "bfloat16", "packed")),
            *(2.0 * (shape.family == family) for family in FAMILIES),
            2.0 * shape.own,
            2.0 * shape.causal,
            2.0 * shape.gated,
        ]
        logs = [shape.width, shape.layers, case.batch, case.length]
        ratios = [shape.mlp_width / shape.width, shape.vocabulary / shape.width]
        rows.append([*np.log2(logs), *np.log2(ratios), *one_hot])
    return np.array(rows, float)
