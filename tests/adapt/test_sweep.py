"""The learning-rate sweep."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.stand_ins.tiny_adapt import SENTIMENT, model_folder, sentiment
from trilemma.adapt import ADAPTATIONS, AdaptJob, AdaptSettings, SweepFacts, sweep
from trilemma.adapt.methods.full import Full
from trilemma.adapt.rate_sweep import Trial, best_rate
from trilemma.errors import DivergedError, StudyError


class KilledError(Exception):
    """Stands for a kill."""


def run(tmp: Path, rates: list[float], progress=None, **fields) -> SweepFacts:
    source = tmp / "source"
    if not source.exists():
        model_folder(source)
    (tmp / "work").mkdir(exist_ok=True)
    settings = AdaptSettings(
        learning_rate={"sweep": rates, "rows": 150, "epochs": 2},
        batch=16,
        precision="float32",
        held_out=60,
        **fields,
    )
    listener = {"progress": progress} if progress else {}
    job = AdaptJob(source, SENTIMENT, settings, seed=0)
    return sweep(job, sentiment(400), work=tmp / "work", **listener)


def test_the_rate_that_learns_is_chosen(tmp_path: Path) -> None:
    seen: list[tuple[float, float, str]] = []
    facts = run(tmp_path, [1e-6, 1e-2], lambda *report: seen.append(report))
    assert facts.learning_rate == 1e-2
    assert (facts.rows, facts.held_out_rows, facts.epochs, facts.metric) == (150, 60, 2.0, "accuracy")
    low, high = facts.trials
    assert high.value > low.value and high.loss < low.loss
    assert seen[-1] == (2 * 320, 2 * 320, "examples")
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert json.loads(json.dumps(dataclasses.asdict(facts)))["trials"][1]["learning_rate"] == 1e-2


def test_finished_trials_survive_a_kill(tmp_path: Path) -> None:
    def killed(done: float, total: float, unit: str) -> None:
        if done > total / 2:
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path, [1e-4, 1e-2], killed)
    first = json.loads((tmp_path / "work" / "trial-0.json").read_text())
    seen: list[float] = []
    facts = run(tmp_path, [1e-4, 1e-2], lambda done, *_: seen.append(done))
    assert dataclasses.asdict(facts.trials[0]) == first
    assert min(seen) > 320


class Breaks(Full):
    """No loss is a number at rates above 1e-3."""

    limit = 1e-3

    def prepare(self, model, settings):
        return super().prepare(model, settings)

    def loss(self, model, batch, task_loss):
        loss, output = super().loss(model, batch, task_loss)
        spread = max(float(w.detach().abs().max()) for w in model.parameters() if w.ndim > 1)
        return loss * (float("inf") if spread > self.limit else 1.0), output


def test_diverged_trials_are_recorded_and_never_chosen(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Breaks, "limit", 0.3)
    with ADAPTATIONS.holding({"breaks": Breaks}):
        facts = run(tmp_path, [1e-4, 1e-1], method="breaks")
    assert facts.learning_rate == 1e-4
    assert facts.trials[0].diverged == "" and facts.trials[0].value is not None
    assert facts.trials[1].value is None and "no longer a number at step" in facts.trials[1].diverged


def test_all_diverged_is_a_failure_of_the_cell(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Breaks, "limit", 0.0)
    with (
        ADAPTATIONS.holding({"breaks": Breaks}),
        pytest.raises(DivergedError, match=r"every learning rate of the sweep diverged; the last: .*0.02"),
    ):
        run(tmp_path, [1e-2, 2e-2], method="breaks")


def test_of_equal_metrics_the_lower_loss_wins() -> None:
    trials = [Trial(1.0, 0.8, 0.5, "", 0), Trial(2.0, 0.8, 0.4, "", 0), Trial(3.0, 0.7, 0.1, "", 0)]
    assert best_rate(trials) == 2.0


def test_a_fixed_rate_is_not_swept(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"given \(0.001\)"):
        job = AdaptJob("x", SENTIMENT, AdaptSettings(learning_rate=1e-3), seed=0)
        sweep(job, sentiment(10), work=tmp_path)
