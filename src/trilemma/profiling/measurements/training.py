"""Speed of fine-tuning a classifier: data, forward, backward and one AdamW step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from trilemma.adapt import ADAPTATIONS, AdaptSettings
from trilemma.adapt.adaptation import TaskLoss
from trilemma.hardware import Unmeasured
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.loading import OUTPUTS
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.session import LoadedModel, Session, Value
from trilemma.profiling.timing import Quantity, Run, Sample
from trilemma.records import Record

PARTS = ("data", "forward", "backward", "optimiser")
"""Of a step; data: gathering a batch's token ids and moving them to the device."""

METRICS = ("examples_per_s", "step_ms", *(f"{part}_ms" for part in PARTS))


@MEASUREMENTS.plugin(3)
def measure(session: Session) -> Iterator[Record]:
    """Examples per second and the time of a step, over the training grid, by each adaptation."""
    for method in session.methods:
        with steps_of(method) as step_of:
            prepare = partial(_prepared, session, step_of)
            for model, point, samples in session.time_phase("train", prepare, method):
                values: dict[str, Value]
                if isinstance(samples, Unmeasured):
                    values = dict.fromkeys(METRICS, samples)
                else:
                    step = Quantity.of_times([sum(sample.values()) for sample in samples])
                    parts = [Quantity.of_times([one[part] for one in samples]).times(1e3) for part in PARTS]
                    values = dict(
                        zip(METRICS, (step.rate(point.batch), step.times(1e3), *parts), strict=True)
                    )
                yield from session.records(model, values, point=point, phase="train", adaptation=method)


StepOf = Callable[[LoadedModel], "TrainingStep"]


@contextmanager
def steps_of(method: str) -> Iterator[StepOf]:
    """What gives a model's training step by a method; at the end, what the steps wrapped is undone."""
    steps: dict[ModelUnderTest, TrainingStep] = {}

    def step_of(loaded: LoadedModel) -> TrainingStep:
        if loaded.model not in steps:
            settings = loaded.model.adaptation(method)
            assert settings is not None
            steps[loaded.model] = TrainingStep(loaded.module, settings)
        return steps[loaded.model]

    try:
        yield step_of
    finally:
        for step in steps.values():
            step.finish()


def _prepared(session: Session, step_of: StepOf, loaded: LoadedModel, point: OperatingPoint) -> Run:
    """One step, with the seconds of its :data:`PARTS`; its batch is made as one of a training set is."""
    rows = session.inputs(loaded, point)["input_ids"].cpu().numpy().astype(np.int32)
    step, stopwatch = step_of(loaded), session.stopwatch

    def run() -> Sample:
        start = stopwatch()
        chosen = rows[np.random.default_rng(0).permutation(len(rows))].astype(np.int64)
        ids = torch.from_numpy(chosen)
        batch = with_labels({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        batch = {name: tensor.to(session.device) for name, tensor in batch.items()}
        made = stopwatch()
        return {"data": made - start, **step(batch, stopwatch)}

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
