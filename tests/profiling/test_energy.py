"""Energy of each phase by a stand-in meter; and that nothing is invented where there is none."""

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertModel, LlamaModel

from tests.stand_ins.measured import MACHINE, NO_METER, FakePeaks, Found
from tests.stand_ins.tiny_models import save_bert, save_llama
from trilemma.adapt import AdaptSettings
from trilemma.hardware.meters import MeterError
from trilemma.profiling import EfficiencyGrid, ModelUnderTest, measure
from trilemma.profiling.measurements.energy import WINDOWS, idle_power
from trilemma.profiling.models import opened
from trilemma.profiling.session import Session

GRID = EfficiencyGrid.model_validate(
    {
        "batch": [1, 2],
        "length": [8],
        "decode": 4,
        "seconds": 0.06,
        "training": {"batch": [2], "length": [8]},
    }
)
INFERENCE = {
    ("energy_j_per_example", "classify"),
    ("energy_j_per_token", "prefill"),
    ("energy_j_per_token", "decode"),
    ("energy_j_per_example", "generate"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[ModelUnderTest]:
    folder = tmp_path_factory.mktemp("models")
    return [
        ModelUnderTest(("bert",), save_bert(folder / "bert")),
        ModelUnderTest(
            ("llama", "twin"), save_llama(folder / "llama"), adaptations=(AdaptSettings(method="lora"),)
        ),
    ]


def metered(models: list[ModelUnderTest], meter: Any, grid: EfficiencyGrid = GRID) -> Found:
    session = Session(models, grid, device="cpu", machine=MACHINE, meter=meter, peaks=FakePeaks())
    found = Found(measure(session, ["energy"]))
    columns = ("model", "precision", "metric", "phase", "batch", "length", "decode")
    assert len({tuple(getattr(one, name) for name in columns) for one in found.records}) == len(found.records)
    return found


class WorkMeter:
    """Some watts always, and some joules for each forward pass of a model.

    Attributes:
        idle: watts while the idle power is read; ``watts`` from then on.
    """

    source, shortest = "stand-in of socket", 0.01

    def __init__(self, watts: float = 2.0, joules: float = 0.5, idle: float | None = None) -> None:
        self.watts, self.joules, self.idle = watts, joules, watts if idle is None else idle
        self.passes, self.reads, self.at, self.total = 0, 0, time.perf_counter(), 0.0
        self.hook = torch.nn.modules.module.register_module_forward_pre_hook(self._count)

    def _count(self, module: torch.nn.Module, inputs: Any) -> None:
        self.passes += isinstance(module, BertModel | LlamaModel)

    def read(self) -> Mapping[str, float]:
        now = time.perf_counter()
        self.total += (self.idle if self.reads < 2 * WINDOWS else self.watts) * (now - self.at)
        self.reads, self.at = self.reads + 1, now
        return {"socket": self.total, "work": self.joules * self.passes}

    def close(self) -> None:
        self.hook.remove()


def test_energy_of_each_phase_is_that_of_its_passes(models: list[ModelUnderTest]) -> None:
    found = metered(models, WorkMeter())
    idle = found.one("idle_power_w", model="llama")
    assert idle.value == pytest.approx(2, rel=0.01) and idle.n == 6
    for batch in (1, 2):
        passes = {
            ("energy_j_per_example", "classify"): 1 / batch,
            ("energy_j_per_token", "prefill"): 1 / (8 * batch),
            ("energy_j_per_token", "decode"): 1 / batch,
            ("energy_j_per_example", "generate"): 4 / batch,
        }
        for (metric, phase), share in passes.items():
            place = {"model": "llama", "batch": batch, "decode": None if phase == "classify" else 4}
            net, gross = found.one(metric, phase, **place), found.one(f"gross_{metric}", phase, **place)
            assert net.value == pytest.approx(0.5 * share, rel=0.01), phase
            assert gross.value is not None and gross.value > 0.5 * share
            assert net.low is not None and net.high is not None and net.low <= net.value <= net.high
            assert "stand-in of socket; 2 W idle subtracted" in net.note
            assert f"work {0.5 * share:.3g} J); idle power included" in gross.note
            assert (net.unit, net.length, net.n, net.basis) == ("J", 8, 6, "measured")
    classified = [
        found.value("energy_j_per_example", "classify", model=name, batch=1) for name in ("llama", "twin")
    ]
    assert classified[0] == classified[1]
    pair = found.value("energy_j_per_example", "classify", model="bert", batch=2)
    assert pair == pytest.approx(0.25, rel=0.01)
    absent = found.one("energy_j_per_token", "decode", model="bert", batch=1)
    assert (absent.status, absent.reason) == ("not measured", "not a generative model")
    for model, method in (("bert", "full"), ("llama", "lora")):
        training = found.one("energy_j_per_example", "train", model=model, batch=2)
        assert training.value == pytest.approx(0.25, rel=0.01) and training.adaptation == method


def test_only_what_the_grid_asks_for_is_metered(models: list[ModelUnderTest]) -> None:
    update = {"decode": 0, "batch": [1]}
    found = metered(models, WorkMeter(), GRID.model_copy(update=update))
    assert {one.phase for one in found.records} == {"", "classify", "train"}
    assert {one.metric for one in found.records} == {
        "idle_power_w",
        "energy_j_per_example",
        "gross_energy_j_per_example",
    }
    auto = GRID.model_copy(update={"phases": "auto", "training": None, "batch": [1]})
    found = metered(models, WorkMeter(), auto)
    assert {(one.model, one.phase) for one in found.records if one.phase} == {
        ("bert", "classify"),
        *((model, phase) for model in ("llama", "twin") for phase in ("prefill", "decode", "generate")),
    }
    assert not metered(models, WorkMeter(), GRID.model_copy(update={"energy": False})).records


def test_a_meter_that_stands_still_measures_nothing(models: list[ModelUnderTest]) -> None:
    found = metered(models[1:], WorkMeter(watts=0.0))
    assert {one.reason for one in found.records} == {"the meter (stand-in of socket) stood still"}


def test_work_that_draws_no_more_than_the_idle_machine_has_no_net_energy(
    models: list[ModelUnderTest],
) -> None:
    found = metered(models, WorkMeter(joules=0.0, idle=3.0))
    net = found.one("energy_j_per_example", "classify", model="bert", batch=1)
    assert net.status == "not measured" and net.reason == (
        "the work drew no more than the 3 W of the idle machine"
    )
    assert found.value("gross_energy_j_per_example", "classify", model="bert", batch=1) > 0


def test_a_meter_that_fails_half_way_is_a_reason(models: list[ModelUnderTest]) -> None:
    left = iter(range(16))

    def read() -> Mapping[str, float]:
        if next(left, None) is None:
            raise MeterError("the GPU is lost; measure again")
        return {"socket": time.perf_counter()}

    failing = SimpleNamespace(source="stand-in", shortest=0.01, read=read, close=lambda: None)
    found = metered(models[:1], failing)
    assert found.value("idle_power_w") > 0
    lost = found.one("energy_j_per_example", "classify", batch=1)
    assert (lost.status, lost.reason) == ("not measured", "the GPU is lost; measure again")


def test_points_out_of_reach_say_so(models: list[ModelUnderTest]) -> None:
    found = metered(models[:1], WorkMeter(), GRID.model_copy(update={"length": [128], "decode": 0}))
    beyond = "the model has 64 positions, 128 are needed"
    assert found.one("energy_j_per_example", "classify", batch=1).reason == beyond


def test_what_cannot_be_trained_has_no_training_energy() -> None:
    grid = GRID.model_copy(update={"batch": [1], "phases": ["classify"]})
    with opened(["matmul-free:nano"], precisions=("float32", "packed")) as models:
        found = metered(models, WorkMeter(watts=20, idle=2), grid)
    assert found.value("energy_j_per_example", "train", precision="float32") > 0
    packed = found.one("energy_j_per_example", "train", precision="packed")
    assert packed.reason == "packed weights cannot be trained"


def test_without_a_meter_every_metric_says_why(models: list[ModelUnderTest]) -> None:
    found = metered(models, NO_METER)
    expected = INFERENCE | {("energy_j_per_example", "train"), ("idle_power_w", "")}
    classified = {one for one in expected if one[1] in ("classify", "train", "")}
    for model in ("bert", "llama", "twin"):
        metrics = {(one.metric, one.phase) for one in found.records if one.model == model}
        assert metrics == (classified if model == "bert" else expected)
    assert {(one.reason, one.batch, one.value) for one in found.records} == {
        ("no meter in this test", None, None)
    }


def test_idle_power_is_the_mean_over_each_window() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    meter: Any = SimpleNamespace(source="", shortest=0.5, read=lambda: {"a": 3 * now[0], "b": 4 * now[0]})
    idle = idle_power(meter, 0.1, sleep=sleep, clock=lambda: now[0])
    assert idle == pytest.approx((7, 7, 7, 6)) and now[0] == pytest.approx(6 * 0.5)
