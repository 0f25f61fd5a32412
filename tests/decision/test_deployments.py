"""Decisions over forecasts for machines, alone and beside a run: every rejection has its reason."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.stand_ins.synthetic import frames
from trilemma.decision import Decision, decide
from trilemma.decision.decision import SHOWN
from trilemma.errors import TrilemmaError
from trilemma.metrics import METRICS
from trilemma.operating_point import OperatingPoint
from trilemma.progress import Progress, silent
from trilemma.records import DOES_NOT_FIT, Record
from trilemma.result import Result


@dataclass
class Forecaster:
    """Forecasts made up by rules: a machine has a speed, a memory, and perhaps a price and watts."""

    price: dict[str, float] = field(default_factory=dict)
    watts: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(
        self,
        models: Sequence[str],
        machines: Sequence[str],
        points: Sequence[OperatingPoint],
        *,
        precisions: Sequence[str] = ("auto",),
        progress: Progress = silent,
    ) -> list[Record]:
        self.asked.append((tuple(models), tuple(machines), tuple(points), tuple(precisions)))
        return [
            record
            for machine in machines
            for model in models
            for precision in precisions
            for point in points
            for record in self.records(model, machine, precision, point)
        ]

    def records(self, model: str, machine: str, precision: str, point: OperatingPoint) -> list[Record]:
        phase = "generate" if point.decode else "classify"
        speed = {"fast": 4.0, "slow": 1.0}[machine]
        first = (2 + point.batch * point.length * 0.01 + len(Path(model).name) / 10) / speed
        whole = first + max(0, point.decode - 1) * 2 / speed
        per_second = 1e3 * point.batch / whole
        values: dict[tuple[str, str], float | None] = {
            ("latency_ms", phase): whole,
            ("examples_per_s", phase): per_second,
            ("peak_memory_bytes", phase): 1e6 * point.batch,
            ("machine_memory_bytes", ""): self.memory.get(machine, 1e9),
            ("cost_per_million", phase): self.price[machine] / per_second if machine in self.price else None,
            ("energy_j_per_example", phase): self.watts[machine] / per_second
            if machine in self.watts
            else None,
        }
        if point.decode:
            values |= {("ttft_ms", "prefill"): first, ("tpot_ms", "decode"): 2 / speed}
        lacks = {
            "cost_per_million": "the machine has no price",
            "energy_j_per_example": "the machine has no watts",
        }
        return [
            self.record(
                Record(
                    model=model,
                    precision=precision,
                    axis="E",
                    metric=metric,
                    phase=phase,
                    batch=point.batch,
                    length=point.length,
                    decode=point.decode,
                    value=value,
                    unit=METRICS[metric].unit,
                    basis="forecast",
                    status="ok" if value is not None else "not measured",
                    reason="" if value is not None else lacks[metric],
                    machine=machine,
                )
            )
            for (metric, phase), value in values.items()
        ]

    def record(self, one: Record) -> Record:
        """With its interval and flags, or why there is none."""
        if one.model in self.impossible:
            return one.without_value(self.impossible[one.model])
        if one.value is None or one.metric == "machine_memory_bytes":
            return one
        full = one.metric == "peak_memory_bytes" and one.value > 0.9 * self.memory.get(one.machine, 1e9)
        flags = (DOES_NOT_FIT,) if full else ()
        return replace(one, low=0.8 * one.value, high=1.25 * one.value, confidence=0.9, flags=flags)


BOTH = {"machines": ["slow", "fast"], "forecast": Forecaster()}


def options(decision: Decision) -> list[str]:
    return [row.name for row in decision.qualifying]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run of three models whose adapted models have a folder each."""
    folder = tmp_path_factory.mktemp("run")
    found = Result(*frames(seeds=(0,)), folder)
    checkpoints = []
    for number, candidate in enumerate(found.evidence().candidates):
        (folder / f"adapted{number}").mkdir()
        (folder / f"adapted{number}" / "config.json").write_text("{}")
        checkpoints.append({"model": candidate.model, "folder": str(folder / f"adapted{number}")})
    (folder / "checkpoints.json").write_text(json.dumps(checkpoints))
    return found


