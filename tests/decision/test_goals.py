"""A study's limits are answered first, and its margins tell equivalence from ignorance."""

import json
from pathlib import Path

import pytest

from tests.stand_ins.synthetic import write_run
from trilemma.analysis.goals import Goals
from trilemma.errors import StoreError, StudyError, TrilemmaError
from trilemma.result import Result
from trilemma.study.spec import load_study


def result_of(folder: Path, **blocks: object) -> Result:
    run = write_run(folder / "run", models=2, seeds=(0,), clean=600, skill=(0.9, 0.89), robustness=(0.3, 0.6))
    (run / "study.json").write_text(json.dumps({"name": "synthetic", **blocks}))
    return Result.load(run)


def test_limits_are_answered_first(tmp_path: Path) -> None:
    met = result_of(tmp_path, limits={"latency": "4.6ms", "accuracy": "80%"}).verdict()
    assert met.answer.startswith(
        "gla-nano meets median latency ≤ 4.6 ms and clean accuracy ≥ 80%, with the best robust accuracy"
    )
    assert met.summary().startswith(met.answer)
    one = result_of(tmp_path / "one", limits={"latency": "4ms"}).verdict().answer
    assert one == "transformer-pp-nano meets median latency ≤ 4 ms."
    nobody = result_of(tmp_path / "nobody", limits={"latency": 3.5}).verdict().answer
    assert nobody == "No candidate meets median latency ≤ 3.5 ms."
    unknown = result_of(tmp_path / "unknown", limits={"energy": 3}).verdict().answer
    assert unknown.startswith(
        "The study's limits cannot be held against it: no candidate has a value of energy"
    )
    assert result_of(tmp_path / "none").verdict().answer == ""


def test_limits_are_lines_in_the_picture(tmp_path: Path) -> None:
    result_of(tmp_path, limits={"latency": "4.6ms"}).report(tmp_path / "report.html")
    assert '"x_limit": 4.6' in (tmp_path / "report.html").read_text("utf-8").replace(
        '"x_limit":4.6', '"x_limit": 4.6'
    )


def test_a_difference_within_the_margin_is_equivalent(tmp_path: Path) -> None:
    rows = result_of(tmp_path, margins={"accuracy": "15pt"}).compare(
        "gla-nano", "transformer-pp-nano", "accuracy"
    )
    assert set(rows["verdict"]) == {"equivalent"} and (rows["p_equivalent"] < 0.05).all()


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"limits": {"speed": 3}}, "unknown metric 'speed'"),
        ({"limits": {"latency": "fast"}}, "cannot read 'fast'"),
        ({"margins": {"latency": "1ms"}}, "cannot read '1ms'|share of answers"),
        ({"margins": {"accuracy": 0}}, "share of answers above 0"),
    ],
)
def test_goals_that_mean_nothing_are_refused(tmp_path: Path, blocks: dict, message: str) -> None:
    with pytest.raises(TrilemmaError, match=message):
        Goals.of(blocks.get("limits", {}), blocks.get("margins", {}))
    study = {"name": "s", "models": ["gla:nano"], "tasks": ["sst2"], **blocks}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    with pytest.raises(StudyError, match=message):
        load_study(tmp_path / "study.yaml")
    with pytest.raises(StoreError, match="run the study again"):
        result_of(tmp_path, **blocks)
