"""A session: what is tried, what is left out and why, and the records that come of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stand_ins.measured import MACHINE, NO_METER, FakePeaks
from tests.stand_ins.tiny_models import llama_config, save_bert
from trilemma.errors import TrilemmaError
from trilemma.hardware import Unmeasured
from trilemma.models.description import ModelDescription
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import EfficiencyGrid, ModelUnderTest
from trilemma.profiling.boundary import Boundary
from trilemma.profiling.grid import grid_points
from trilemma.profiling.session import LoadedModel, Session, random_inputs
from trilemma.profiling.timing import Quantity, Run


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fake_models(**positions: int | None) -> list[LoadedModel]:
    return [
        LoadedModel(
            ModelUnderTest((name,), Path(name)), None, ModelDescription("fake", 1, 1, 4, "fake", limit, False)
        )
        for name, limit in positions.items()
    ]


def time_grid(
    grid: EfficiencyGrid, models: list[LoadedModel], seconds_per_token: float
) -> tuple[dict[tuple[str, int, int], Any], list[str]]:
    """Time fake work that takes its time on a fake clock; the results and the order of calls."""
    clock, calls = FakeClock(), list[str]()
    session = Session([], grid, device="cpu", clock=clock)

    def prepare(loaded: LoadedModel, point: OperatingPoint) -> Run:
        def run() -> Mapping[str, float]:
            calls.append(loaded.model.name)
            start = session.stopwatch()
            clock.now += seconds_per_token * point.tokens
            return {"work": session.stopwatch() - start}

        return run

    results = {
        (loaded.model.name, point.batch, point.length): outcome
        for loaded, point, outcome in session.time_grid(models, grid.points("generate"), prepare)
    }
    return results, calls


def test_models_alternate_after_their_warm_up() -> None:
    grid = EfficiencyGrid(batch=[1], length=[10], rounds=6)
    results, calls = time_grid(grid, fake_models(a=None, b=None), seconds_per_token=0.02)
    assert "".join(calls) == "aabb" + "abbaabbaabba"
    assert [sample["work"] for sample in results["a", 1, 10]] == pytest.approx([0.2] * 6)


def test_short_work_is_run_once_untimed_before_each_timed_run() -> None:
    grid = EfficiencyGrid(batch=[1], length=[10], rounds=6)
    results, calls = time_grid(grid, fake_models(a=None), seconds_per_token=1e-5)
    assert len(calls) == 2 + 2 * 6
    assert len(results["a", 1, 10]) == 6


def test_points_beyond_the_positions_say_so() -> None:
    grid = EfficiencyGrid(batch=[1], length=[8, 16], decode=2)  # the last token is not fed back
    results, _ = time_grid(grid, fake_models(a=16, b=None), seconds_per_token=1e-5)
    assert results["a", 1, 16] == Unmeasured("the model has 16 positions, 17 are needed")
    assert not isinstance(results["a", 1, 8], Unmeasured)
    assert not isinstance(results["b", 1, 16], Unmeasured)


def test_points_over_the_time_limit_are_left_out_once_that_is_known() -> None:
    grid = EfficiencyGrid(batch=[1, 4], length=[10, 20, 1000], time_limit=3.0)
    results, calls = time_grid(grid, fake_models(a=None), seconds_per_token=0.11)
    assert len(results["a", 1, 20]) == 3
    assert results["a", 4, 10].reason.startswith("a repetition would take over 3 s, as batch 1, length 10")
    assert results["a", 4, 1000].reason.startswith("a repetition would take over 3 s")
    assert len(calls) == (1 + 4) + (1 + 3)


def test_a_first_point_over_the_limit_is_run_once() -> None:
    grid = EfficiencyGrid(batch=[1], length=[10], time_limit=0.5)
    results, calls = time_grid(grid, fake_models(a=None), 1.0)
    assert results["a", 1, 10] == Unmeasured("a repetition takes over 0.5 s")
    assert calls == ["a"]


def test_running_out_of_memory_is_an_outcome_and_larger_points_are_left_out() -> None:
    grid = EfficiencyGrid(batch=[1, 2], length=[4, 8], rounds=6)
    session = Session([], grid, device="cpu", clock=FakeClock())
    tried: list[tuple[str, OperatingPoint]] = []

    def prepare(loaded: LoadedModel, point: OperatingPoint) -> Run:
        tried.append((loaded.model.name, point))
        if loaded.model.name == "large" and point.length == 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return lambda: {"work": 0.01}

    models = fake_models(large=None, small=None)
    results = {
        (loaded.model.name, point): outcome
        for loaded, point, outcome in session.time_grid(models, grid.points(), prepare)
    }
    assert results["large", OperatingPoint(1, 8)] == Unmeasured("out of memory")
    assert results["large", OperatingPoint(2, 8)] == Unmeasured("out of memory already at batch 1, length 8")
    assert ("large", OperatingPoint(2, 8)) not in tried
    assert len(results["large", OperatingPoint(2, 4)]) == len(results["small", OperatingPoint(2, 8)]) == 6


def test_a_model_that_fails_says_why_and_the_others_go_on() -> None:
    grid = EfficiencyGrid(batch=[1], length=[8], rounds=6)
    session = Session([], grid, device="cpu", clock=FakeClock())

    def prepare(loaded: LoadedModel, point: OperatingPoint) -> Run:
        if loaded.model.name == "odd":
            raise IndexError("index out of range in self\nsecond line")
        return lambda: {"work": 0.01}

    models = fake_models(odd=None, fine=None)
    results = {m.model.name: outcome for m, _, outcome in session.time_grid(models, grid.points(), prepare)}
    failed = Unmeasured("the model failed with IndexError: index out of range in self", failed=True)
    assert results["odd"] == failed and len(results["fine"]) == 6


def test_work_of_any_kind_is_timed_in_turn() -> None:
    calls: list[str] = []

    def run_of(name: str) -> Run:
        def run() -> Mapping[str, float]:
            calls.append(name)
            return {"work": 0.2}

        return run

    session = Session([], EfficiencyGrid(rounds=6), device="cpu", clock=FakeClock())
    samples = session.time({name: run_of(name) for name in "ab"})
    assert "".join(calls) == "aabb" + "abbaabbaabba" and samples["a"] == [{"work": 0.2}] * 6


def test_points_are_tried_from_small_to_large() -> None:
    points = grid_points([16, 1, 1], [32, 128], 4)
    assert points == [(1, 32, 4), (1, 128, 4), (16, 32, 4), (16, 128, 4)]


def test_a_boundary_compares_only_points_that_are_smaller_both_ways() -> None:
    boundary = Boundary(time_limit=1.0)
    assert boundary.passed(OperatingPoint(16, 8), 0.9) is None
    assert boundary.refusal(OperatingPoint(1, 4096)) is None
    assert "batch 16, length 8 takes 0.9 s" in (boundary.refusal(OperatingPoint(16, 16)) or "")


def test_random_inputs_hold_no_padding_and_are_the_same_each_time() -> None:
    config, point = llama_config(vocab_size=5, pad_token_id=2), OperatingPoint(8, 64)
    inputs = random_inputs(config, point, "cpu")
    assert set(inputs["input_ids"].flatten().tolist()) == {0, 1, 3, 4}
    assert torch.equal(inputs["input_ids"], random_inputs(config, point, "cpu")["input_ids"])
    assert inputs["attention_mask"].all()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One encoder under two names, in bfloat16."""
    folder = save_bert(tmp_path_factory.mktemp("models") / "bert")
    model = ModelUnderTest(("a", "b"), folder, precision="bfloat16", attention="eager")
    parts: Any = {"machine": MACHINE, "meter": NO_METER, "peaks": FakePeaks()}
    return Session([model], EfficiencyGrid(), device="cpu", **parts)


