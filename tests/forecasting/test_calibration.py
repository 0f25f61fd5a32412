"""Calibration: small models and operations timed as profiles are, and the file of them."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stand_ins.measured import Clock
from trilemma.errors import DeployError
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration, families
from trilemma.forecasting.measuring import Bench, rotating
from trilemma.hardware.machine import Machine
from trilemma.operating_point import OperatingPoint

MACHINE = Machine(name="box", kind="cpu", flops={"float32": 1e11, "packed": 5e11}, bandwidth=3e10, memory=1e9)
SMALL = {width: families(width, 1, 320) for width in (32, 64)}
POINTS = [OperatingPoint(*point, decode=3) for point in ((1, 4), (2, 8), (3, 4), (1, 12))]


def small_calibration() -> Calibration:
    models = [model for known in SMALL.values() for model in known.values()]
    return Calibration(MACHINE, "this one", tuple(Bench(0.0).passes(models, POINTS)), ())


def test_every_model_is_timed_in_its_phases_at_every_point() -> None:
    bench, models = Bench(0.01, Clock()), list(SMALL[32].values())
    reports: list[float] = []
    found = list(bench.passes(models, POINTS, lambda done, total, unit: reports.append(done / total)))
    by_model = {name: (2 if model.generates else 1) for name, model in SMALL[32].items()}
    assert len(found) == len(POINTS) * sum(by_model.values()) and by_model["bert"] == 1
    assert bench.verdicts == {"steady": len(found)}
    assert reports == sorted(reports) and reports[-1] == 1
    # Each look at the clock is a millisecond after the last; two tokens follow the first.
    assert {round(one.seconds, 9) for one in found} == {1e-3, 0.5e-3}


def test_a_model_is_left_out_beyond_its_positions() -> None:
    bert = [SMALL[32]["bert"]]
    assert not [*Bench(0.0).passes(bert, [OperatingPoint(1, 511, 3)])]
    assert len([*Bench(0.0).passes(bert, [OperatingPoint(1, 510, 3)])]) == 1


def test_operations_take_turns_and_weights_rotate() -> None:
    seen: list[str] = []
    works: dict[str, Callable[[], object]] = {
        "a": rotating(seen.append, ["a0", "a1", "a2"]),
        "b": lambda: seen.append("b"),
    }
    bench = Bench(1.0, Clock())
    assert bench.operations(works) == pytest.approx({"a": 1e-3, "b": 1e-3})
    assert bench.verdicts == {"steady": 2}
    turns = [one for one in seen if one.startswith("a")]
    assert turns[:4] == ["a0", "a1", "a2", "a0"] and turns.count("a1") > 10


def test_kernels_are_timed_by_themselves() -> None:
    """Every kind of work that a forecast is the sum of, of few tokens and of many."""
    found = list(calibration.operations(Bench(0.0, Clock())))
    kinds = {(one.operation.kind, one.operation.kernel) for one in found}
    dense = {("linear", "torch"), ("linear", "compiled"), ("ternary", "torch")}
    assert kinds == dense | {("attention", "torch"), ("gla", "torch"), ("scan", "torch")}
    assert {one.tokens for one in found if one.operation.kind == "ternary"} == {1, 4, 16, 64, 256, 1024}
    assert all(one.seconds > 0 for one in found) and len({pickle.dumps(one) for one in found}) == len(found)


def test_calibrating_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SHAPES", ((32, 1), (64, 1)))
    monkeypatch.setattr(calibration, "POINTS", POINTS[:1])
    monkeypatch.setattr(calibration, "CHECKED", (64, 1))
    monkeypatch.setattr(calibration, "CHECKED_VOCABULARY", 320)
    monkeypatch.setattr(calibration, "operations", lambda bench: iter(()))
    shares: list[float] = []
    found = calibration.calibrate(lambda done, total, unit: shares.append(done / total), clock=Clock())
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0) and len(set(shares)) > 15
    assert {one.family for one in found.checks} >= {"llama", "bert", "gla", "gpt2"}


def test_a_calibration_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    known = small_calibration()
    path = tmp_path / "calibration.json"
    calibration.write(known, path)
    assert calibration.read(path) == known
    assert calibration.forecaster(known).measured("decode")
    good = json.loads(path.read_text())
    for content in ("", "[]", "{}", json.dumps(good | {"version": 7}), json.dumps(good | {"measured": 1})):
        path.write_text(content)
        with pytest.raises(DeployError, match="trilemma calibrate"):
            calibration.read(path)
    path.write_text(json.dumps(good | {"version": 2}))
    with pytest.raises(DeployError, match="has the format 2, not 4; run `trilemma calibrate` again"):
        calibration.read(path)
    with pytest.raises(DeployError, match="not calibrated"):
        calibration.read(tmp_path / "absent.json")
