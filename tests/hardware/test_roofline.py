"""The machine's rates, how they are kept, and how near a model's work comes to them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from trilemma.errors import ModelError
from trilemma.hardware import roofline
from trilemma.hardware.roofline import Roofline
from trilemma.models.sizes import configuration
from trilemma.profiling.measurements import work
from trilemma.profiling.operations import forward, shape_of
from trilemma.profiling.points import Point

RATES = {"float32": 1e11, "bfloat16": 4e11, "int8": 2e11}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured, by a machine that gives the same rates each time and lacks float16."""
    asked: list[str] = []

    def read(device: str) -> float:
        asked.append("memory")
        return 4e10

    def multiply(device: str, precision: str) -> float | None:
        asked.append(precision)
        return RATES.get(precision)

    monkeypatch.setattr(roofline, "read_rate", read)
    monkeypatch.setattr(roofline, "matrix_rate", multiply)
    return asked


def the_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_rates_are_measured_once(tmp_path: Path, measured: list[str]) -> None:
    first = roofline.find("cpu", ["float32", "float32", "bfloat16"], tmp_path / "new" / "cache")
    assert measured == ["memory", "float32", "bfloat16"]
    assert first.note == "" and first.roofline.bandwidth == 4e10
    assert first.roofline.flops == {"float32": 1e11, "bfloat16": 4e11}
    assert roofline.find("cpu", ["bfloat16"], tmp_path / "new" / "cache") == first
    assert measured == ["memory", "float32", "bfloat16"]


def test_another_precision_is_added(tmp_path: Path, measured: list[str]) -> None:
    roofline.find("cpu", ["float32"], tmp_path)
    added = roofline.find("cpu", ["float32", "int8"], tmp_path)
    assert measured == ["memory", "float32", "int8"]
    assert roofline.find("cpu", ["float32"], tmp_path) == added


def test_what_the_machine_lacks_is_tried_once(tmp_path: Path, measured: list[str]) -> None:
    for _ in range(2):
        assert "float16" not in roofline.find("cpu", ["float16"], tmp_path).roofline.flops
    assert measured == ["memory", "float16"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: text.replace("40000000000.0", "-1"),
        lambda text: text.replace("40000000000.0", "NaN"),
        lambda text: text.replace(", torch", ", of another machine, torch"),
    ],
)
def test_a_damaged_cache_is_measured_anew_and_said_so(
    tmp_path: Path, measured: list[str], damage: Callable[[str], str]
) -> None:
    whole = roofline.find("cpu", ["float32"], tmp_path)
    path = the_file(tmp_path)
    text = path.read_text("utf-8")
    assert damage(text) != text
    path.write_text(damage(text), "utf-8")
    found = roofline.find("cpu", ["float32"], tmp_path)
    assert found.roofline == whole.roofline
    assert str(path) in found.note and "damaged" in found.note and "measured anew" in found.note
    assert measured == ["memory", "float32"] * 2
    assert roofline.find("cpu", ["float32"], tmp_path) == whole


def test_a_cache_that_is_no_text_is_damaged_too(tmp_path: Path, measured: list[str]) -> None:
    roofline.find("cpu", ["float32"], tmp_path)
    the_file(tmp_path).write_bytes(b"\xff\xfe\x00")
    assert "damaged" in roofline.find("cpu", ["float32"], tmp_path).note


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, measured: list[str]) -> None:
    (tmp_path / "file").write_text("")
    found = roofline.find("cpu", ["float32"], tmp_path / "file" / "cache")
    assert found.roofline.flops == {"float32": 1e11}
    assert "could not be kept" in found.note and "measured each time" in found.note


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert roofline.cache_folder() == tmp_path / "trilemma"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert roofline.cache_folder() == Path.home() / ".cache" / "trilemma"


def test_rates_belong_to_threads_and_torch() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = roofline.fingerprint("cpu")
        torch.set_num_threads(2)
        assert roofline.fingerprint("cpu") != one
    finally:
        torch.set_num_threads(before)
    assert f"torch {torch.__version__}" in one and "1 thread" in one


