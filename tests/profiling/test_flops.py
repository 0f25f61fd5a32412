"""FLOPs as torch counts them, against the closed forms."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.stand_ins.tiny_models import tiny_bert
from trilemma.models import sizes
from trilemma.models.loading import describe
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.measurements.flops import count_flops
from trilemma.profiling.operations import GLA_CHUNK
from trilemma.profiling.session import random_inputs

OUTPUTS = 2


def transformer_layer(config: Any, length: int) -> float:
    width: int = config.hidden_size
    keys = width * (config.num_kv_heads or config.num_heads) // config.num_heads
    attention = 4 * length * width  # scores and weighted values, a query against all keys
    linear = 2 * width * width + 2 * width * keys + 3 * width * config.mlp_width()
    return float(2 * linear + attention)


def gla_layer(config: Any, length: int) -> float:
    """Linear maps, short convolutions and the chunkwise operator.

    Inside a chunk of C tokens the operator is linear attention, scores and weighted values: 2 C (K + V)
    per token over all heads. Where there is more than one chunk, k v^T into the state and q times the state
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


def matmul_free_layer(config: Any, length: int) -> float:
    width: int = config.hidden_size
    return float(2 * (4 * width * width + 3 * width * config.mlp_width()))


FORMS: dict[str, Callable[[Any, int], float]] = {
    "transformer-pp": transformer_layer,
    "gla": gla_layer,
    "matmul-free": matmul_free_layer,
}
"""FLOPs per token of one layer, from the configuration alone, every matrix written out."""


def classifier(arch: str, **overrides: Any) -> Any:
    torch.manual_seed(0)
    config = sizes.configuration(arch, "nano", 64, num_labels=OUTPUTS, pad_token_id=0, **overrides)
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("length", [7, 64, 100, 192])
@pytest.mark.parametrize(
    ("arch", "overrides"),
    [
        ("transformer-pp", {}),
        ("transformer-pp", {"num_kv_heads": 2}),
        ("gla", {}),
        ("gla", {"use_short_conv": True}),
        ("gla", {"num_kv_heads": 1}),
        ("gla", {"use_output_gate": False, "expand_k": 1.0}),
        ("matmul-free", {}),
    ],
)
def test_count_is_the_closed_form_and_the_head(
    arch: str, overrides: dict[str, Any], length: int, batch: int
) -> None:
    model = classifier(arch, **overrides)
    counted, _ = count_flops(model, random_inputs(model.config, OperatingPoint(batch, length), "cpu"))
    head = 2 * batch * model.config.hidden_size * OUTPUTS
    layers = model.config.num_hidden_layers * FORMS[arch](model.config, length)
    expected = layers * batch * length + head
    convolutions = 0
    if overrides.get("use_short_conv"):
        # Padded in front, the convolution also computes outputs that are cut off again.
        convolutions = 0.02 * expected
    assert counted == pytest.approx(expected, rel=1e-9, abs=convolutions)


def test_any_other_model_takes_about_two_operations_per_weight_and_attention() -> None:
    model = tiny_bert(hidden_size=128, intermediate_size=512)
    counted = count_flops(model, random_inputs(model.config, OperatingPoint(1, 64), "cpu"))[0] / 64
    attention = model.config.num_hidden_layers * 4 * 64 * model.config.hidden_size
    expected = 2 * describe(model).non_embedding_parameters + attention
    assert counted == pytest.approx(expected, rel=0.1)


def test_products_into_a_tensor_and_integer_products_count() -> None:
    class Products(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> None:
            x.new_zeros(2, 4, 5).baddbmm_(x.expand(2, 4, 3), x.new_ones(2, 3, 5))
            x.new_zeros(4, 5).addmm_(x, x.new_ones(3, 5))
            torch._int_mm(torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8))

    expected = 2 * (2 * 4 * 3 * 5) + 2 * (4 * 3 * 5) + 2 * (32 * 16 * 8)
    assert count_flops(Products(), {"x": torch.ones(4, 3)}) == (expected, [])