def test_every_model_machine_and_batch_is_tried_and_the_fastest_first() -> None:
    decision = decide(models=["gla:nano", "my-model"], at="length=128", **BOTH)
    assert len(decision.ranked) == 2 * 2 * 4 and decision.metric.name == "examples_per_s"
    assert decision.choice == "gla:nano in auto on fast, batch 64"
    rates = [row.best.value for row in decision.ranked]
    assert rates == sorted(rates, reverse=True)
    assert (
        decision.untested == ()
        and json.loads(decision.to_json())["ranked"][1]["test"] == "not tested: forecast"
    )
    assert "not tested" not in decision.text() and "(batch 64, length 128)" in decision.answer()


def test_without_a_run_the_usual_question_is_a_chat() -> None:
    decision = decide(models=["gla:nano"], slo="ttft=20ms,tpot=1ms", **BOTH)
    assert {row.option.deployment.point[1:] for row in decision.ranked} == {(512, 256)}
    assert options(decision) == [f"gla:nano in auto on fast, batch {batch}" for batch in (4, 1)]
    why = decision.why("gla:nano in auto on slow, batch 1")
    assert "time to first token ≤ 20 ms" not in why and "time per output token ≤ 1 ms: not met" in why
    assert decision.why("gla:nano").count("\n") == 7


def test_a_bound_on_a_forecast_is_met_by_its_interval_alone() -> None:
    forecast = Forecaster()
    (value,) = (
        one.value
        for one in forecast.records("gla:nano", "fast", "auto", OperatingPoint(1, 128))
        if one.metric == "latency_ms"
    )
    asked = {"models": ["gla:nano"], "machines": ["fast"], "at": "batch=1,length=128", "forecast": forecast}
    assert decide(**asked, slo=f"latency={1.3 * value:f}ms").choice
    near = decide(**asked, slo=f"latency={1.2 * value:f}ms")
    assert near.choice is None and len(near.nearly) == 1
    assert "would by the point estimate, but not by the limit of its interval" in near.answer()
    assert "90% intervals in brackets" in near.text()


def test_what_does_not_fit_is_rejected_with_its_bytes() -> None:
    decision = decide(
        models=["gla:nano"], at="classify", machines=["slow"], forecast=Forecaster(memory={"slow": 1e7})
    )
    assert {row.option.deployment.point.batch for row in decision.qualifying} == {1, 4}
    rejected = decision.why("gla:nano in auto on slow, batch 64")
    assert "does not fit: needs 64.0 MB of the 10.0 MB of a device" in rejected


def test_what_cannot_be_forecast_says_why() -> None:
    forecast = Forecaster(impossible={"bert": "bert has 512 positions, 768 are needed"})
    decision = decide(models=["bert", "gla:nano"], machines=["fast"], forecast=forecast)
    assert all("512 positions" in row.reasons[0] for row in decision.ranked if row.candidate == "bert")
    assert decision.choice and "bert" not in decision.choice
    nothing = decide(models=["bert"], machines=["fast"], forecast=forecast)
    assert (
        nothing.choice is None
        and "No deployment is possible (length 512, 256 tokens generated)" in nothing.answer()
    )
    assert "512 positions" in nothing.text()


def test_a_forecast_without_a_run_that_fails_says_only_why() -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise TrilemmaError("gla:nano needs a calibration; run `trilemma calibrate`")

    with pytest.raises(TrilemmaError, match=r"^gla:nano needs a calibration; run"):
        decide(models=["gla:nano"], machines=["fast"], forecast=fails)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (
            {"limits": {"max_cost": 3}},
            "cost_per_million: not forecast: the machine has no price; name machines with a",
        ),
        (
            {"best": "energy"},
            "no candidate has a value of energy_j_per_example.*no watts; give each machine its",
        ),
        ({"limits": {"min_robust": 0.3}}, "robust_accuracy is measured in a run; name a run folder"),
        ({"best": "accuracy"}, "accuracy is measured in a run"),
        ({"slo": "tpot=40ms"}, "no candidate has a value of tpot_ms: not forecast: no token is generated at"),
        ({"slo": "tpot"}, "write bounds like ttft=200ms"),
        ({"slo": "tpot=soon"}, "cannot read 'soon'"),
        ({"limits": {"max_training_memory": "1GB"}}, "it is measured in a run, and not forecast"),
        ({"batches": [2]}, "`at` names a batch, and so do the batches"),
        (
            {"machines": ["measured"]},
            "`measured` is the hardware on which a run was measured; name a run folder",
        ),
        ({"models": [], "machines": ["fast"]}, "name a run folder, or models to forecast"),
    ],
)
def test_what_does_not_apply_is_refused_by_name(asked: dict[str, Any], match: str) -> None:
    usual = {"models": ["gla:nano"], "at": "batch=1,length=128", **BOTH}
    with pytest.raises(TrilemmaError, match=match):
        decide(**(usual | asked))


