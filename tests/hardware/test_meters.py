"""Meters of energy, against stand-ins for the kernel's files, NVML and Zeus."""

import itertools
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stand_ins.clocks import NvmlError
from trilemma.hardware import Unmeasured, meter_sources
from trilemma.hardware.meter_sources import (
    import_zeus,
    nvml_meter,
    open_meter,
    processor_meter,
    rapl_zones,
    zeus_gpu_meter,
)
from trilemma.hardware.meters import Counter, Meter, MeterError, joined, sampled

RANGE = 65_532_610_987  # microjoules, as an AMD processor has it
ZONES = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "core",
    "intel-rapl:0:1": "dram",
    "intel-rapl:1": "package-1",
    "intel-rapl:2": "psys",
    "intel-rapl-mmio:0": "package-0",
}


class Tree:
    """A powercap folder whose counters move when told to, and wrap."""

    def __init__(self, root: Path, start: int = 0) -> None:
        self.root = root
        (root / "intel-rapl").mkdir(parents=True)
        for zone, name in ZONES.items():
            folder = root / zone
            folder.mkdir()
            (folder / "name").write_text(f"{name}\n")
            (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
            (folder / "energy_uj").write_text(f"{start}\n")

    def add(self, joules: float, zones: Sequence[str] = tuple(ZONES)) -> None:
        for zone in zones:
            path = self.root / zone / "energy_uj"
            path.write_text(f"{(int(path.read_text()) + round(joules * 1e6)) % RANGE}\n")


def opened(meter: Meter | Unmeasured) -> Meter:
    assert not isinstance(meter, Unmeasured), meter.reason
    return meter


def test_zones_count_nothing_twice(tmp_path: Path) -> None:
    Tree(tmp_path / "powercap")
    zones = rapl_zones(tmp_path / "powercap")
    assert [(zone.component, zone.folder.name) for zone in zones] == [
        ("dram-0", "intel-rapl:0:1"),
        ("package-0", "intel-rapl:0"),
        ("package-1", "intel-rapl:1"),
    ]


def test_counters_are_added_up_across_their_wrap(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap", start=RANGE - 5_000_000)
    meter = opened(processor_meter(tree.root, sleep=lambda seconds: tree.add(1)))
    assert meter.source == "RAPL counters of dram-0 and package-0 and package-1"
    assert meter.read() == {"dram-0": 0, "package-0": 0, "package-1": 0}
    reads = [meter.read()]
    for joules in (3, 2.5, 40, 6_000):  # the second one wraps
        tree.add(joules)
        reads.append(meter.read())
    for component in reads[0]:
        windows = [after[component] - before[component] for before, after in itertools.pairwise(reads)]
        assert windows == pytest.approx([3, 2.5, 40, 6_000])
    meter.close()


def _dies(root: Path, names: Sequence[str]) -> Tree:
    for zone, name in enumerate(names):
        folder = root / f"intel-rapl:{zone}"
        folder.mkdir(parents=True)
        for file, value in (("name", name), ("max_energy_range_uj", RANGE), ("energy_uj", 7_000_000)):
            (folder / file).write_text(f"{value}\n")
    tree = Tree.__new__(Tree)
    tree.root = root
    return tree


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["package-0-die-0", "package-0-die-1"], 68),
        ([f"package-0-die-{die}" for die in range(4)], 68),
        (["package-0-die-0", "package-0-die-1", "package-1-die-0", "package-1-die-1"], 136),
        (["package-0", "package-1"], 136),
    ],
)
def test_dies_that_mirror_their_socket_count_once(tmp_path: Path, names: list[str], expected: float) -> None:
    tree = _dies(tmp_path, names)
    zones = [f"intel-rapl:{zone}" for zone in range(len(names))]
    meter = opened(processor_meter(tmp_path, sleep=lambda seconds: tree.add(1, zones)))
    tree.add(68, zones)
    assert sum(meter.read().values()) == pytest.approx(expected)
    meter.close()


def test_a_jump_that_no_machine_can_draw_is_a_reset_and_no_round() -> None:
    values = iter([4000.1, 0.01, 3.01])
    meter = Meter([Counter("package-0", lambda: next(values), wraps=262_143.0)], "counter", 0.1)
    with pytest.raises(MeterError, match="was reset; measure again"):
        meter.read()
    assert meter.read() == {"package-0": pytest.approx(3.0)}


