"""Sweeps over clock frequencies, from records: measured at set clocks, or estimated from one measurement."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AlbertConfig

from tests.stand_ins.clocks import contents, save_policies
from tests.stand_ins.profiles import lacking, value
from trilemma.clocks.model import Power
from trilemma.clocks.settings import ClockError, CpuClocks
from trilemma.clocks.sweep import ESTIMATED, Place, estimated, measured
from trilemma.hardware.machine import Machine
from trilemma.models.sizes import configuration
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.models import ModelUnderTest
from trilemma.records import Record

POINT = OperatingPoint(2, 32, 4)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return save_policies(tmp_path / "cpufreq")


def profiled(tree: Path) -> list[Record]:
    """Records of a machine on which half the clock takes twice the time, and less power."""
    factor = 3.4e6 / int((tree / "policy0" / "scaling_max_freq").read_text())
    times = {("ttft_ms", "prefill"): 10.0, ("tpot_ms", "decode"): 2.0, ("latency_ms", "classify"): 9.0}
    energies = {
        ("gross_energy_j_per_token", "prefill"): 0.5,
        ("gross_energy_j_per_token", "decode"): 0.25,
        ("gross_energy_j_per_example", "classify"): 1.0,
        ("energy_j_per_token", "prefill"): 0.1,  # net of idle power: not what a machine that is on needs
    }
    found = [value(*key, factor * number) for key, number in times.items()]
    found += [value(*key, number / factor, None, basis="measured") for key, number in energies.items()]
    return [*found, value("parameters", "", 7.0, None, batch=None, length=None, decode=None)]


def test_settings_are_measured_at_each_frequency_and_the_clocks_come_back(tree: Path, tmp_path: Path) -> None:
    before = contents(tree)
    places, remarks = measured(
        lambda: profiled(tree), CpuClocks(tree), [3400, 800], 4, allow=True, folder=tmp_path / "journals"
    )
    assert contents(tree) == before
    (place,) = places
    assert place == Place("gla:nano", POINT) and list(places[place]) == ["prefill", "decode"]
    slow, fast = places[place]["prefill"]
    assert (slow.mhz, fast.mhz) == (800, 3400) and not fast.estimate
    assert (fast.seconds, fast.joules) == pytest.approx((0.01, 0.5 * 64))
    assert fast.seconds_interval == pytest.approx((0.009, 0.011)) and fast.joules_interval is None
    assert (slow.seconds, slow.joules) == pytest.approx((0.0425, 0.5 * 64 * 800 / 3400))
    assert (
        places[place]["decode"][1].seconds,
        places[place]["decode"][1].joules,
    ) == pytest.approx((3 * 0.002, 3 * 2 * 0.25))
    assert "at 800 MHz the clock was 2200 MHz: something else decided" in remarks


def test_without_generation_models_are_swept_as_classifiers(tree: Path, tmp_path: Path) -> None:
    places, _ = measured(
        lambda: [one for one in profiled(tree) if one.phase == "classify"],
        CpuClocks(tree),
        [3400],
        0,
        allow=True,
        folder=tmp_path / "journals",
    )
    ((place, phases),) = places.items()
    (setting,) = phases["classify"]
    assert place == Place("gla:nano", OperatingPoint(2, 32, 0)) and list(phases) == ["classify"]
    assert (setting.mhz, setting.seconds, setting.joules) == pytest.approx((3400, 0.009, 2.0))


def test_without_a_meter_there_is_no_place_and_the_reason_is_named(tree: Path, tmp_path: Path) -> None:
    before = contents(tree)
    reason = "no meter in this test"
    records = [
        value("ttft_ms", "prefill", 1.0),
        lacking("gross_energy_j_per_token", "prefill", reason, batch=None, length=None),
        lacking("tpot_ms", "decode", "out of memory", length=32),
        lacking("tpot_ms", "decode", "out of memory", length=64),
    ]
    places, remarks = measured(
        lambda: records, CpuClocks(tree), [800, 3400], 4, allow=True, folder=tmp_path / "journals"
    )
    assert places == {} and contents(tree) == before
    assert f"gla:nano is not measured: {reason}" in remarks
    assert "gla:nano is not measured at batch 2, length 32; batch 2, length 64: out of memory" in remarks


def test_without_permission_nothing_is_measured(tree: Path, tmp_path: Path) -> None:
    ran: list[bool] = []
    with pytest.raises(ClockError, match="--allow-frequency-control"):
        measured(
            lambda: ran.append(True) or [],  # type: ignore[func-returns-value]
            CpuClocks(tree),
            [800],
            4,
            allow=False,
            folder=tmp_path / "journals",
        )
    assert ran == [] and not (tmp_path / "journals").exists()


def test_forms_of_a_model_are_places_of_their_own(tree: Path, tmp_path: Path) -> None:
    def both() -> list[Record]:
        return [replace(one, precision=name) for name in ("float32", "int8") for one in profiled(tree)]

    places, _ = measured(both, CpuClocks(tree), [3400], 4, allow=True, folder=tmp_path / "journals")
    assert [place.name for place in places] == ["gla:nano float32", "gla:nano int8"]


def test_a_device_of_two_known_powers_has_the_usual_voltage_curve() -> None:
    power = Power.usual(100, 20, 2000)
    assert power.watts(2000) == pytest.approx(100)
    assert power.volts(1000) == pytest.approx(0.7) and power.volts(400) == 0.7
    assert power.watts(1000) == pytest.approx(20 + 80 * 0.5 * 0.49)


@pytest.mark.parametrize(
    ("bandwidth", "flops", "on_cpu", "on_gpu"),
    [
        (1e6, 1e15, 1.0, 1.0),  # everything waits for memory
        (1e15, 1e6, 2.0, 2.0),  # for the multipliers
        (1e15, 1e15, 2.0, 1.0),  # for the host, whose clock a processor's is
    ],
)
def test_estimates_follow_the_roofline_of_each_phase(
    tmp_path: Path, bandwidth: float, flops: float, on_cpu: float, on_gpu: float
) -> None:
    configuration("transformer-pp", "nano", 512).save_pretrained(tmp_path)
    models = [ModelUnderTest(("gla:nano",), tmp_path, precision="float32")]
    machine = Machine(name="m", kind="cpu", bandwidth=bandwidth, flops={"float32": flops}, memory=1e9)
    records = [
        value("ttft_ms", "prefill", 10.0, batch=1, decode=5),
        value("tpot_ms", "decode", 2.0, batch=1, decode=5),
    ]
    for host_follows, ratio in ((True, on_cpu), (False, on_gpu)):
        places, remarks = estimated(
            records, models, machine, Power(10, 0.01, 1), [1000, 2000], 5, host_follows=host_follows
        )
        place = Place("gla:nano", OperatingPoint(1, 32, 5))
        assert list(places) == [place] and remarks == [ESTIMATED]
        for name, seconds in (("prefill", 0.01), ("decode", 4 * 0.002)):
            slow, fast = places[place][name]
            assert (slow.mhz, fast.mhz) == (1000, 2000) and fast.estimate
            assert fast.seconds == pytest.approx(seconds)
            assert slow.seconds / fast.seconds == pytest.approx(ratio, rel=1e-3)
            assert fast.joules == pytest.approx(30 * seconds)
            assert slow.seconds_interval is not None
            assert slow.seconds_interval.high == pytest.approx(1.1 * slow.seconds)


def test_a_family_that_is_not_known_is_left_out_with_a_reason(tmp_path: Path) -> None:
    AlbertConfig().save_pretrained(tmp_path)
    machine = Machine(name="m", kind="cpu", bandwidth=1e10, flops={"float32": 1e11}, memory=1e9)
    places, remarks = estimated(
        [value("ttft_ms", "prefill", 1.0)],
        [ModelUnderTest(("gla:nano",), tmp_path)],
        machine,
        Power(10, 0.01, 1),
        [1000],
        4,
        host_follows=True,
    )
    assert not places
    assert remarks[1].startswith("gla:nano is left out: operations of a model of type 'albert'")
