"""Speed of fine-tuning a classifier: forward, backward and one AdamW step."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from trilemma.adapt import ADAPTATIONS, AdaptSettings
from trilemma.adapt.adaptation import TaskLoss
from trilemma.profile.latency import rate
from trilemma.profile.points import Point, Unmeasured
from trilemma.profile.session import OUTPUTS, Loaded, Session
from trilemma.profile.timing import Run, median
from trilemma.records import Record

UNITS = {"training_examples_per_s": "examples/s"}


def measure(session: Session) -> Iterator[Record]:
    """Examples a second over the training grid, by each adaptation, in the model's own precision."""
    subjects = session.subjects
    for method in dict.fromkeys(one.method for subject in subjects for one in subject.adaptations):
        yield from _measure_method(session, method)


def _measure_method(session: Session, method: str) -> Iterator[Record]:
    models = [loaded for loaded in session.trainable() if loaded.subject.adaptation(method)]
    steps: dict[str, TrainingStep] = {}
    prepare = partial(_prepare, session, method, steps)
    for loaded, point, samples in session.sweep(models, session.training_points(), prepare):
        if isinstance(samples, Unmeasured):
            yield from session.unmeasured(loaded.subject, UNITS, samples.reason, point, adaptation=method)
            continue
        seconds = median([sample["step"] for sample in samples])
        yield from rate(
            session,
            loaded,
            point,
            "training_examples_per_s",
            "examples/s",
            seconds,
            work=point.batch,
            adaptation=method,
        )
    for step in steps.values():
        step.finish()


def _prepare(
    session: Session, method: str, steps: "dict[str, TrainingStep]", loaded: Loaded, point: Point
) -> Run:
    inputs = with_labels(session.inputs(loaded, point))
    name = loaded.subject.name
    if name not in steps:
        settings = loaded.subject.adaptation(method)
        assert settings is not None
        steps[name] = TrainingStep(loaded.model, settings)
    step = steps[name]

    def run() -> Mapping[str, float]:
        start = session.stopwatch()
        step(inputs)
        return {"step": session.stopwatch() - start}

    return run


def with_labels(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch of ``input_ids`` [B, T] with ``labels`` [B] for the classifiers that are measured."""
    ids = inputs["input_ids"]
    return {**inputs, "labels": torch.arange(len(ids), device=ids.device) % OUTPUTS}


class TrainingStep:
    """One step of an adaptation with AdamW, the Trainer's default optimiser.

    The learning rate is 0: the whole step is computed, but the weights stay what they are.
    Gradients are dropped after each step, even one that fails, as the Trainer does.

    Args:
        model: a classifier; wrapped or frozen in part until :meth:`finish`.
        settings: the method, and its own settings.
    """

    def __init__(self, model: Any, settings: AdaptSettings) -> None:
        self._adaptation = ADAPTATIONS.get(settings.method)()
        self._model = self._adaptation.prepare(model, settings)
        self._task_loss = TaskLoss()
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=0.0, fused=True)

    def __call__(self, batch: dict[str, torch.Tensor]) -> None:
        """Forward, backward, update; leaves the model in evaluation mode."""
        self._model.train()
        try:
            loss, _ = self._adaptation.loss(self._model, batch, self._task_loss)
            torch.autograd.backward(loss)
            self._optimizer.step()
        finally:
            self._optimizer.zero_grad(set_to_none=True)
            self._model.eval()

    def finish(self) -> None:
        """Undo what the adaptation wrapped; the model computes what it did before."""
        self._adaptation.finish(self._model)