def test_a_wrap_that_nobody_reads_is_seen_by_the_watch() -> None:
    values, exhausted = iter([8.0, 9.5, 0.5, 4.0, 9.0, 1.0]), threading.Event()

    def joules() -> float:
        try:
            return next(values)
        except StopIteration:
            exhausted.set()
            return 1.0

    meter = Meter([Counter("package-0", joules, wraps=10.0, every=0.001)], "counter", 0.1)
    assert exhausted.wait(60)  # the watch alone reads
    assert meter.read()["package-0"] == pytest.approx(13.0)
    meter.close()


def test_a_counter_that_went_back_without_a_wrap_is_an_error() -> None:
    values = iter([5.0, 3.0])
    meter = Meter([Counter("GPU", lambda: next(values))], "counter", 0.1)
    with pytest.raises(MeterError, match="the energy counter of GPU was reset; measure again"):
        meter.read()


def test_counters_that_stand_still_are_no_meter(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    still = processor_meter(tree.root, sleep=lambda seconds: None, zeus=SimpleNamespace())
    assert still == Unmeasured("the RAPL counters of this machine stand still, as on virtual machines")
    moving = opened(
        processor_meter(tree.root, sleep=lambda seconds: tree.add(1, ["intel-rapl:0", "intel-rapl:1"]))
    )
    assert set(moving.read()) == {"package-0", "package-1"}
    moving.close()


def test_counters_that_may_not_be_read_name_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path / "powercap")
    secret = tree.root / "intel-rapl:1" / "energy_uj"
    monkeypatch.setattr(meter_sources.os, "access", lambda path, mode: Path(path) != secret)
    meter = processor_meter(tree.root, zeus=SimpleNamespace())
    assert meter == Unmeasured(f"{secret} is not readable by this user; grant it: sudo chmod a+r {secret}")


