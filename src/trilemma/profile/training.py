"""Speed of fine-tuning a classifier: forward, backward and one AdamW step."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from trilemma.profile.latency import rate
from trilemma.profile.points import Point, Unmeasured
from trilemma.profile.session import OUTPUTS, Loaded, Session
from trilemma.profile.timing import Run, median
from trilemma.records import Record

UNITS = {"training_examples_per_s": "examples/s"}


def measure(session: Session) -> Iterator[Record]:
    """Examples a second over the training grid, all weights trained, in the model's own precision."""
    prepare = partial(_prepare, session)
    points = session.training_points()
    for loaded, point, samples in session.sweep(session.classifiers(), points, prepare):
        if isinstance(samples, Unmeasured):
            yield from session.unmeasured(loaded.subject, UNITS, samples.reason, point)
            continue
        seconds = median([sample["step"] for sample in samples])
        yield from rate(
            session, loaded, point, "training_examples_per_s", "examples/s", seconds, work=point.batch
        )


def _prepare(session: Session, loaded: Loaded, point: Point) -> Run:
    inputs = session.inputs(loaded, point)
    inputs["labels"] = torch.arange(point.batch, device=session.device) % OUTPUTS
    step = TrainingStep(loaded.model)

    def run() -> Mapping[str, float]:
        start = session.stopwatch()
        step(inputs)
        return {"step": session.stopwatch() - start}

    return run


class TrainingStep:
    """One step of full fine-tuning with AdamW, the Trainer's default optimiser.

    The learning rate is 0: the whole step is computed, but the weights stay what they are.
    Gradients are dropped after each step, even one that fails, as the Trainer does.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Forward, backward, update; leaves the model in evaluation mode."""
        self.model.train()
        try:
            self.model(**inputs).loss.backward()
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            self.model.eval()
