"""The work of a model's phases from its configuration, under a machine's roof."""

from typing import Any

import pytest
from transformers import BloomConfig

from trilemma.errors import ModelError
from trilemma.hardware.machine import Machine
from trilemma.models.sizes import configuration
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.cost import Pass, cost_of, multiplied
from trilemma.profiling.operations import dimensions_of, forward

POINT = OperatingPoint(2, 96, 8)


@pytest.fixture(params=["transformer-pp", "gla", "matmul-free"])
def config(request: pytest.FixtureRequest) -> Any:
    return configuration(request.param, "nano", 512)


def machine(bandwidth: float = 1e10, rate: float = 1e11, **flops: float) -> Machine:
    rates: Any = flops or dict.fromkeys(("float32", "int8"), rate)
    return Machine(name="made up", kind="cpu", bandwidth=bandwidth, flops=rates, memory=1e10)


@pytest.mark.parametrize(("phase", "logits"), [("classify", 0), ("prefill", 1)])
def test_a_pass_sums_its_operations(config: Any, phase: Pass, logits: int) -> None:
    held = multiplied(config, "float32")
    operations = forward(dimensions_of(config), 2, 96, 96, held, logits=logits)
    cost = cost_of(config, "float32", machine(), phase, POINT)
    assert cost.flops == pytest.approx(sum(one.flops for one in operations))
    assert cost.bytes == pytest.approx(sum(one.bytes for one in operations))
    least = sum(max(one.flops / 1e11, one.bytes / 1e10) for one in operations)
    assert cost.least_seconds == pytest.approx(least)


def test_decoding_sums_its_steps(config: Any) -> None:
    dims, held = dimensions_of(config), multiplied(config, "float32")
    steps = [forward(dims, 2, 1, 96 + step, held) for step in range(1, 8)]  # the last token is not fed back
    cost = cost_of(config, "float32", machine(), "decode", POINT)
    assert cost.flops == pytest.approx(sum(one.flops for step in steps for one in step))
    assert cost.bytes == pytest.approx(sum(one.bytes for step in steps for one in step))


def test_long_decoding_is_summed_from_a_sample_of_its_steps(config: Any) -> None:
    whole = cost_of(config, "float32", machine(), "decode", OperatingPoint(2, 96, 1001))
    dims, held = dimensions_of(config), multiplied(config, "float32")
    flops = sum(one.flops for step in range(1, 1001) for one in forward(dims, 2, 1, 96 + step, held))
    assert whole.flops == pytest.approx(flops, rel=1e-3)


def test_either_side_of_the_roof_bounds(config: Any) -> None:
    by_memory = cost_of(config, "float32", machine(rate=1e30), "prefill", POINT)
    assert by_memory.bytes is not None
    assert by_memory.least_seconds == pytest.approx(by_memory.bytes / 1e10)
    assert (by_memory.note, by_memory.compute_share) == ("bound by memory", 0)
    by_compute = cost_of(config, "float32", machine(bandwidth=1e30), "prefill", POINT)
    assert by_compute.least_seconds == pytest.approx(by_compute.flops / 1e11)
    assert (by_compute.note, by_compute.compute_share) == ("bound by compute", 1)


def test_a_precision_without_rate_has_no_roof(config: Any) -> None:
    cost = cost_of(config, "bfloat16", machine(float16=1.0), "prefill", POINT)
    assert cost.flops > 0 and cost.bytes and cost.least_seconds is None
    assert "has no rate for products in" in cost.note


def test_unpacked_ternary_weights_are_multiplied_as_bytes() -> None:
    ternary, dense = (configuration(arch, "nano", 512) for arch in ("matmul-free", "gla"))
    assert multiplied(ternary, "float32") == "int8"
    assert multiplied(ternary, "packed") == "packed"
    assert multiplied(dense, "float32") == "float32"


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ModelError, match="bloom"):
        cost_of(BloomConfig(), "float32", machine(), "prefill", POINT)
