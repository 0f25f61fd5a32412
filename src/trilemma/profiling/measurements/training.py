"""Speed of fine-tuning a classifier: data, forward, backward and one AdamW step."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from trilemma.adapt import ADAPTATIONS, AdaptSettings
from trilemma.adapt.adaptation import TaskLoss
from trilemma.hardware import Unmeasured
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.loading import OUTPUTS
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.session import LoadedModel, Session, Value
from trilemma.profiling.timing import Quantity, Run, Sample
from trilemma.records import Record

PARTS = ("data", "forward", "backward", "optimiser")
"""Of a step; data: gathering a batch's token ids and moving them to the device."""

METRICS = ("examples_per_s", "step_ms", *(f"{part}_ms" for part in PARTS))


def measure(session: Session) -> Iterator[Record]:
    """Examples per second and the time of a step, over the training grid, by each adaptation."""
    points = session.grid.training_points()
    for method in methods(session):
        for model in untrainable(session, method):
            for point in points:
                yield from _records(session, model, point, method, Unmeasured(model.untrainable))
        with Steps(session, method) as steps:
            for loaded, point, samples in session.time_grid(trained(session, method), points, steps.prepared):
                yield from _records(session, loaded.model, point, method, samples)


def _records(
    session: Session,
    model: ModelUnderTest,
    point: OperatingPoint,
    method: str,
    samples: list[Sample] | Unmeasured,
) -> Iterator[Record]:
    values: dict[str, Value]
    if isinstance(samples, Unmeasured):
        values = dict.fromkeys(METRICS, samples)
    else:
        whole = Quantity.of_times([sum(sample.values()) for sample in samples])
        parts = [Quantity.of_times([sample[part] for sample in samples]).times(1e3) for part in PARTS]
        values = dict(zip(METRICS, (whole.rate(point.batch), whole.times(1e3), *parts), strict=True))
    yield from session.records(model, values, point=point, phase="train", adaptation=method)


def methods(session: Session) -> list[str]:
    """By which models are trained here, each once; none where the grid has no points of training."""
    if session.grid.training is None:
        return []
    return list(dict.fromkeys(one.method for model in session.models for one in model.adaptations))


def trained(session: Session, method: str) -> list[LoadedModel]:
    """The models that a method adapts, as they are trained."""
    asked = [model for model in session.models if model.adaptation(method) and not model.untrainable]
    return [one for one in session.trainable() if one.model in asked] if asked else []


def untrainable(session: Session, method: str) -> list[ModelUnderTest]:
    """The models that the method would adapt if their weights could be trained."""
    return [model for model in session.models if model.adaptation(method) and model.untrainable]


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


def with_labels(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch of ``input_ids`` [B, T] with ``labels`` [B] for the classifiers that are measured."""
    ids = inputs["input_ids"]
    return {**inputs, "labels": torch.arange(len(ids), device=ids.device) % OUTPUTS}


class Steps:
    """Training steps of several models by one method; as a context, undoes at its end what that wrapped.

    Args:
        session: whose stopwatch is read, and whose inputs are taken.
        method: of the adaptation.
    """

    def __init__(self, session: Session, method: str) -> None:
        self._session, self._method = session, method
        self._steps: dict[ModelUnderTest, TrainingStep] = {}

    def of(self, loaded: LoadedModel) -> "TrainingStep":
        """The model's step, made where there is none yet."""
        if loaded.model not in self._steps:
            settings = loaded.model.adaptation(self._method)
            assert settings is not None
            self._steps[loaded.model] = TrainingStep(loaded.module, settings)
        return self._steps[loaded.model]

    def prepared(self, loaded: LoadedModel, point: OperatingPoint) -> Run:
        """One step, with the seconds of its :data:`PARTS`."""
        rows = Rows(self._session.inputs(loaded, point)["input_ids"])
        step, stopwatch = self.of(loaded), self._session.stopwatch

        def run() -> Sample:
            start = stopwatch()
            batch = rows.batch(self._session.device)
            made = stopwatch()
            return {"data": made - start, **step(batch, stopwatch)}

        return run

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *raised: object) -> None:
        for step in self._steps.values():
            step.finish()


class TrainingStep:
    """One step of an adaptation with AdamW, the Trainer's default optimiser.

    The learning rate is 0: the whole step is computed, but the weights stay what they are.
    Gradients are dropped after each step, even one that fails, as the Trainer does.

    Args:
        module: a classifier; wrapped or frozen in part until :meth:`finish`.
        settings: the method, and its own settings.

    Attributes:
        gradient_bytes: of the last step's gradients.
    """

    def __init__(self, module: Any, settings: AdaptSettings) -> None:
        self._adaptation = ADAPTATIONS.get(settings.method)()
        self._module = self._adaptation.prepare(module, settings)
        self._task_loss = TaskLoss()
        self._trained = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=0.0, fused=True)
        self.gradient_bytes = 0

    def __call__(
        self, batch: dict[str, torch.Tensor], stopwatch: Callable[[], float] = lambda: 0.0
    ) -> Sample:
        """Forward, backward, update; leaves the model in evaluation mode.

        Args:
            batch: inputs [B, T] and labels [B].
            stopwatch: seconds, once the device's work is done.

        Returns:
            Seconds of ``forward``, ``backward`` and ``optimiser``, by that stopwatch.
        """
        self._module.train()
        try:
            start = stopwatch()
            loss, _ = self._adaptation.loss(self._module, batch, self._task_loss)
            forwarded = stopwatch()
            torch.autograd.backward(loss)
            backwarded = stopwatch()
            self._optimizer.step()
            end = stopwatch()
            self.gradient_bytes = sum(_bytes(one.grad) for one in self._trained)
        finally:
            self._optimizer.zero_grad(set_to_none=True)
            self._module.eval()
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
        self._adaptation.finish(self._module)


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0
