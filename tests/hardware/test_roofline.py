"""This machine's rates: how they are measured, and how they are kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trilemma.files import cache_folder
from trilemma.hardware.roofline import Found, fastest, find, fingerprint, matrix_rate, read_rate

RATES = {"float32": 1e11, "bfloat16": 4e11, "int8": 2e11}


class Rates:
    """A machine that gives the same rates each time, lacks float16, and knows what was measured of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.measured: list[str] = []
        self.share = 1.0

    def read(self, device: str) -> float:
        self.measured.append("memory")
        return 4e10 * self.share

    def multiply(self, device: str, precision: str) -> float | None:
        self.measured.append(precision)
        rate = RATES.get(precision)
        return rate and rate * self.share

    def find(self, *precisions: str) -> Found:
        return find(
            "cpu",
            precisions,
            folder=self.folder,
            read=self.read,
            multiply=self.multiply,
            glance=lambda device: 0.9 * RATES["float32"] * self.share,
        )

    @property
    def file(self) -> Path:
        (path,) = self.folder.iterdir()
        return path


@pytest.fixture
def rates(tmp_path: Path) -> Rates:
    return Rates(tmp_path / "new" / "cache")


def test_rates_are_measured_once(rates: Rates) -> None:
    first = rates.find("float32", "float32", "bfloat16")
    assert rates.measured == ["memory", "float32", "bfloat16"]
    assert first.note == "" and first.machine.bandwidth == 4e10 and first.machine.name == "here"
    assert first.machine.flops == {"float32": 1e11, "bfloat16": 4e11}
    assert (first.machine.kind, first.machine.cores) == ("cpu", torch.get_num_threads())
    assert first.machine.memory > 0
    assert rates.find("bfloat16") == first
    assert rates.measured == ["memory", "float32", "bfloat16"]


def test_rates_of_a_busy_machine_are_measured_again(rates: Rates) -> None:
    rates.share = 0.1
    rates.find("float32", "int8")
    rates.share = 1.0
    found = rates.find("float32")
    assert found.machine.flops == {"float32": 1e11} and found.machine.bandwidth == 4e10
    assert "were those of a busy machine; they were measured again" in found.note
    assert rates.find("float32", "int8").machine.flops == {"float32": 1e11, "int8": 2e11}
    rates.share = 0.1  # a busy moment later is no reason
    assert rates.find("float32").machine.bandwidth == 4e10


def test_another_precision_is_added(rates: Rates) -> None:
    rates.find("float32")
    added = rates.find("float32", "int8")
    assert rates.measured == ["memory", "float32", "int8"]
    assert rates.find("float32") == added


def test_what_the_machine_lacks_is_tried_once(rates: Rates) -> None:
    for _ in range(2):
        machine = rates.find("float16").machine
        assert not machine.multiplies("float16") and machine.flops == {}
    assert rates.measured == ["memory", "float16"]


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
def test_a_damaged_cache_is_measured_again_and_said_so(rates: Rates, damage: Callable[[str], str]) -> None:
    whole = rates.find("float32")
    text = rates.file.read_text("utf-8")
    assert damage(text) != text
    rates.file.write_text(damage(text), "utf-8")
    found = rates.find("float32")
    assert found.machine == whole.machine
    assert str(rates.file) in found.note and "damaged" in found.note and "measured again" in found.note
    assert rates.measured == ["memory", "float32"] * 2
    assert rates.find("float32") == whole


def test_a_cache_that_is_not_text_is_damaged_too(rates: Rates) -> None:
    rates.find("float32")
    rates.file.write_bytes(b"\xff\xfe\x00")
    assert "damaged" in rates.find("float32").note


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = Rates(tmp_path / "file" / "cache").find("float32")
    assert found.machine.flops == {"float32": 1e11}
    assert "could not be kept" in found.note and "measured each time" in found.note


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "trilemma"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "trilemma"


def test_rates_belong_to_threads_and_torch() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = fingerprint("cpu")
        torch.set_num_threads(2)
        assert fingerprint("cpu") != one
    finally:
        torch.set_num_threads(before)
    assert f"torch {torch.__version__}" in one and "1 thread" in one


def test_a_cached_file_is_plain_json(rates: Rates) -> None:
    rates.find("float32")
    content = json.loads(rates.file.read_text("utf-8"))
    assert content["fingerprint"] == fingerprint("cpu") and content["machine"]["name"] == "here"


class Clock:
    """Every look is ``step`` seconds after the last, or as work adds."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "int8", "packed"])
def test_every_precision_is_a_product_of_matrices(precision: str) -> None:
    rate = matrix_rate("cpu", precision, smallest=256, clock=Clock(0.5))
    assert rate == pytest.approx(2 * 256**3 / 0.5)


def test_matrices_grow_until_a_product_takes_long_enough() -> None:
    clock, sizes = Clock(0.0), list[int]()

    def product(device: str, precision: str, size: int) -> Callable[[], object]:
        sizes.append(size)

        def run() -> None:
            clock.now += 1e-3 * (size / 512) ** 3

        return run

    rate = matrix_rate("cpu", "float32", product=product, clock=clock)
    assert rate == pytest.approx(2 * 512**3 / 1e-3) and sizes == [512, 1024, 2048]


def test_the_fastest_repetition_counts() -> None:
    clock = Clock(0.0)
    taken = iter([0.9, 0.5, 0.25, *([0.4] * 100)])

    def run() -> None:
        clock.now += next(taken)

    assert fastest(run, "cpu", clock) == pytest.approx(0.25)


def test_a_product_that_torch_lacks_has_no_rate() -> None:
    def product(device: str, precision: str, size: int) -> Callable[[], object]:
        raise RuntimeError("not implemented for 'Half'")

    assert matrix_rate("cpu", "float16", product=product) is None


def test_reading_is_bytes_over_time() -> None:
    assert read_rate("cpu", size=1 << 20, clock=Clock(0.25)) == pytest.approx((1 << 20) / 0.25)
