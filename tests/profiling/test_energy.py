"""Energy against stand-in meters; and that nothing is invented where there is none."""

import itertools
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertModel, LlamaModel

from tests.stand_ins.clocks import NvmlError
from tests.stand_ins.tiny_models import save_bert, save_llama
from trilemma.adapt import AdaptSettings
from trilemma.errors import TrilemmaError
from trilemma.hardware import meter_sources
from trilemma.hardware.meter_sources import (
    import_zeus,
    nvml_meter,
    open_meter,
    processor_meter,
    rapl_zones,
    zeus_gpu_meter,
)
from trilemma.hardware.meters import Counter, CounterMeter, JoinedMeter, Meter, MeterError, SampledMeter
from trilemma.profiling import EfficiencyGrid, ProfiledModel
from trilemma.profiling.energy_estimates import estimates
from trilemma.profiling.measurements import energy
from trilemma.profiling.measurements.energy import idle_power, measure, measure_with
from trilemma.profiling.points import Unmeasured
from trilemma.profiling.session import NOT_GENERATIVE, Session
from trilemma.records import Record

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
    for joules in (3, 2.5, 40, 60_000):  # the second one wraps, and so does the last
        tree.add(joules)
        reads.append(meter.read())
    for component in reads[0]:
        windows = [after[component] - before[component] for before, after in itertools.pairwise(reads)]
        assert windows == pytest.approx([3, 2.5, 40, 60_000])
    meter.close()


def test_a_wrap_that_nobody_reads_is_seen_by_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilemma.hardware.meters.WATCH_SECONDS", 0.001)
    values, exhausted = iter([8.0, 9.5, 0.5, 4.0, 9.0, 1.0]), threading.Event()

    def joules() -> float:
        try:
            return next(values)
        except StopIteration:
            exhausted.set()
            return 1.0

    meter = CounterMeter([Counter("package-0", joules, wraps=10.0)], "counter", 0.1)
    assert exhausted.wait(60)  # the watch alone reads
    assert meter.read()["package-0"] == pytest.approx(13.0)
    meter.close()


def test_a_counter_that_went_back_without_a_wrap_is_an_error() -> None:
    values = iter([5.0, 3.0])
    meter = CounterMeter([Counter("GPU", lambda: next(values))], "counter", 0.1)
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
    with pytest.raises(MeterError, match="energy_uj cannot be read any more"):
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
    with pytest.raises(MeterError, match="NVML cannot read the GPU any more"):
        meter.read()


@pytest.mark.parametrize("nvml", [FakeNvml(counts=False), FakeNvml()])
def test_a_gpu_without_a_counter_that_moves_is_sampled(nvml: FakeNvml) -> None:
    meter = opened(nvml_meter(nvml, "GPU-1", sleep=lambda seconds: None))
    assert meter.source == "NVML power samples of GPU"
    meter.close()
    assert meter.read()["GPU"] > 0


@pytest.mark.parametrize(("nvml", "uuid"), [(FakeNvml(power=False), "GPU-1"), (FakeNvml(), "GPU-2")])
def test_a_gpu_that_tells_no_power_says_so(nvml: FakeNvml, uuid: str) -> None:
    meter = nvml_meter(nvml, uuid)
    assert isinstance(meter, Unmeasured)
    assert meter.reason.startswith(f"NVML tells no power of the GPU {uuid}")


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
    both = JoinedMeter([gpu, cpu])
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
    meter = SampledMeter({"GPU": lambda: next(power)}, "samples", 0.1, every=1e6, clock=lambda: next(now))
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

    meter = SampledMeter({"GPU": watts}, "samples", 0.1, every=0.001)
    assert enough.wait(60)
    meter.close()


