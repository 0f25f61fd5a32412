"""Timing models made from configurations, and operations, for calibration and for checking forecasts."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from trilemma.forecasting.forecaster import Measured
from trilemma.forecasting.passes import ForwardPass
from trilemma.hardware import Unmeasured
from trilemma.models.description import is_ternary
from trilemma.models.loading import deploy, describe
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.cost import Pass
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.profiling.measurements import generation, latency
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.operations import Dimensions, dimensions_of
from trilemma.profiling.session import LoadedModel, Session
from trilemma.profiling.timing import Key, Quantity, Run, Sample
from trilemma.progress import Progress, silent

Weight = TypeVar("Weight")

SHORTEST = 1e-6
"""Seconds that repetitions aim at where as few as possible are asked for."""


@dataclass(frozen=True)
class RandomModel:
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
    def shape(self) -> Dimensions:
        """The dimensions of the model."""
        return dimensions_of(self.config)

    @property
    def precision(self) -> str:
        """Of its weights as they are deployed."""
        return "packed" if is_ternary(self.config) else self.dtype

    @property
    def generates(self) -> bool:
        """Whether it is timed in prefill and decoding."""
        return self.shape.causal and not self.classifier


class Bench:
    """Times models and operations on this machine's processor, as profiles are timed.

    Args:
        seconds: time that the repetitions of a model at a point, or of an operation, aim at; 0 for as few as
            possible.
        clock: seconds, monotonic.
        time_limit: seconds of a repetition, beyond which a point is left out.

    Attributes:
        verdicts: how many times were steady, noisy, ...
    """

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.perf_counter, time_limit: float = 1e6
    ) -> None:
        grid = EfficiencyGrid(seconds=max(seconds, SHORTEST), time_limit=time_limit)
        self._session = Session([], grid, device="cpu", clock=clock)
        self.verdicts: Counter[str] = Counter()

    def passes(
        self,
        models: Sequence[RandomModel],
        points: Sequence[OperatingPoint],
        progress: Progress = silent,
    ) -> Iterator[Measured]:
        """Seconds of every model's passes at every point; all are in memory together, and take turns.

        Args:
            models: those that generate are timed in prefill and decoding, others as they classify.
            points: with the tokens to generate; those beyond a model's positions are left out.
            progress: is given the finished points.
        """
        timed = self.samples(models, points)
        for number, (model, point, samples) in enumerate(timed, 1):
            if not isinstance(samples, Unmeasured):
                yield from self._measured(model, point, samples)
            progress(number / len(models), len(points), "points")

    def samples(
        self, models: Sequence[RandomModel], points: Sequence[OperatingPoint]
    ) -> Iterator[tuple[RandomModel, OperatingPoint, list[Sample] | Unmeasured]]:
        """The repetitions of every model at every point, or why there are none; they take turns."""
        loaded = [self._built(model, number) for number, model in enumerate(models)]
        of = dict(zip((one.model for one in loaded), models, strict=True))

        def prepare(one: LoadedModel, point: OperatingPoint) -> Run:
            prepared = generation.prepared if of[one.model].generates else latency.prepared
            return prepared(self._session, one, point)

        for one, point, samples in self._session.time_grid(loaded, points, prepare):
            yield of[one.model], point, samples

    def _built(self, model: RandomModel, number: int) -> LoadedModel:
        """The model, as it is deployed on a processor."""
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

        made_by = AutoModelForCausalLM if model.generates else AutoModelForSequenceClassification
        torch.manual_seed(0)
        module = made_by.from_config(model.config, dtype=getattr(torch, model.dtype))
        module = deploy(module.eval())
        return LoadedModel(ModelUnderTest((str(number),), Path()), module, describe(module))

    def _measured(
        self, model: RandomModel, point: OperatingPoint, samples: Sequence[Sample]
    ) -> Iterator[Measured]:
        batch, length, decode = point
        steps = decode - 1
        # Time grows nearly linearly with the context, so that of the middle one is the mean.
        passes: dict[str, tuple[Pass, int, int]] = {"forward": ("classify", length, 1)}
        passes |= {"prefill": ("prefill", length, 1), "decode": ("decode", length + steps // 2, steps)}
        for part in samples[0]:
            phase, context, count = passes[part]
            seconds = self._settled([sample[part] for sample in samples]) / count
            yield Measured(ForwardPass(model.shape, model.precision, phase, batch, context), seconds)

    def _settled(self, seconds: Sequence[float]) -> float:
        found = Quantity.of_times(seconds)
        self.verdicts[found.verdict] += 1
        return found.value

    def operations(self, runs: Mapping[Key, Callable[[], object]]) -> dict[Key, float]:
        """Seconds of each operation; they take turns."""
        timed = {key: self._session.timed("operation", work) for key, work in runs.items()}
        found = {}
        with torch.inference_mode():
            for key, samples in self._session.time(timed).items():
                if not isinstance(samples, Unmeasured):
                    found[key] = self._settled([sample["operation"] for sample in samples])
        return found


def rotating(work: Callable[[Weight], object], weights: Sequence[Weight]) -> Callable[[], object]:
    """The same work with one weight after the other, so that none is found in the caches."""
    rest = itertools.cycle(weights)
    return lambda: work(next(rest))
