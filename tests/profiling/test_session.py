"""Points of the grid: what is tried, what is left out, and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.stand_ins.tiny_models import llama_config, save_bert, save_llama
from trilemma.errors import ModelError
from trilemma.models.loading import ModelDescription
from trilemma.profiling import EfficiencyGrid, ProfiledModel, merge_same_shape
from trilemma.profiling.points import Boundary, Point, Unmeasured, grid_points
from trilemma.profiling.session import Loaded, Session, random_inputs
from trilemma.profiling.timing import Run


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fake_models(**positions: int | None) -> list[Loaded]:
    return [
        Loaded(
            ProfiledModel((name,), Path(name)), None, ModelDescription("fake", 1, 1, 4, "fake", limit, False)
        )
        for name, limit in positions.items()
    ]


def sweep(
    grid: EfficiencyGrid, models: list[Loaded], seconds_a_token: float, extra_positions: int = 0
) -> tuple[dict[tuple[str, int, int], Any], list[str]]:
    """Sweep fake work that takes its time on a fake clock; the results and the order of calls."""
    clock, calls = FakeClock(), list[str]()
    session = Session([], grid, device="cpu", clock=clock)

    def prepare(loaded: Loaded, point: Point) -> Run:
        def run() -> Mapping[str, float]:
            calls.append(loaded.subject.name)
            start = session.stopwatch()
            clock.now += seconds_a_token * point.tokens
            return {"work": session.stopwatch() - start}

        return run

    results = {
        (loaded.subject.name, *point): outcome
        for loaded, point, outcome in session.sweep(
            models, session.points(), prepare, extra_positions=extra_positions
        )
    }
    return results, calls


def test_models_alternate_after_their_warm_up() -> None:
    grid = EfficiencyGrid(batch=[1], length=[10], rounds=6)
    results, calls = sweep(grid, fake_models(a=None, b=None), seconds_a_token=0.02)
    assert "".join(calls) == "aabb" + "abbaabbaabba"
    assert [sample["work"] for sample in results["a", 1, 10]] == pytest.approx([0.2] * 6)


def test_short_work_is_run_once_untimed_before_each_timed_run() -> None:
    grid = EfficiencyGrid(batch=[1], length=[10], rounds=6)
    results, calls = sweep(grid, fake_models(a=None), seconds_a_token=1e-5)
    assert len(calls) == 2 + 2 * 6
    assert len(results["a", 1, 10]) == 6


def test_points_beyond_the_positions_say_so() -> None:
    grid = EfficiencyGrid(batch=[1], length=[8, 16])
    results, _ = sweep(grid, fake_models(a=16, b=None), seconds_a_token=1e-5, extra_positions=1)
    assert results["a", 1, 16] == Unmeasured("the model has 16 positions, 17 are needed")
    assert not isinstance(results["a", 1, 8], Unmeasured)
    assert not isinstance(results["b", 1, 16], Unmeasured)


def test_points_over_the_time_limit_are_left_out_once_that_is_known() -> None:
    grid = EfficiencyGrid(batch=[1, 4], length=[10, 20, 1000], time_limit=3.0)
    results, calls = sweep(grid, fake_models(a=None), seconds_a_token=0.11)
    assert len(results["a", 1, 20]) == 3
    assert results["a", 4, 10].reason.startswith("a repetition would take over 3 s, as batch 1, length 10")
    assert results["a", 4, 1000].reason.startswith("a repetition would take over 3 s")
    assert len(calls) == (1 + 4) + (1 + 3)


def test_a_first_point_over_the_limit_is_run_once() -> None:
    results, calls = sweep(EfficiencyGrid(batch=[1], length=[10], time_limit=0.5), fake_models(a=None), 1.0)
    assert results["a", 1, 10] == Unmeasured("a repetition takes over 0.5 s")
    assert calls == ["a"]


def test_running_out_of_memory_is_an_outcome_and_larger_points_are_left_out() -> None:
    grid = EfficiencyGrid(batch=[1, 2], length=[4, 8], rounds=6)
    session = Session([], grid, device="cpu", clock=FakeClock())
    tried: list[tuple[str, Point]] = []

    def prepare(loaded: Loaded, point: Point) -> Run:
        tried.append((loaded.subject.name, point))
        if loaded.subject.name == "large" and point.length == 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return lambda: {"work": 0.01}

    results = {
        (loaded.subject.name, point): outcome
        for loaded, point, outcome in session.sweep(
            fake_models(large=None, small=None), session.points(), prepare
        )
    }
    assert results["large", Point(1, 8)] == Unmeasured("out of memory")
    assert results["large", Point(2, 8)] == Unmeasured("out of memory already at batch 1, length 8")
    assert ("large", Point(2, 8)) not in tried
    assert len(results["large", Point(2, 4)]) == len(results["small", Point(2, 8)]) == 6


def test_a_model_that_fails_says_why_and_the_others_go_on() -> None:
    session = Session([], EfficiencyGrid(batch=[1], length=[8], rounds=6), device="cpu", clock=FakeClock())

    def prepare(loaded: Loaded, point: Point) -> Run:
        if loaded.subject.name == "odd":
            raise IndexError("index out of range in self\nsecond line")
        return lambda: {"work": 0.01}

    models = fake_models(odd=None, fine=None)
    results = {m.subject.name: outcome for m, _, outcome in session.sweep(models, session.points(), prepare)}
    assert results["odd"] == Unmeasured("the model failed with IndexError: index out of range in self")
    assert len(results["fine"]) == 6


def test_points_are_tried_from_small_to_large() -> None:
    points = grid_points([16, 1, 1], [32, 128])
    assert points == [Point(1, 32), Point(1, 128), Point(16, 32), Point(16, 128)]


def test_a_boundary_compares_only_points_that_are_smaller_both_ways() -> None:
    boundary = Boundary(time_limit=1.0)
    assert boundary.passed(Point(16, 8), 0.9) is None
    assert boundary.refusal(Point(1, 4096)) is None
    assert "batch 16, length 8 takes 0.9 s" in (boundary.refusal(Point(16, 16)) or "")


def test_random_inputs_hold_no_padding_and_are_the_same_each_time() -> None:
    config = llama_config(vocab_size=5, pad_token_id=2)
    inputs = random_inputs(config, Point(8, 64), "cpu")
    assert set(inputs["input_ids"].flatten().tolist()) == {0, 1, 3, 4}
    assert torch.equal(inputs["input_ids"], random_inputs(config, Point(8, 64), "cpu")["input_ids"])
    assert inputs["attention_mask"].all()


def test_models_of_one_shape_are_merged_under_all_names(tmp_path: Path) -> None:
    scratch = ProfiledModel(("scratch",), save_llama(tmp_path / "a"))
    pretrained = ProfiledModel(("pretrained",), save_llama(tmp_path / "b"))
    wider = ProfiledModel(("wider",), save_llama(tmp_path / "c", hidden_size=64))
    half = ProfiledModel(("half",), tmp_path / "a", dtype="bfloat16")
    encoder = ProfiledModel(("encoder",), save_bert(tmp_path / "d"))
    names = [model.names for model in merge_same_shape([scratch, wider, pretrained, half, encoder])]
    assert names == [("scratch", "pretrained"), ("wider",), ("half",), ("encoder",)]


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is not a readable model configuration"):
        merge_same_shape([ProfiledModel(("a",), tmp_path)])


@pytest.mark.parametrize(
    "wrong", [{"batch": []}, {"length": [0]}, {"decode": -1}, {"rounds": 2}, {"batches": [1]}, {"seconds": 0}]
)
def test_a_wrong_grid_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EfficiencyGrid.model_validate(wrong)