GRID = EfficiencyGrid.model_validate(
    {
        "batch": [1, 2],
        "length": [8],
        "decode": 4,
        "seconds": 0.06,
        "training": {"batch": [2], "length": [8]},
    }
)
INFERENCE = [
    "energy_j_per_example",
    "prefill_energy_j_per_token",
    "decode_energy_j_per_token",
    "generation_energy_j_per_example",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[ProfiledModel]:
    folder = tmp_path_factory.mktemp("models")
    return [
        ProfiledModel(("bert",), save_bert(folder / "bert")),
        ProfiledModel(
            ("llama", "twin"), save_llama(folder / "llama"), adaptations=(AdaptSettings(method="lora"),)
        ),
    ]


def session_of(models: list[ProfiledModel], grid: EfficiencyGrid = GRID) -> Session:
    return Session(models, grid, device="cpu", clock=energy.time.perf_counter)


class WorkMeter:
    """2 W always, and half a joule a forward pass of a model."""

    source, shortest = "stand-in of socket", 0.01
    watts, joules = 2.0, 0.5

    def __init__(self) -> None:
        self.passes = 0
        self.hook = torch.nn.modules.module.register_module_forward_pre_hook(self._count)

    def _count(self, module: torch.nn.Module, inputs: Any) -> None:
        self.passes += isinstance(module, BertModel | LlamaModel)

    def read(self) -> Mapping[str, float]:
        return {"socket": self.watts * energy.time.perf_counter(), "work": self.joules * self.passes}

    def close(self) -> None:
        self.hook.remove()


@pytest.fixture
def meter() -> Iterator[WorkMeter]:
    meter = WorkMeter()
    yield meter
    meter.close()


def by_key(records: Iterator[Record]) -> dict[tuple[str, str, int | None], Record]:
    kept = list(records)
    keyed = {(record.model, record.metric, record.batch): record for record in kept}
    assert len(keyed) == len(kept)
    return keyed


def test_energy_of_each_phase_is_that_of_its_passes(models: list[ProfiledModel], meter: WorkMeter) -> None:
    found = by_key(measure_with(session_of(models), meter))
    idle = found["llama", "idle_power_w", None]
    assert idle.value == pytest.approx(2, rel=0.01) and idle.n == 6
    for batch in (1, 2):
        for metric, joules in {
            "energy_j_per_example": 0.5 / batch,
            "prefill_energy_j_per_token": 0.5 / (8 * batch),
            "decode_energy_j_per_token": 0.5 / batch,
            "generation_energy_j_per_example": 4 * 0.5 / batch,
        }.items():
            net, gross = found["llama", metric, batch], found["llama", f"gross_{metric}", batch]
            assert net.value == pytest.approx(joules, rel=0.01), metric
            assert gross.value is not None and gross.value > joules
            assert net.low is not None and net.low <= net.value <= net.high
            assert "stand-in of socket; 2 W idle subtracted" in net.note
            assert f"work {joules:.3g} J); idle power included" in gross.note
            assert (net.unit, net.length, net.n) == ("J", 8, 6)
    assert found["twin", "energy_j_per_example", 1].value == found["llama", "energy_j_per_example", 1].value
    assert found["bert", "energy_j_per_example", 2].value == pytest.approx(0.25, rel=0.01)
    assert found["bert", "decode_energy_j_per_token", 1].note == f"not measured: {NOT_GENERATIVE}"
    for model, method in (("bert", "full"), ("llama", "lora")):
        training = found[model, "training_energy_j_per_example", 2]
        assert training.value == pytest.approx(0.25, rel=0.01) and training.adaptation == method


def test_without_decoding_there_is_no_generation(models: list[ProfiledModel], meter: WorkMeter) -> None:
    grid = GRID.model_copy(update={"decode": 0, "batch": [1]})
    metrics = {record.metric for record in measure_with(session_of(models, grid), meter)}
    energies = ("energy_j_per_example", "training_energy_j_per_example")
    assert metrics == {"idle_power_w", *energies, *(f"gross_{name}" for name in energies)}


def test_a_meter_that_stands_still_measures_nothing(
    models: list[ProfiledModel], meter: WorkMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "watts", 0.0)
    reason = "not measured: the meter (stand-in of socket) stood still"
    assert {record.note for record in measure_with(session_of(models[1:]), meter)} == {reason}


def test_work_that_draws_no_more_than_the_idle_machine_has_no_net_energy(
    models: list[ProfiledModel], meter: WorkMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "joules", 0.0)
    monkeypatch.setattr(energy, "idle_power", lambda *_: energy.median([2.5] * 6))
    found = by_key(measure_with(session_of(models), meter))
    net = found["bert", "energy_j_per_example", 1]
    assert net.note == "not measured: the work drew no more than the 2.5 W of the idle machine"
    gross = found["bert", "gross_energy_j_per_example", 1].value
    assert gross is not None and gross > 0


def test_a_meter_that_fails_half_way_is_a_reason(models: list[ProfiledModel], meter: WorkMeter) -> None:
    left = iter(range(16))

    def read() -> Mapping[str, float]:
        if next(left, None) is None:
            raise MeterError("the GPU is lost; measure again")
        return {"socket": energy.time.perf_counter()}

    failing = SimpleNamespace(source="stand-in", shortest=0.01, read=read)
    found = by_key(measure_with(session_of(models[:1]), failing))
    assert found["bert", "idle_power_w", None].value
    assert found["bert", "energy_j_per_example", 1].note == "not measured: the GPU is lost; measure again"


def test_points_out_of_reach_say_so(models: list[ProfiledModel], meter: WorkMeter) -> None:
    grid = GRID.model_copy(update={"length": [128], "batch": [1], "decode": 0})
    found = by_key(measure_with(session_of(models[:1], grid), meter))
    beyond = "not measured: the model has 64 positions, 128 are needed"
    assert found["bert", "energy_j_per_example", 1].note == beyond


def test_without_a_meter_every_metric_says_why(
    models: list[ProfiledModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "open_meter", lambda device: Unmeasured("no meter in this test"))
    found = by_key(measure(session_of(models)))
    expected = {(name, None) for name in (*INFERENCE, "training_energy_j_per_example", "idle_power_w")}
    for model in ("bert", "llama", "twin"):
        assert {key[1:] for key in found if key[0] == model} == expected
    assert {record.note for record in found.values()} == {"not measured: no meter in this test"}
    assert {record.value for record in found.values()} == {None}


@pytest.mark.skipif(bool(rapl_zones()), reason="this machine has RAPL counters")
def test_a_machine_without_counters_has_no_meter() -> None:
    assert open_meter("cpu") == Unmeasured("no RAPL counters (none on virtual machines)")
    assert open_meter("mps") == Unmeasured("no energy meter is known for the device mps")


def test_zeus_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeus", None)
    assert import_zeus() is None


def test_idle_power_is_the_mean_over_each_window() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    meter = SimpleNamespace(source="", shortest=0.5, read=lambda: {"a": 3 * now[0], "b": 4 * now[0]})
    idle = idle_power(meter, 0.1, sleep=sleep, clock=lambda: now[0])
    assert idle == pytest.approx((7, 7, 7, 6)) and now[0] == pytest.approx(6 * 0.5)


def measured(metric: str, value: float | None, **fields: Any) -> Record:
    base: dict[str, Any] = {"study": "", "model": "m", "arch": "a", "parameters": 1, "adaptation": ""}
    base |= {"task": "", "set": "", "seed": None, "axis": "E", "unit": "ms", "batch": 4, "length": 8}
    return Record(**(base | {"metric": metric, "value": value} | fields))


def test_an_estimate_is_another_metric_and_power_times_time() -> None:
    records = [
        measured("latency_ms", 20.0, low=10.0, high=40.0, n=6),
        measured("ttft_ms", 16.0),
        measured("tpot_ms", 2.0),
        measured("training_examples_per_s", 10.0, low=5.0, high=20.0, unit="examples/s", adaptation="full"),
        measured("latency_ms", None, note="not measured: out of memory"),
        measured("parameters", 3.0, batch=None, length=None),
        measured("throughput_tokens_per_s", 3.0),
    ]
    found = list(estimates(records, watts=65.0))
    assert [(one.metric, one.value, one.unit) for one in found] == [
        ("estimated_energy_j_per_example", pytest.approx(65 * 0.020 / 4), "J"),
        ("estimated_prefill_energy_j_per_token", pytest.approx(65 * 0.016 / 32), "J"),
        ("estimated_decode_energy_j_per_token", pytest.approx(65 * 0.002 / 4), "J"),
        ("estimated_training_energy_j_per_example", pytest.approx(65 / 10), "J"),
        ("estimated_energy_j_per_example", None, "J"),
    ]
    assert (found[0].low, found[0].high, found[0].n) == (pytest.approx(0.1625), pytest.approx(0.65), 6)
    assert (found[3].low, found[3].high) == (pytest.approx(3.25), pytest.approx(13.0))
    assert found[0].note == "estimate: 65 W, as given, times the measured latency_ms"
    assert found[4].note == "not measured: out of memory"


@pytest.mark.parametrize("watts", [0.0, -1.0, math.nan, math.inf])
def test_watts_that_are_none_are_refused(watts: float) -> None:
    with pytest.raises(TrilemmaError, match="W is no power; give the device's watts under load"):
        list(estimates([], watts))
