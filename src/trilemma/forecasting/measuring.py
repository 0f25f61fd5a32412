"""Timing forward passes of models made from configurations, for calibration and for checking forecasts."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trilemma.forecasting.cases import Case
from trilemma.forecasting.forecaster import Measured
from trilemma.inference.classifier import fixed_arguments
from trilemma.models.loading import deploy
from trilemma.profiling.measurements.generation import generate
from trilemma.profiling.operations import Shape, shape_of
from trilemma.profiling.points import Point
from trilemma.profiling.session import random_inputs
from trilemma.profiling.timing import median
from trilemma.progress import Progress, silent

FEWEST_RUNS = 5
"""Runs of a point, whose median counts."""

WARM_UP_TOKENS = 4
"""Generated before a point is timed: later tokens are like the second."""


@dataclass(frozen=True)
class Subject:
    """A model with random weights, to be timed.

    Attributes:
        config: of the model.
        dtype: ``float32`` or ``bfloat16``; ternary weights are packed in either.
        classifier: whether it is timed as a classifier; an encoder always is.
    """

    config: Any
    dtype: str = "float32"
    classifier: bool = False

    @property
    def shape(self) -> Shape:
        """Its dimensions."""
        return shape_of(self.config)

    @property
    def precision(self) -> str:
        """Of its weights as they are deployed."""
        return "packed" if self.config.model_type == "hgrn_bit" else self.dtype

    @property
    def generates(self) -> bool:
        """Whether it is timed in prefill and decoding."""
        return self.shape.causal and not self.classifier


def built(subject: Subject) -> Any:
    """The model, as it is deployed on a processor."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    made_by = AutoModelForCausalLM if subject.generates else AutoModelForSequenceClassification
    torch.manual_seed(0)
    model = made_by.from_config(subject.config, dtype=getattr(torch, subject.dtype))
    return deploy(model.eval())


def measure(
    subjects: Sequence[Subject],
    points: Sequence[Point],
    *,
    decode: int,
    seconds: float,
    runs: int = FEWEST_RUNS,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Measured]:
    """Time every subject at every point.

    Args:
        subjects: the models; one is in memory at a time.
        points: batches and lengths; those beyond a model's positions are left out.
        decode: tokens generated after each prompt, at least 2.
        seconds: time that the runs of a point aim at.
        runs: fewest runs of a point, whose median counts.
        progress: told of points.
        clock: seconds, monotonic.
    """
    found: list[Measured] = []
    for number, subject in enumerate(subjects):
        model = built(subject)
        for place, point in enumerate(points):
            found += _measure_one(subject, model, point, decode, seconds, runs, clock)
            progress(number * len(points) + place + 1, len(subjects) * len(points), "points")
    return found


def _measure_one(
    subject: Subject,
    model: Any,
    point: Point,
    decode: int,
    seconds: float,
    fewest: int,
    clock: Callable[[], float],
) -> Iterator[Measured]:
    limit = subject.shape.positions
    if limit is not None and point.length + decode > limit:
        return
    inputs = random_inputs(subject.config, point, "cpu")
    if subject.generates:
        _generation(model, inputs, min(WARM_UP_TOKENS, decode), clock)()
        run = _generation(model, inputs, decode, clock)
    else:
        run = _pass(model, inputs, clock)
        run()
    runs: list[tuple[float, float]] = []
    begun = clock()
    while len(runs) < fewest or clock() - begun < seconds:
        runs.append(run())
    first, further = (median(column).value for column in zip(*runs, strict=True))
    shape, precision = subject.shape, subject.precision
    phase = "prefill" if subject.generates else "classify"
    yield Measured(Case(shape, precision, phase, point.batch, point.length), first)  # type: ignore[arg-type]
    if subject.generates:
        middle = point.length + (decode - 1) // 2
        yield Measured(Case(shape, precision, "decode", point.batch, middle), further)


def _pass(model: Any, inputs: Any, clock: Callable[[], float]) -> Callable[[], tuple[float, float]]:
    arguments = {**inputs, **fixed_arguments(model)}

    def run() -> tuple[float, float]:
        start = clock()
        with torch.inference_mode():
            model(**arguments)
        return clock() - start, 0.0

    return run


def _generation(
    model: Any, inputs: Any, decode: int, clock: Callable[[], float]
) -> Callable[[], tuple[float, float]]:
    def run() -> tuple[float, float]:
        seconds = generate(model, inputs["input_ids"], decode, clock).seconds
        return seconds["prefill"], seconds["decode"] / (decode - 1)

    return run
