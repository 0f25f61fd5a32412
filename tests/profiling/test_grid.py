"""What a grid may say, and that nothing heavy is imported to say it."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from trilemma.profiling.grid import EfficiencyGrid, ProfileGrid, ProfileSettings, TrainingGrid


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": []},
        {"length": [0]},
        {"decode": -1},
        {"decode": 1},
        {"rounds": 2},
        {"batches": [1]},
        {"seconds": 0},
        {"training": True},
        {"training": {"batch": []}},
        {"phases": []},
        {"phases": ["prefill"]},
        {"phases": ["generate"], "decode": 0},
        *({"watts": watts} for watts in (0, -1, float("inf"), float("nan"))),
    ],
)
def test_a_wrong_grid_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=str(next(iter(wrong)))):
        EfficiencyGrid.model_validate(wrong)


def test_a_study_answers_in_both_ways_and_a_profile_in_the_models_own() -> None:
    study, profile = EfficiencyGrid(), ProfileGrid()
    assert (study.phases, study.training, study.energy) == (["classify", "generate"], TrainingGrid(), True)
    assert (profile.phases, profile.training, profile.energy) == ("auto", None, False)


@pytest.mark.parametrize("nothing", [None, False])
def test_training_can_be_left_out(nothing: Any) -> None:
    grid = EfficiencyGrid(training=nothing)
    assert grid.training is None and grid.points("train") == []
    assert EfficiencyGrid.model_validate(grid.model_dump(mode="json")) == grid


def test_the_schema_says_that_training_may_be_false() -> None:
    choices = EfficiencyGrid.model_json_schema()["properties"]["training"]["anyOf"]
    assert {"const": False, "type": "boolean"} in choices


def test_points_of_generation_say_how_many_tokens() -> None:
    grid = EfficiencyGrid(batch=[2], length=[8, 4], decode=3, training=TrainingGrid(batch=[1], length=[5]))
    assert grid.points() == [(2, 4, 0), (2, 8, 0)] and grid.points("generate") == [(2, 4, 3), (2, 8, 3)]
    assert grid.points("train") == [(1, 5, 0)]


def test_settings_of_a_profile_hold_a_studys_block() -> None:
    block = {"batch": [1], "length": [8], "decode": 4, "training": {"batch": [1], "length": [8]}}
    settings = ProfileSettings.model_validate(
        {"models": ["gla:nano"], "precisions": ["packed"], "efficiency": block}
    )
    assert settings.efficiency.decode == 4 and settings.efficiency.phases == "auto"
    for wrong in (
        {"models": []},
        {"models": ["a"], "precisions": ["float8"]},
        {"models": ["a"], "dtype": "x"},
    ):
        with pytest.raises(ValidationError):
            ProfileSettings.model_validate(wrong)


def test_a_grid_and_the_registry_need_no_torch() -> None:
    code = "import sys, trilemma.profiling as p; p.EfficiencyGrid(); p.MEASUREMENTS.names()"
    code += "; p.ModelUnderTest(('a',), None); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