@pytest.mark.parametrize("option", ["batches", "precisions", "devices"])
def test_options_of_forecasts_need_a_machine(result: Result, option: str) -> None:
    with pytest.raises(TrilemmaError, match=f"{option} apply to forecasts; name machines to forecast for"):
        result.decide(**{option: [2]})


def test_costs_and_energy_rank_what_machines_say_of_them() -> None:
    forecast = Forecaster(price={"slow": 0.1, "fast": 1.0}, watts={"slow": 10.0})
    asked = {"models": ["gla:nano"], "machines": ["slow", "fast"], "at": "classify", "forecast": forecast}
    cheapest = decide(**asked, best="cost")
    assert cheapest.choice == "gla:nano in auto on slow, batch 64"
    bounded = decide(**asked, limits={"max_cost": 2e-4})
    assert {row.option.deployment.machine for row in bounded.qualifying} == {"slow"}
    assert "cost of a million sequences ≤ 0.0002: not met" in bounded.why("gla:nano in auto on fast, batch 1")
    frugal = decide(**asked, best="energy")
    assert frugal.why("gla:nano in auto on fast, batch 1").endswith(
        "nothing to rank it by: not forecast: the machine has no watts"
    )


def test_a_run_gives_forecasts_their_scores_and_both_kinds_of_bounds_hold(result: Result) -> None:
    forecast = Forecaster(price={"slow": 0.1, "fast": 1.0})
    decision = decide(
        result,
        machines=["slow", "fast"],
        slo="latency=1.5ms",
        limits={"min_robust": 0.42, "max_cost": 5},
        forecast=forecast,
    )
    models, _, points, _ = forecast.asked[0]
    assert all(Path(model).name.startswith("adapted") for model in models)
    assert [point.batch for point in points] == [1, 4, 16, 64] and points[0][1:] == (128, 0)
    assert decision.choice == "gla-nano in auto on fast, batch 1"
    assert {row.candidate for row in decision.ranked} == {one.name for one in result.evidence().candidates}
    missed = decision.why("transformer-pp-nano in auto on slow, batch 64")
    assert "median latency ≤ 1.5 ms: not met" in missed and "robust accuracy ≥ 42%: not met" in missed
    assert decision.ties == ("matmul-free-nano in auto on fast, batch 1",)
    same, *_, other = decide(result, machines=["slow"], forecast=Forecaster()).qualifying[1:]
    assert (same.candidate, same.distinction) == ("gla-nano", None) and other.distinction is not None


def test_what_was_measured_stands_beside_forecasts(result: Result) -> None:
    decision = decide(
        result,
        machines=["measured", "slow"],
        batches=[1],
        slo="latency=10ms",
        best="latency_ms",
        forecast=Forecaster(),
    )
    assert len(decision.ranked) == 6
    assert {row.option.measured for row in decision.qualifying} == {True, False}
    assert decision.choice == "transformer-pp-nano"
    forecasts = [row for row in decision.qualifying if not row.option.measured]
    assert {str(row.distinction) for row in forecasts} == {"not tested: forecast"}


def test_models_are_the_runs_by_their_names_or_come_from_elsewhere(result: Result) -> None:
    forecast = Forecaster()
    decision = decide(
        result,
        models=["gla:nano", "other"],
        machines=["fast"],
        at="batch=1",
        limits={"min_clean": 0.1},
        forecast=forecast,
    )
    assert [Path(model).name for model in forecast.asked[0][0]] == ["adapted1", "other"]
    assert options(decision) == ["gla-nano in auto on fast, batch 1"]
    assert "clean accuracy ≥ 10%: not measured: it is in no run" in decision.why("other")