def test_a_record_says_what_was_measured_where_and_how_sure_it_is(session: Session) -> None:
    value = Quantity(2.0, 1.0, 3.0, 9, "noisy", 0.1, 0.5, note="of a test")
    first, second = session.record(
        session.models[0], "latency_ms", value, point=OperatingPoint(4, 16, 8), phase="generate"
    )
    assert (first.model, second.model, first.study, first.axis) == ("a", "b", "", "E")
    assert (first.precision, first.attention, first.compiled, first.arch) == (
        "bfloat16",
        "eager",
        False,
        "bert",
    )
    assert (first.phase, first.batch, first.length, first.decode) == ("generate", 4, 16, 8)
    assert (first.value, first.low, first.high, first.n, first.unit) == (2.0, 1.0, 3.0, 9, "ms")
    assert (first.confidence, first.basis, first.status, first.reason) == (0.95, "measured", "ok", "")
    assert (first.verdict, first.drift, first.drift_p, first.note) == ("noisy", 0.1, 0.5, "of a test")
    assert first.hardware and first.versions and first.kernel and first.parameters


def test_what_has_no_value_has_a_status_and_a_reason(session: Session) -> None:
    (absent, _) = session.record(
        session.models[0], "latency_ms", Unmeasured("out of memory"), phase="classify"
    )
    assert (absent.value, absent.status, absent.reason) == (None, "not measured", "out of memory")
    assert absent.confidence is None and absent.decode is None
    (failed, _) = session.record(session.models[0], "ttft_ms", Unmeasured("it broke", failed=True))
    assert failed.status == "failed"


def test_units_and_what_is_counted_are_those_of_the_metric(session: Session) -> None:
    (counted, _) = session.record(session.models[0], "weight_bytes", 5.0)
    assert (counted.unit, counted.basis, counted.low, counted.verdict) == ("bytes", "counted", None, "")
    (own, _) = session.record(session.models[0], "disk_bytes", Quantity(5.0, counted=True), unit="bytes")
    assert (own.unit, own.basis) == ("bytes", "counted")
    with pytest.raises(TrilemmaError, match=r"'disk_bytes' is not one of .*; give its unit"):
        list(session.record(session.models[0], "disk_bytes", 5.0))
