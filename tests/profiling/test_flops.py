"""FLOPs as torch counts them, against the closed forms."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.stand_ins.tiny_models import tiny_bert
from trilemma.models import sizes
from trilemma.models.loading import describe
from trilemma.profiling.measurements.flops import closed_form, count_flops
from trilemma.profiling.points import Point
from trilemma.profiling.session import random_inputs

OUTPUTS = 2


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
    counted = count_flops(model, random_inputs(model.config, Point(batch, length), "cpu"))
    head = 2 * batch * model.config.hidden_size * OUTPUTS
    expected = closed_form(model.config, 0, length) * batch * length + head
    convolutions = 0
    if overrides.get("use_short_conv"):
        # Padded in front, the convolution also computes outputs that are cut off again.
        convolutions = 0.02 * expected
    assert counted == pytest.approx(expected, rel=1e-9, abs=convolutions)


def test_any_other_model_is_taken_as_two_operations_a_weight() -> None:
    model = tiny_bert(hidden_size=128, intermediate_size=512)
    counted = count_flops(model, random_inputs(model.config, Point(1, 64), "cpu")) / 64
    expected = closed_form(model.config, describe(model).non_embedding_parameters, 64)
    assert counted == pytest.approx(expected, rel=0.1)


def test_products_into_a_tensor_and_integer_products_count() -> None:
    class Products(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> None:
            x.new_zeros(2, 4, 5).baddbmm_(x.expand(2, 4, 3), x.new_ones(2, 3, 5))
            x.new_zeros(4, 5).addmm_(x, x.new_ones(3, 5))
            torch._int_mm(torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8))

    expected = 2 * (2 * 4 * 3 * 5) + 2 * (4 * 3 * 5) + 2 * (32 * 16 * 8)
    assert count_flops(Products(), {"x": torch.ones(4, 3)}) == expected
