"""Floating-point operations per token, counted by torch.

Counted is what ``torch.utils.flop_counter`` counts: products of matrices, convolutions and attention,
a multiply-add as two operations. Elementwise work (norms, activations, gates, the scan of MatMul-Free's
recurrence) is not counted. Causal attention is counted in full, masked half included, as the common kernels
report it. MatMul-Free's ternary products are counted as the dense products of their size, although there a
multiplication by -1, 0 or 1 is none. An operator that may multiply and that torch's counter does not know is
named beside the count.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trilemma.hardware import Unmeasured
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.inference.gradients import weights_fixed
from trilemma.inference.reading import fixed_arguments
from trilemma.operating_point import OperatingPoint
from trilemma.ops import by_pytorch
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.measurements.generation import last_logits
from trilemma.profiling.session import LoadedModel, Session, beyond_positions, failure
from trilemma.profiling.timing import Quantity
from trilemma.records import Record

TensorShape = Sequence[int]


@MEASUREMENTS.plugin(2)
def measure(session: Session) -> Iterator[Record]:
    """FLOPs per token of the classifier's forward pass at each length, one sequence."""
    asked = [model for model in session.models if "classify" in session.phases(model)]
    models = [one for one in session.loaded("trainable classifier") if one.model in asked] if asked else []
    for model in asked:
        absent = session.absent(model, "train")
        if absent is not None:
            for length in sorted(set(session.grid.length)):
                yield from session.record(model, "flops_per_token", absent, point=OperatingPoint(1, length))
    for index, loaded in enumerate(models):
        for length in sorted(set(session.grid.length)):
            point = OperatingPoint(1, length)
            flops = counted(session, loaded, point)
            value = flops if isinstance(flops, Unmeasured) else flops.times(1 / point.tokens)
            yield from session.record(loaded.model, "flops_per_token", value, point=point)
        session.advance(index + 1, len(models))


def counted(session: Session, loaded: LoadedModel, point: OperatingPoint) -> Quantity | Unmeasured:
    """FLOPs of one forward pass of a model at a point, or why they cannot be counted.

    A language model forms the logits of the last position alone if it can, as where it is timed.
    """
    reason = beyond_positions(loaded.description, point)
    if reason is not None:
        return Unmeasured(reason)
    try:
        with memory_ceiling():
            inputs = {**session.inputs(loaded, point), **last_logits(loaded.module)}
            flops, unknown = count_flops(loaded.module, inputs)
    except OutOfMemoryError:
        return Unmeasured("out of memory")
    except Exception as error:  # whatever a model of unknown origin may raise
        return failure(error)
    note = f"without {', '.join(unknown)}, which torch's counter does not know" if unknown else ""
    return Quantity(float(flops), note=note)


def count_flops(module: Any, inputs: dict[str, Any]) -> tuple[int, list[str]]:
    """FLOPs of one forward pass, as torch counts them; and operators that may multiply but are not in it."""
    counting = _Counter(display=False, custom_mapping=_FORMULAS)  # sees PyTorch's operators alone
    # Its tracker of modules fails where a weight that requires gradients is handed to a module (DeBERTa).
    with by_pytorch(), weights_fixed(module), counting as counter, torch.no_grad():
        module(**inputs, **fixed_arguments(module))
    return int(counter.get_total_flops()), sorted(counting.unknown)


_MULTIPLIES = re.compile(
    r"mm|mv|matmul|dot|attention|conv|linear|einsum|fft|lstm|gru|rnn|cdist|encoder_layer|bilinear"
)
"""In the names of PyTorch's own operators that multiply more than element by element."""


class _Counter(FlopCounterMode):
    """torch's counter, which notes the operators that it may have missed; those of other libraries all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.unknown: set[str] = set()

    def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        name = str(func_packet)
        library, _, operator = name.partition(".")
        foreign = library not in ("aten", "prim", "prims", "profiler", "c10d", "inductor")
        if func_packet not in self.flop_registry and (foreign or _MULTIPLIES.search(operator)):
            self.unknown.add(name)
        return super()._count_flops(func_packet, out, args, kwargs)  # type: ignore[no-untyped-call]


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


def _grouped_product_flops(left: TensorShape, right: TensorShape, *args: Any, **kwargs: Any) -> int:
    """[m, k] times [groups, k, n], rows by group; or [m, k] times [k, n] with k by group: m k n in all."""
    return 2 * math.prod(left) * right[-1]


def _vector_product_flops(left: TensorShape, *args: Any, **kwargs: Any) -> int:
    """[m, k] times [k], or [k] times [k]."""
    return 2 * math.prod(left)


def _product_with_vector_flops(target: TensorShape, left: TensorShape, *args: Any, **kwargs: Any) -> int:
    """[m, k] times [k], added to the target."""
    return 2 * math.prod(left)


# Kernels that torch's counter does not know: attention on a CPU, integer, in-place and grouped products.
_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_fused_attention_overrideable: _attention_flops,
    torch.ops.aten._int_mm: _int8_product_flops,
    torch.ops.aten.addmm_: _product_into_flops,
    torch.ops.aten.baddbmm_: _product_into_flops,
    torch.ops.aten._grouped_mm: _grouped_product_flops,
    torch.ops.aten._scaled_grouped_mm: _grouped_product_flops,
    torch.ops.aten.mv: _vector_product_flops,
    torch.ops.aten.dot: _vector_product_flops,
    torch.ops.aten.vdot: _vector_product_flops,
    torch.ops.aten.addmv: _product_with_vector_flops,
    torch.ops.aten.addmv_: _product_with_vector_flops,
}