class Clock:
    """Stands in for the module ``time``: every look is ``step`` seconds after the last, or as work adds."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def perf_counter(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "int8", "packed"])
def test_every_precision_is_a_product_of_matrices(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(roofline, "SMALLEST", 256)
    monkeypatch.setattr(roofline, "time", Clock(0.5))
    assert roofline.matrix_rate("cpu", precision) == pytest.approx(2 * 256**3 / 0.5)


def test_matrices_grow_until_a_product_takes_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sizes = Clock(0.0), list[int]()

    def product(device: str, precision: str, size: int) -> Callable[[], object]:
        sizes.append(size)

        def run() -> None:
            clock.now += 1e-3 * (size / 512) ** 3

        return run

    monkeypatch.setattr(roofline, "_product", product)
    monkeypatch.setattr(roofline, "time", clock)
    assert roofline.matrix_rate("cpu", "float32") == pytest.approx(2 * 512**3 / 1e-3)
    assert sizes == [512, 1024, 2048]


def test_the_fastest_repetition_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.0)
    taken = iter([0.9, 0.5, 0.25, *([0.4] * 100)])

    def run() -> None:
        clock.now += next(taken)

    monkeypatch.setattr(roofline, "time", clock)
    assert roofline._fastest(run, "cpu") == pytest.approx(0.25)


def test_a_product_that_torch_lacks_has_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def product(device: str, precision: str, size: int) -> Callable[[], object]:
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(roofline, "_product", product)
    assert roofline.matrix_rate("cpu", "float16") is None


def test_reading_is_bytes_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(roofline, "time", Clock(0.25))
    assert roofline.read_rate("cpu") == pytest.approx((1 << 20) / 0.25)


def test_a_cached_file_is_plain_json(tmp_path: Path, measured: list[str]) -> None:
    roofline.find("cpu", ["float32"], tmp_path)
    content = json.loads(the_file(tmp_path).read_text("utf-8"))
    assert content["roofline"]["machine"] == roofline.fingerprint("cpu")


# The work of a model under the roof.

POINT = Point(2, 96)


@pytest.fixture(params=["transformer-pp", "gla", "matmul-free"])
def config(request: pytest.FixtureRequest) -> Iterator[object]:
    yield configuration(request.param, "nano", 512)


def roof(bandwidth: float = 1e10, rate: float = 1e11) -> Roofline:
    return Roofline(machine="made up", bandwidth=bandwidth, flops=dict.fromkeys(RATES, rate))


def test_prefill_sums_its_operations(config: object) -> None:
    operations = forward(shape_of(config), 2, 96, 96, work.multiplied(config, "float32"))
    cost = work.prefill(config, "float32", roof(), POINT, logits=1)
    assert cost.flops == pytest.approx(sum(one.flops for one in operations))
    assert cost.bytes == pytest.approx(sum(one.bytes for one in operations))


def test_decoding_sums_its_steps(config: object) -> None:
    shape, held = shape_of(config), work.multiplied(config, "float32")
    steps = [forward(shape, 2, 1, 96 + step, held) for step in range(1, 8)]
    cost = work.decode(config, "float32", roof(), POINT, 8)
    assert cost.flops == pytest.approx(sum(one.flops for step in steps for one in step))
    assert cost.bytes == pytest.approx(sum(one.bytes for step in steps for one in step))


def test_long_decoding_is_summed_from_a_sample_of_its_steps(config: object) -> None:
    whole = work.decode(config, "float32", roof(), POINT, 1001)
    shape, held = shape_of(config), work.multiplied(config, "float32")
    flops = sum(one.flops for step in range(1, 1001) for one in forward(shape, 2, 1, 96 + step, held))
    assert whole.flops == pytest.approx(flops, rel=1e-3)


def test_either_side_of_the_roof_bounds(config: object) -> None:
    by_memory = work.prefill(config, "float32", roof(rate=1e30), POINT, logits=1)
    assert by_memory.bytes is not None
    assert by_memory.least_seconds == pytest.approx(by_memory.bytes / 1e10)
    assert by_memory.note == "bound by memory"
    by_compute = work.prefill(config, "float32", roof(bandwidth=1e30), POINT, logits=1)
    assert by_compute.least_seconds == pytest.approx(by_compute.flops / 1e11)
    assert by_compute.note == "bound by compute"


def test_the_roof_is_that_of_each_operation(config: object) -> None:
    cost = work.prefill(config, "float32", roof(), POINT, logits=1)
    assert cost.bytes is not None and cost.least_seconds is not None
    assert cost.least_seconds >= max(cost.flops / 1e11, cost.bytes / 1e10)
    assert cost.least_seconds <= cost.flops / 1e11 + cost.bytes / 1e10


def test_a_precision_without_rate_has_no_roof(config: object) -> None:
    bare = Roofline(machine="made up", bandwidth=1e10, flops={})
    cost = work.prefill(config, "bfloat16", bare, POINT, logits=1)
    assert cost.flops > 0 and cost.bytes and cost.least_seconds is None
    assert "multiplies no matrices" in cost.note


def test_unpacked_ternary_weights_are_multiplied_as_bytes() -> None:
    ternary, dense = (configuration(arch, "nano", 512) for arch in ("matmul-free", "gla"))
    assert work.multiplied(ternary, "float32") == "int8"
    assert work.multiplied(ternary, "packed") == "packed"
    assert work.multiplied(dense, "float32") == "float32"


def test_an_unknown_family_is_refused() -> None:
    from transformers import BloomConfig

    with pytest.raises(ModelError, match="bloom"):
        work.prefill(BloomConfig(), "float32", roof(), POINT, logits=1)