def test_a_counter_that_vanishes_is_an_error(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    meter = opened(processor_meter(tree.root, sleep=lambda seconds: tree.add(1)))
    (tree.root / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(MeterError, match="energy_uj can no longer be read"):
        meter.read()
    meter.close()


class FakeNvml:
    """One GPU of 100 W; ``counts`` says whether it has the counter of Volta and later."""

    NVMLError = NvmlError

    def __init__(self, counts: bool = True, power: bool = True) -> None:
        self.counts, self.power, self.millijoules, self.lost = counts, power, 7_000, False

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != "GPU-1":
            raise NvmlError(6)
        return "handle"

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        if not self.power or self.lost:
            raise NvmlError(3)
        return 100_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if not self.counts or self.lost:
            raise NvmlError(3)
        return self.millijoules

    def work(self, seconds: float) -> None:
        self.millijoules += int(100_000 * seconds)


def test_a_gpu_with_a_counter_is_counted() -> None:
    nvml = FakeNvml()
    meter = opened(nvml_meter(nvml, "GPU-1", sleep=nvml.work))
    assert meter.source == "NVML counter of GPU"
    nvml.work(2)
    assert meter.read() == {"GPU": pytest.approx(200)}
    nvml.lost = True
    with pytest.raises(MeterError, match="NVML can no longer read the GPU"):
        meter.read()


@pytest.mark.parametrize("nvml", [FakeNvml(counts=False), FakeNvml()])
def test_a_gpu_without_a_counter_that_moves_is_sampled(nvml: FakeNvml) -> None:
    meter = opened(nvml_meter(nvml, "GPU-1", sleep=lambda seconds: None))
    assert meter.source == "NVML power samples of GPU"
    meter.close()
    assert meter.read()["GPU"] > 0


@pytest.mark.parametrize(("nvml", "uuid"), [(FakeNvml(power=False), "GPU-1"), (FakeNvml(), "GPU-2")])
def test_a_gpu_that_does_not_report_its_power_says_so(nvml: FakeNvml, uuid: str) -> None:
    meter = nvml_meter(nvml, uuid)
    assert isinstance(meter, Unmeasured)
    assert meter.reason.startswith(f"NVML does not report the power of the GPU {uuid}")


class FakeZeus:
    """Zeus's devices: what it answers for a GPU, and for a processor."""

    def __init__(self, *, millijoules: Any = 0, milliwatts: Any = 0, cpu: Any = 0, dram: Any = None) -> None:
        self.millijoules, self.milliwatts, self.cpu, self.dram = millijoules, milliwatts, cpu, dram

    def get_gpus(self) -> Any:
        return SimpleNamespace(
            supports_get_total_energy_consumption=lambda index: self.millijoules is not None,
            get_total_energy_consumption=lambda index: self.millijoules,
            get_instant_power_usage=lambda index: self.milliwatts,
        )

    def get_cpus(self) -> Any:
        class Cpus:
            __len__ = lambda cpus: 1  # noqa: E731
            get_total_energy_consumption = lambda cpus, index: SimpleNamespace(  # noqa: E731
                cpu_mj=self.cpu, dram_mj=self.dram
            )

        return Cpus()

    def work(self, seconds: float) -> None:
        self.millijoules += 50_000 * seconds
        self.cpu += 20_000 * seconds


def test_what_zeus_counts_is_counted(tmp_path: Path) -> None:
    zeus = FakeZeus()
    gpu = opened(zeus_gpu_meter(zeus, 0, sleep=zeus.work))
    cpu = opened(processor_meter(tmp_path, zeus=zeus, sleep=zeus.work))
    both = joined(gpu, cpu)
    assert both.source == "zeus counter of GPU, zeus counters of package-0"
    assert both.shortest == meter_sources.GPU_WINDOW
    before = both.read()
    zeus.work(3)
    after = both.read()
    assert {name: after[name] - before[name] for name in after} == pytest.approx(
        {"GPU": 150, "package-0": 60}
    )
    both.close()


@pytest.mark.parametrize("zeus", [FakeZeus(), FakeZeus(millijoules=None), FakeZeus(milliwatts=None)])
def test_zeroes_of_zeus_are_no_meter(tmp_path: Path, zeus: FakeZeus) -> None:
    still: Callable[[float], None] = lambda seconds: None  # noqa: E731
    assert isinstance(zeus_gpu_meter(zeus, 0, sleep=still), Unmeasured)
    reason = "no RAPL counters (none on virtual machines)"
    assert processor_meter(tmp_path, zeus=zeus, sleep=still) == Unmeasured(reason)


def test_zeus_without_a_counter_is_sampled() -> None:
    meter = opened(zeus_gpu_meter(FakeZeus(millijoules=None, milliwatts=9_000), 0))
    assert meter.source == "zeus power samples of GPU"
    meter.close()


BROKEN = "print('Unable to find libamd_smi.so')\nimport amdsmi.interface\nraise KeyError('libamd_smi.so')\n"


def test_an_amdsmi_that_fails_looks_absent_to_whoever_imports_it_later(tmp_path: Path) -> None:
    (tmp_path / "amdsmi").mkdir()
    (tmp_path / "amdsmi" / "__init__.py").write_text(BROKEN)
    (tmp_path / "amdsmi" / "interface.py").write_text("")
    later = """
try:
    import amdsmi
except ModuleNotFoundError:
    print("absent")
except KeyError:
    print("broken")
"""
    shield = "from trilemma.hardware.meter_sources import shield_from_amdsmi\nshield_from_amdsmi()\n"
    said = []
    for code in (later, shield + later):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        said.append(run.stdout.splitlines())
    assert said == [["Unable to find libamd_smi.so", "broken"], ["absent"]]


@given(
    st.lists(st.tuples(st.floats(1e-3, 10), st.floats(0, 500)), min_size=2, max_size=30),
    st.sets(st.integers(0, 29)),
)
def test_samples_are_integrated_by_the_trapezoid_rule_and_windows_add_up(
    steps: list[tuple[float, float]], cuts: set[int]
) -> None:
    times = list(itertools.accumulate(step for step, _ in steps))
    watts = [power for _, power in steps]
    now = iter(times)
    power = iter(watts)
    gpu = sampled("GPU", lambda: next(power), every=1e6, clock=lambda: next(now))
    meter = Meter([gpu], "samples", 0.1)
    reads = [0.0, *(meter.read()["GPU"] for _ in steps[1:])]
    meter.close()
    assert reads[-1] == pytest.approx(np.trapezoid(watts, times))
    ends = [0, *sorted(cut for cut in cuts if 0 < cut < len(reads) - 1), len(reads) - 1]
    windows = [reads[end] - reads[start] for start, end in itertools.pairwise(ends)]
    assert math.fsum(windows) == pytest.approx(reads[-1])
    for (start, end), joules in zip(itertools.pairwise(ends), windows, strict=True):
        assert joules == pytest.approx(np.trapezoid(watts[start : end + 1], times[start : end + 1]))


def test_samples_are_taken_while_nobody_reads() -> None:
    taken, enough = itertools.count(), threading.Event()

    def watts() -> float:
        if next(taken) == 5:
            enough.set()
        return 1.0

    meter = Meter([sampled("GPU", watts, every=0.001)], "samples", 0.1)
    assert enough.wait(60)
    meter.close()


@pytest.mark.skipif(bool(rapl_zones()), reason="this machine has RAPL counters")
def test_a_machine_without_counters_has_no_meter() -> None:
    assert open_meter("cpu") == Unmeasured("no RAPL counters (none on virtual machines)")
    assert open_meter("mps") == Unmeasured("no energy meter is known for the device mps")


def test_zeus_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeus", None)
    assert import_zeus() is None
