"""Floating-point operations a token, counted by torch and checked against closed forms.

Counted is what ``torch.utils.flop_counter`` counts: products of matrices, convolutions and attention,
a multiply-add as two operations. Elementwise work (norms, activations, gates, the scan of MatMul-Free's
recurrence) is not counted, nor is it in the closed forms. Causal attention is counted in full, masked
half included, as the common kernels report it. MatMul-Free's ternary products are counted as the dense
products of their size, although there a multiplication by -1, 0 or 1 is none.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.inference.classifier import fixed_arguments
from trilemma.ops import by_pytorch
from trilemma.profiling.operations import GLA_CHUNK
from trilemma.profiling.points import Point
from trilemma.profiling.session import Loaded, Session, beyond_positions, failure
from trilemma.records import Record

Shape = Sequence[int]

UNITS = {"flops_per_token": "FLOPs"}


def measure(session: Session) -> Iterator[Record]:
    """FLOPs a token of the classifier's forward pass at each length, one sequence."""
    models = session.trainable()
    for index, loaded in enumerate(models):
        for length in sorted(set(session.grid.length)):
            yield from _measure_one(session, loaded, Point(1, length))
        session.advance(index + 1, len(models))


def _measure_one(session: Session, loaded: Loaded, point: Point) -> Iterator[Record]:
    reason = beyond_positions(loaded.description, point)
    if reason is None:
        try:
            with memory_ceiling():
                counted = count_flops(loaded.model, session.inputs(loaded, point)) / point.tokens
        except OutOfMemoryError:
            reason = "out of memory"
        except Exception as error:  # whatever a model of unknown origin may raise
            reason = failure(error)
    if reason is not None:
        yield from session.unmeasured(loaded.subject, UNITS, reason, point)
        return
    config = loaded.model.config
    expected = closed_form(config, loaded.description.non_embedding_parameters, point.length)
    note = f"closed form: {expected:.6g}, {expected / counted - 1:+.1%} from the count" if expected else ""
    yield from session.record(loaded.subject, "flops_per_token", "FLOPs", counted, point=point, note=note)


def count_flops(model: Any, inputs: dict[str, torch.Tensor]) -> int:
    """FLOPs of one forward pass, as torch counts them."""
    counting = FlopCounterMode(display=False, custom_mapping=_FORMULAS)  # sees PyTorch's operators alone
    with by_pytorch(), counting as counter, torch.no_grad():
        model(**inputs, **fixed_arguments(model))
    return int(counter.get_total_flops())


def _attention_flops(
    query: Shape, key: Shape, value: Shape, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    """Scores and weighted values; shapes are [batch, heads, tokens, width]."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1])


def _int8_product_flops(left: Shape, right: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """[m, k] times [k, n]; integer operations count as floating-point ones."""
    return 2 * left[0] * left[1] * right[1]


def _product_into_flops(
    target: Shape, left: Shape, right: Shape, *args: Any, out_shape: Any = None, **kwargs: Any
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


def closed_form(config: Any, non_embedding_parameters: int, length: int) -> float | None:
    """FLOPs a token of the forward pass without embeddings and head, from the configuration alone.

    Args:
        config: of the model; of the three architectures every matrix is written out.
        non_embedding_parameters: for any other model, whose weights are each taken as one multiply-add
            a token; attention over ``length`` tokens is added.
        length: tokens of the sequence.

    Returns:
        None where the configuration does not name its layers and their width.
    """
    known = _CLOSED_FORMS.get(config.model_type)
    if known is not None:
        return float(config.num_hidden_layers * known(config, length))
    text = config.get_text_config()
    if not (hasattr(text, "num_hidden_layers") and hasattr(text, "hidden_size")):
        return None
    return float(2 * non_embedding_parameters + text.num_hidden_layers * 4 * length * text.hidden_size)


def _transformer_layer(config: Any, length: int) -> float:
    width: int = config.hidden_size
    keys = width * (config.num_kv_heads or config.num_heads) // config.num_heads
    attention = 4 * length * width  # scores and weighted values, a query against all keys
    linear = 2 * width * width + 2 * width * keys + 3 * width * config.mlp_width()
    return float(2 * linear + attention)


def _gla_layer(config: Any, length: int) -> float:
    """Linear maps, short convolutions and the chunkwise operator.

    Inside a chunk of C tokens the operator is linear attention, scores and weighted values: 2 C (K + V) a
    token over all heads. Where there is more than one chunk, k v^T into the state and q times the state
    add 4 K V / H (Yang et al. 2024, arXiv 2312.06635, section 4).
    """
    width, heads = config.hidden_size, config.num_heads
    groups = heads // (config.num_kv_heads or heads)
    keys, values = round(width * config.expand_k), round(width * config.expand_v)
    low_rank = 16
    maps = width * (keys + keys // groups + values // groups + low_rank + values) + low_rank * keys // groups
    maps += width * values if config.use_output_gate else 0
    maps += config.conv_size * (keys + (keys + values) // groups) if config.use_short_conv else 0
    chunks = -(-length // GLA_CHUNK)
    chunk = -(-length // chunks)
    operator = 2 * chunk * (keys + values) + (4 * keys * values // heads if chunks > 1 else 0)
    padding = chunks * chunk / length
    return float(2 * (maps + 3 * width * config.mlp_width()) + operator * padding)


def _matmul_free_layer(config: Any, length: int) -> float:
    width: int = config.hidden_size
    return float(2 * (4 * width * width + 3 * width * config.mlp_width()))


_CLOSED_FORMS: dict[str, Callable[[Any, int], float]] = {
    "transformer": _transformer_layer,
    "gla": _gla_layer,
    "hgrn_bit": _matmul_free_layer,
}
