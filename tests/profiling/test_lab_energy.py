"""Energy in a profile: by a meter, as an estimate, and why there is none."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.profiling.test_lab import QUICK, known_machine, no_memory, number, point_of
from tests.stand_ins.tiny_models import save_bert
from trilemma.cli import profile_tables
from trilemma.profiling import lab
from trilemma.profiling.measurements import energy
from trilemma.profiling.measurements.memory import Work
from trilemma.profiling.points import Unmeasured

__all__ = ["known_machine", "no_memory"]  # fixtures


class Meter:
    """10 W as long as nothing runs, which is while the idle power is read; 60 W from then on."""

    source, shortest = "stand-in", 0.01

    def __init__(self) -> None:
        self.reads, self.joules, self.at = 0, 0.0, time.perf_counter()

    def read(self) -> dict[str, float]:
        now = time.perf_counter()
        self.joules += (10.0 if self.reads < 2 * energy.WINDOWS else 60.0) * (now - self.at)
        self.reads, self.at = self.reads + 1, now
        return {"socket": self.joules}

    def close(self) -> None:
        pass


@pytest.fixture
def bert(tmp_path: Path) -> Iterator[Path]:
    save_bert(tmp_path / "bert")
    yield tmp_path / "bert"


def test_a_meter_gives_joules_of_every_phase(
    bert: Path, no_memory: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "open_meter", lambda device: Meter())
    profile = lab.run([bert, "gla:nano"], QUICK, device="cpu", training=True, energy=True)
    encoder = point_of(profile, "bert").values
    assert 0 < number(encoder["energy_j_per_example"]) < number(encoder["gross_energy_j_per_example"])
    assert "decode_energy_j_per_token" in encoder and encoder["decode_energy_j_per_token"].value is None
    decoder = point_of(profile, "gla:nano").values
    for metric in ("prefill_energy_j_per_token", "generation_energy_j_per_example"):
        assert number(decoder[metric]) > 0 and decoder[metric].n == energy.WINDOWS
    assert number(decoder["idle_power_w"]) == pytest.approx(10, rel=0.3)
    assert "energy_j_per_example" not in decoder
    trained = point_of(profile, "gla:nano", "training").values
    assert number(trained["training_energy_j_per_example"]) > 0
    assert "prefill_energy_j_per_token" not in trained
    titles = [sheet.title for sheet in profile_tables.sheets(profile)]
    assert "Energy" in titles and "Training: energy" in titles


def test_what_cannot_be_trained_has_no_training_energy(
    no_memory: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "open_meter", lambda device: Meter())
    profile = lab.run(
        ["matmul-free:nano"], QUICK, dtypes=["float32", "packed"], device="cpu", training=True, energy=True
    )
    plain = point_of(profile, "matmul-free:nano float32", "training").values
    packed = point_of(profile, "matmul-free:nano packed", "training").values
    assert number(plain["training_energy_j_per_example"]) > 0
    assert packed["training_energy_j_per_example"].note == "not measured: packed weights cannot be trained"


def test_without_a_meter_the_reason_stands_in_the_notes(
    no_memory: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "open_meter", lambda device: Unmeasured("no meter in this test"))
    profile = lab.run(["gla:nano"], QUICK, device="cpu", energy=True)
    assert profile.notes == ("energy is not measured: no meter in this test",)
    assert not any("energy" in metric for metric in point_of(profile, "gla:nano").values)


def test_watts_give_estimates_that_are_called_so(bert: Path, no_memory: list[Work]) -> None:
    grid = QUICK.model_copy(update={"watts": 50.0})
    profile = lab.run([bert, "gla:nano"], grid, device="cpu", training=True)
    assert profile.grid.watts == 50.0 and not profile.notes
    values = point_of(profile, "gla:nano").values
    tokens = 2 * 8
    prefill = values["estimated_prefill_energy_j_per_token"]
    assert number(prefill) == pytest.approx(50 * number(values["ttft_ms"]) / 1e3 / tokens)
    assert prefill.low is not None and prefill.note == "estimate: 50 W, as given, times the measured ttft_ms"
    decode = number(values["estimated_decode_energy_j_per_token"])
    assert decode == pytest.approx(50 * number(values["tpot_ms"]) / 1e3 / 2)
    assert "estimated_energy_j_per_example" not in values  # the batch latency is that of whole answers
    answer = number(values["estimated_generation_energy_j_per_example"])
    assert answer == pytest.approx(50 * number(values["batch_latency_ms"]) / 1e3 / 2)
    encoder = point_of(profile, "bert").values
    estimate = number(encoder["estimated_energy_j_per_example"])
    assert estimate == pytest.approx(50 * number(encoder["batch_latency_ms"]) / 1e3 / 2)
    trained = point_of(profile, "bert", "training").values
    estimate = trained["estimated_training_energy_j_per_example"]
    assert number(estimate) == pytest.approx(50 / number(trained["training_examples_per_s"]))
    assert estimate.low is not None and estimate.low < number(estimate)
    (sheet,) = [one for one in profile_tables.sheets(profile) if one.title == "Energy"]
    assert "a prompt's token, estimate" in sheet.header