def test_a_run_whose_adapted_models_are_gone_asks_for_models(result: Result, tmp_path: Path) -> None:
    moved = Result(result.records, result.items, tmp_path)
    with pytest.raises(TrilemmaError, match="are not where the run says; name the models to forecast"):
        decide(moved, **BOTH)
    (tmp_path / "checkpoints.json").write_text('[{"model": 3}, 4]')
    with pytest.raises(TrilemmaError, match="are not where the run says"):
        decide(moved, **BOTH)
    assert decide(moved, models=["gla:nano"], at="batch=1", **BOTH).choice


def test_no_skill_is_no_deployment() -> None:
    result = Result(*frames(models=2, seeds=(0,), skill=(0.5, 0.9), robustness=(0.8, 0.2)))
    decision = decide(result, models=["transformer-pp-nano", "gla-nano"], best="examples_per_s", **BOTH)
    assert {row.candidate for row in decision.qualifying} == {"gla-nano"}
    assert "no skill: no official metric is distinguishably above" in decision.why("transformer-pp-nano")


def test_many_rejections_are_summed_up_with_the_one_that_came_nearest() -> None:
    decision = decide(models=["gla:nano", "b", "c"], at="classify", slo="latency=1ms", **BOTH)
    assert len(decision.ranked) - len(decision.qualifying) > SHOWN
    text = decision.text()
    assert "rejected, misses median latency ≤ 1 ms; nearest: " in text and "✗   " in text
    content = json.loads(decision.to_json())
    assert len(content["ranked"]) == 24 and all("reasons" in row for row in content["ranked"])
    assert content["ranked"][0]["point"] == {"batch": 1, "length": 128, "decode": 0}


def test_a_notebook_shows_every_option_as_text() -> None:
    decision = decide(models=["<script>", "gla:nano"], at="batch=1,length=128", **BOTH)
    page = decision._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and page.count("<tr>") == 1 + 4


def test_a_forecast_without_an_interval_meets_no_bound_and_says_why() -> None:
    note = "no interval: 2 families are too few"

    class Unknown(Forecaster):
        def record(self, one: Record) -> Record:
            return replace(super().record(one), low=None, high=None, confidence=None, note=note)

    asked = {"models": ["a"], "at": "batch=1,length=128", "forecast": Unknown()}
    decision = decide(**asked, machines=["fast"], slo="latency=1s")
    assert decision.choice is None and decision.nearly == ("a in auto on fast, batch 1",)
    assert "would by the point estimate, but how far off that may be is not known." in decision.answer()
    assert f"a in auto on fast, batch 1: {note}." in decision.text() and "90%" not in decision.text()
    assert "met by the point estimate only" in decision.why("a") and "(no interval)" in decision.why("a")
    both = decide(**asked, machines=["fast", "slow"])
    assert f"a in auto on fast, batch 1 and a in auto on slow, batch 1: {note}." in both.text()


def test_an_unknown_candidate_has_no_why(result: Result) -> None:
    with pytest.raises(TrilemmaError, match="no candidate is called 'x'; this decision has: gla-nano"):
        result.decide().why("x")
    assert result.decide().why("gla-nano") == "gla-nano: chosen"


def test_metrics_of_generation_are_read_at_one_point(result: Result) -> None:
    both = decide(result, machines=["measured", "slow"], slo="tpot=100s", forecast=Forecaster())
    points = {row.option.deployment.point._replace(batch=1) for row in both.ranked}
    (point,) = points
    assert point.decode and "not forecast" not in both.text()
    assert decide(result, machines="slow", batches=1, precisions="auto", forecast=Forecaster()).ranked


def test_a_refusal_names_the_model_as_the_user_does(result: Result) -> None:
    def refuses(models: list[str], *_: object, **__: object) -> list[Record]:
        raise TrilemmaError(f"{models[0]} has no ternary weights")

    with pytest.raises(TrilemmaError, match=r"^transformer-pp-nano has no ternary weights"):
        decide(result, machines=["slow"], forecast=refuses)
    with pytest.raises(TrilemmaError, match=r"'nope' is no candidate of the run \(transformer-pp-nano, "):
        decide(result, models=["nope"], machines=["slow"], forecast=refuses)
