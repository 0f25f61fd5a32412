"""Speed of fine-tuning a classifier: forward, backward and one AdamW step."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from trilemma.adapt import ADAPTATIONS, AdaptSettings
from trilemma.adapt.adaptation import TaskLoss
from trilemma.profiling.forms import OUTPUTS
from trilemma.profiling.measurements.latency import rate
from trilemma.profiling.points import Point, Unmeasured
from trilemma.profiling.session import Loaded, Session
from trilemma.profiling.timing import Run, median
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
    step = _step_of(loaded, method, steps)

    def run() -> Mapping[str, float]:
        start = session.stopwatch()
        step(inputs)
        return {"step": session.stopwatch() - start}

    return run


class Rows:
    """Random rows as a training set keeps them, from which batches are made as they are for a real one.

    Args:
        ids: token ids [n, T], as ``input_ids`` of :func:`trilemma.profiling.session.random_inputs`.
    """

    def __init__(self, ids: torch.Tensor) -> None:
        self._ids = ids.cpu().numpy().astype(np.int32)

    def batch(self, device: str) -> dict[str, torch.Tensor]:
        """All rows, shuffled, on ``device``: ``input_ids`` and ``attention_mask`` [n, T], ``labels`` [n]."""
        chosen = self._ids[np.random.default_rng(0).permutation(len(self._ids))].astype(np.int64)
        ids = torch.from_numpy(chosen)
        made = with_labels({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        return {name: tensor.to(device) for name, tensor in made.items()}


class Steps:
    """Training steps of several models by one method, split into their parts.

    Args:
        session: whose stopwatch is read, and whose inputs are taken.
        method: of the adaptation.
    """

    def __init__(self, session: Session, method: str) -> None:
        self._session = session
        self._method = method
        self._steps: dict[str, TrainingStep] = {}

    def prepared(self, loaded: Loaded, point: Point) -> Run:
        """One step, with the seconds of ``data``, ``forward``, ``backward`` and ``optimiser``."""
        rows = Rows(self._session.inputs(loaded, point)["input_ids"])
        step = _step_of(loaded, self._method, self._steps)
        stopwatch = self._session.stopwatch

        def run() -> Mapping[str, float]:
            start = stopwatch()
            batch = rows.batch(self._session.device)
            made = stopwatch()
            return {"data": made - start, **step(batch, stopwatch)}

        return run

    def finish(self) -> None:
        """Undo what the adaptation wrapped."""
        for step in self._steps.values():
            step.finish()


def _step_of(loaded: Loaded, method: str, steps: "dict[str, TrainingStep]") -> "TrainingStep":
    """The model's step, made where it is not there yet."""
    name = loaded.subject.name
    if name not in steps:
        settings = loaded.subject.adaptation(method)
        assert settings is not None
        steps[name] = TrainingStep(loaded.model, settings)
    return steps[name]


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

    Attributes:
        gradient_bytes: of the last step's gradients.
    """

    def __init__(self, model: Any, settings: AdaptSettings) -> None:
        self._adaptation = ADAPTATIONS.get(settings.method)()
        self._model = self._adaptation.prepare(model, settings)
        self._task_loss = TaskLoss()
        self._trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=0.0, fused=True)
        self.gradient_bytes = 0

    def __call__(
        self, batch: dict[str, torch.Tensor], stopwatch: Callable[[], float] = lambda: 0.0
    ) -> Mapping[str, float]:
        """Forward, backward, update; leaves the model in evaluation mode.

        Args:
            batch: inputs [B, T] and labels [B].
            stopwatch: seconds, once the device's work is done.

        Returns:
            Seconds of ``forward``, ``backward`` and ``optimiser``, by that stopwatch.
        """
        self._model.train()
        try:
            start = stopwatch()
            loss, _ = self._adaptation.loss(self._model, batch, self._task_loss)
            forwarded = stopwatch()
            torch.autograd.backward(loss)
            backwarded = stopwatch()
            self._optimizer.step()
            end = stopwatch()
            self.gradient_bytes = sum(_bytes(one.grad) for one in self._trained)
        finally:
            self._optimizer.zero_grad(set_to_none=True)
            self._model.eval()
        return {
            "forward": forwarded - start,
            "backward": backwarded - forwarded,
            "optimiser": end - backwarded,
        }

    @property
    def optimiser_bytes(self) -> int:
        """Bytes of the optimiser's state; 0 before the first step."""
        states = self._optimizer.state.values()
        return sum(_bytes(value) for state in states for value in state.values())

    def finish(self) -> None:
        """Undo what the adaptation wrapped; the model computes what it did before."""
        self._adaptation.finish(self._model)


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0
