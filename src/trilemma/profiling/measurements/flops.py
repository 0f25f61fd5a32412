"""Floating-point operations per token, counted by torch.

Counted is what ``torch.utils.flop_counter`` counts: products of matrices, convolutions and attention,
a multiply-add as two operations. Elementwise work (norms, activations, gates, the scan of MatMul-Free's
recurrence) is not counted. Causal attention is counted in full, masked half included, as the common kernels
report it. MatMul-Free's ternary products are counted as the dense products of their size, although there a
multiplication by -1, 0 or 1 is none.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trilemma.hardware import Unmeasured
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.inference.classifier import fixed_arguments
from trilemma.operating_point import OperatingPoint
from trilemma.ops import by_pytorch
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.session import LoadedModel, Session, beyond_positions, failure
from trilemma.records import Record

TensorShape = Sequence[int]


@MEASUREMENTS.plugin(2)
def measure(session: Session) -> Iterator[Record]:
    """FLOPs per token of the classifier's forward pass at each length, one sequence."""
    asked = [model for model in session.models if "classify" in session.phases(model)]
    models = [one for one in session.loaded("trainable classifier") if one.model in asked] if asked else []
    for index, loaded in enumerate(models):
        for length in sorted(set(session.grid.length)):
            point = OperatingPoint(1, length)
            flops = counted(session, loaded, point)
            value = flops if isinstance(flops, Unmeasured) else flops / point.tokens
            yield from session.record(loaded.model, "flops_per_token", value, point=point)
        session.advance(index + 1, len(models))


def counted(session: Session, loaded: LoadedModel, point: OperatingPoint) -> float | Unmeasured:
    """FLOPs of one forward pass of a model at a point, or why they cannot be counted."""
    reason = beyond_positions(loaded.description, point)
    if reason is not None:
        return Unmeasured(reason)
    try:
        with memory_ceiling():
            return float(count_flops(loaded.module, session.inputs(loaded, point)))
    except OutOfMemoryError:
        return Unmeasured("out of memory")
    except Exception as error:  # whatever a model of unknown origin may raise
        return failure(error)


def count_flops(module: Any, inputs: dict[str, torch.Tensor]) -> int:
    """FLOPs of one forward pass, as torch counts them."""
    counting = FlopCounterMode(display=False, custom_mapping=_FORMULAS)  # sees PyTorch's operators alone
    with by_pytorch(), counting as counter, torch.no_grad():
        module(**inputs, **fixed_arguments(module))
    return int(counter.get_total_flops())


def _attention_flops(
    query: TensorShape, key: TensorShape, value: TensorShape, *args: Any, **kwargs: Any
) -> int:
    """Scores and weighted values; shapes are [batch, heads, tokens, width]."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1])


def _int8_product_flops(left: TensorShape, right: TensorShape, *args: Any, **kwargs: Any) -> int:
    """[m, k] times [k, n]; integer operations count as floating-point ones."""
    return 2 * left[0] * left[1] * right[1]


def _product_into_flops(
    target: TensorShape, left: TensorShape, right: TensorShape, *args: Any, **kwargs: Any
) -> int:
    """[..., m, k] times [..., k, n], added to the target."""
    return 2 * math.prod(left) * right[-1]


# Kernels that torch's counter does not know: attention on a CPU, integer and in-place products.
_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._int_mm: _int8_product_flops,
    torch.ops.aten.addmm_: _product_into_flops,
    torch.ops.aten.baddbmm_: _product_into_flops,
}
