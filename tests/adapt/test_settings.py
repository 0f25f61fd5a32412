"""Adapt settings as a study writes them."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from trilemma.adapt import ADAPTATIONS, AdaptSettings


def test_reading_settings_imports_no_torch() -> None:
    code = (
        "import sys; from trilemma.adapt import AdaptSettings, ADAPTATIONS; AdaptSettings(method='lora');"
        "ADAPTATIONS.names(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"method": "ful"},
            "unknown adaptation 'ful'; known: adversarial-training, full, linear-probe, lora",
        ),
        ({"epochs": 0}, "greater than 0"),
        ({"epochs": float("inf")}, "finite"),
        ({"learning_rate": -1e-3}, "greater than 0"),
        ({"learning_rate": {"sweep": [1e-3]}}, "at least 2 items"),
        ({"learning_rate": {"sweep": [1e-3, 1e-3]}}, "given twice"),
        ({"batch": 30, "gradient_accumulation": 4}, "cannot be cut into 4 equal parts"),
        ({"held_out": 1.5}, "whole number of rows"),
        ({"lora": {"rank": 4}}, "not used by method full"),
        ({"class_weights": "yes"}, "balanced"),
        ({"learn_rate": 1e-3}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused_with_the_reason(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AdaptSettings.model_validate(fields)


def test_yaml_numbers_that_arrive_as_text_are_numbers() -> None:
    assert AdaptSettings.model_validate({"learning_rate": "3e-4"}).learning_rate == 3e-4


def test_settings_survive_json() -> None:
    settings = AdaptSettings(method="linear-probe", learning_rate={"sweep": [1e-3, 1e-2], "rows": 10})
    assert AdaptSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_size_of_sweep_and_held_out_slice() -> None:
    settings = AdaptSettings(learning_rate={"sweep": [1e-4, 1e-3], "rows": 4000, "epochs": 0.5})
    assert settings.trials == 2
    assert settings.held_out_rows(67_349) == 1000
    assert settings.sweep_examples(67_349) == 2 * 4000 * 0.5
    assert settings.held_out_rows(635) == 127  # a fifth at most
    assert settings.sweep_examples(635) == 2 * 508 * 0.5
    assert AdaptSettings(held_out=0.1).held_out_rows(200) == 20
    fixed = AdaptSettings(learning_rate=1e-3)
    assert (fixed.trials, fixed.sweep_examples(100)) == (1, 0.0)


def test_class_weights_are_off_unless_asked_for() -> None:
    assert AdaptSettings().class_weights is None


def test_every_built_in_adaptation_can_be_loaded() -> None:
    assert {"full", "linear-probe", "lora"} <= set(ADAPTATIONS.names())
    for name in ("full", "linear-probe", "lora"):
        assert callable(ADAPTATIONS.get(name)().prepare)
