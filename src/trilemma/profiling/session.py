"""What measurements share: loaded models, points of the grid, interleaved timing, records."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch

from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.machine import default_device, hardware, versions
from trilemma.models.loading import ModelDescription, describe
from trilemma.profiling.forms import load, put_in_form, weight_bytes
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.profiling.points import Boundary, Point, Unmeasured, grid_points
from trilemma.profiling.stability import warm_up
from trilemma.profiling.subject import ProfiledModel
from trilemma.profiling.timing import CACHE_SENSITIVE_SECONDS, Run, interleave
from trilemma.progress import Progress, silent
from trilemma.records import Record

NOT_GENERATIVE = "not a generative model"

Kind = Literal["classifier", "trainable classifier", "language model"]


@dataclass(frozen=True)
class Loaded:
    """A model in memory, on the session's device."""

    subject: ProfiledModel
    model: Any
    description: ModelDescription


class _Warm(NamedTuple):
    """Work that has been run, and what one repetition took."""

    run: Run
    seconds: float


Sample = Mapping[str, float]
"""Seconds of the named parts of one repetition."""


class Session:
    """Several models under measurement.

    Args:
        subjects: the models, of different shapes.
        grid: batch sizes, lengths, repetitions and limits.
        device: torch device; by default the GPU where there is one.
        clock: seconds, monotonic.

    Attributes:
        subjects, grid: as given.
        device: torch device of everything measured.
    """

    def __init__(
        self,
        subjects: Sequence[ProfiledModel],
        grid: EfficiencyGrid,
        *,
        device: str | None,
        clock: Callable[[], float],
    ) -> None:
        self.subjects = list(subjects)
        self.grid = grid
        self.device = device or default_device()
        self.clock = clock
        self._resident: dict[Kind, list[Loaded]] = {}
        self._descriptions: dict[str, ModelDescription] = {}
        self._hardware = hardware(self.device)
        self._versions = versions()
        self._progress: Progress = silent
        self._finished, self._measurements = 0, 1

    def report_to(self, progress: Progress, finished: int, measurements: int) -> None:
        """Send what :meth:`advance` is told to ``progress``, as part of all measurements."""
        self._progress, self._finished, self._measurements = progress, finished, measurements

    def advance(self, done: float, total: float) -> None:
        """Tell how far the running measurement is."""
        self._progress(self._finished + done / max(total, 1), self._measurements, "measurements")

    def points(self) -> list[Point]:
        """The grid of inference, smallest first."""
        return grid_points(self.grid.batch, self.grid.length)

    def training_points(self) -> list[Point]:
        """The grid of training, smallest first."""
        return grid_points(self.grid.training.batch, self.grid.training.length)

    def classifiers(self) -> list[Loaded]:
        """All models with a new classification head of two outputs, deployed: packed where they can be."""
        return self._load("classifier")

    def trainable(self) -> list[Loaded]:
        """The same as they are trained."""
        return self._load("trainable classifier")

    def language_models(self) -> list[Loaded]:
        """The causal models with their language-model head, deployed."""
        return self._load("language model")

    def describe(self, subject: ProfiledModel) -> ModelDescription:
        """Facts about a model, as a classifier."""
        if subject.name not in self._descriptions:
            self.classifiers()
        return self._descriptions[subject.name]

    def release(self) -> None:
        """Drop the models from memory."""
        self._resident.clear()
        gc.collect()
        if torch.device(self.device).type == "cuda":
            torch.cuda.empty_cache()

    def _load(self, kind: Kind) -> list[Loaded]:
        """Only one kind is in memory at a time."""
        if kind not in self._resident:
            self.release()
            subjects = self.subjects
            if kind == "language model":
                subjects = [subject for subject in subjects if self.describe(subject).causal]
                self.release()
            self._resident[kind] = [self._load_one(subject, kind) for subject in subjects]
        return self._resident[kind]

    def _load_one(self, subject: ProfiledModel, kind: Kind) -> Loaded:
        model = load(subject, self.device, generates=kind == "language model")
        plain = describe(model)
        if kind != "trainable classifier":
            put_in_form(model, subject)
        # What torch has quantised is no parameter any more.
        quantised = subject.form == "int8" and kind != "trainable classifier"
        description = replace(plain, weight_bytes=weight_bytes(model)) if quantised else describe(model)
        if kind == "classifier":
            self._descriptions[subject.name] = description
        return Loaded(subject, model, description)

    def inputs(self, loaded: Loaded, point: Point) -> dict[str, torch.Tensor]:
        """:func:`random_inputs` on the session's device."""
        return random_inputs(loaded.model.config, point, self.device)

    def stopwatch(self) -> float:
        """The time once all work handed to the device is done."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()

    def sweep(
        self,
        models: Sequence[Loaded],
        points: Sequence[Point],
        prepare: Callable[[Loaded, Point], Run],
        *,
        extra_positions: int = 0,
    ) -> Iterator[tuple[Loaded, Point, list[Sample] | Unmeasured]]:
        """Time work at every point, the models in turn.

        Args:
            models: what is timed.
            points: smallest first.
            prepare: makes the work of one model at one point; its run is called repeatedly.
            extra_positions: positions the work needs beyond the point's length.

        Yields:
            For every point and model its repetitions, or why there are none: beyond the model's
            positions, out of memory, over the time limit.
        """
        boundaries = {loaded.subject.name: Boundary(self.grid.time_limit) for loaded in models}
        for index, point in enumerate(points):
            begun = {
                loaded.subject.name: self._begin(
                    loaded, point, prepare, boundaries[loaded.subject.name], extra_positions
                )
                for loaded in models
            }
            runs = {name: outcome for name, outcome in begun.items() if not isinstance(outcome, Unmeasured)}
            samples = self._interleave(runs)
            for loaded in models:
                outcome = begun[loaded.subject.name]
                yield (
                    loaded,
                    point,
                    outcome if isinstance(outcome, Unmeasured) else samples[loaded.subject.name],
                )
            self.advance(index + 1, len(points))

    def _begin(
        self,
        loaded: Loaded,
        point: Point,
        prepare: Callable[[Loaded, Point], Run],
        boundary: Boundary,
        extra_positions: int,
    ) -> _Warm | Unmeasured:
        reason = beyond_positions(loaded.description, point, extra_positions) or boundary.refusal(point)
        if reason is not None:
            return Unmeasured(reason)
        try:
            with memory_ceiling():
                run = prepare(loaded, point)
                if loaded.subject.compiled:
                    run()  # compiles for these shapes
                seconds = warm_up(run, self.grid.seconds)
        except OutOfMemoryError:
            return Unmeasured(boundary.out_of_memory(point))
        except Exception as error:  # whatever a model of unknown origin may raise
            return Unmeasured(failure(error))
        reason = boundary.passed(point, seconds)
        return Unmeasured(reason) if reason is not None else _Warm(run, seconds)

    def _interleave(self, warm: Mapping[str, _Warm]) -> Mapping[str, list[Sample] | Unmeasured]:
        if not warm:
            return {}
        untimed = frozenset(name for name in warm if warm[name].seconds < CACHE_SENSITIVE_SECONDS)
        try:
            with memory_ceiling():
                return interleave(
                    {name: warm[name].run for name in warm},
                    most=self.grid.rounds,
                    seconds=self.grid.seconds,
                    untimed=untimed,
                    clock=self.clock,
                )
        except OutOfMemoryError:
            return dict.fromkeys(warm, Unmeasured("out of memory beside the other models at this point"))

    def record(
        self,
        subject: ProfiledModel,
        metric: str,
        unit: str,
        value: float | None,
        *,
        point: tuple[int | None, int | None] = (None, None),
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
        note: str = "",
        adaptation: str = "",
    ) -> Iterable[Record]:
        """One record for each name of the model.

        Args:
            subject: the model.
            metric: e.g. ``latency_ms``.
            unit: e.g. ``ms``.
            value: None where it was not measured.
            point: batch and length, None where the value does not depend on it.
            low: lower end of the 95% interval.
            high: upper end.
            n: repetitions.
            note: what a reader must know; ``not measured: <reason>`` where there is no value.
            adaptation: method that the value belongs to; empty where it holds for all.
        """
        description = self.describe(subject)
        for name in subject.names:
            yield Record(
                study="",
                model=name,
                arch=description.arch,
                parameters=description.parameters,
                adaptation=adaptation,
                task="",
                set="",
                seed=None,
                axis="E",
                metric=metric,
                batch=point[0],
                length=point[1],
                n=n,
                value=value,
                unit=unit,
                low=low,
                high=high,
                note=note,
                hardware=self._hardware,
                kernel=description.kernel,
                versions=self._versions,
            )

    def unmeasured(
        self,
        subject: ProfiledModel,
        metrics: Mapping[str, str],
        reason: str,
        point: tuple[int | None, int | None] = (None, None),
        adaptation: str = "",
    ) -> Iterable[Record]:
        """Records without value for several metrics (name to unit), with the reason."""
        note = f"not measured: {reason}"
        for metric, unit in metrics.items():
            yield from self.record(subject, metric, unit, None, point=point, note=note, adaptation=adaptation)


def failure(error: Exception) -> str:
    """The reason of a point at which a model raised an error: one line."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"the model failed with {type(error).__name__}{f': {first[:200]}' if first else ''}"


def beyond_positions(description: ModelDescription, point: Point, extra_positions: int = 0) -> str | None:
    """A reason where the model has too few positions for the point and ``extra_positions`` more."""
    limit, needed = description.max_length, point.length + extra_positions
    return (
        None if limit is None or needed <= limit else f"the model has {limit} positions, {needed} are needed"
    )


def random_inputs(config: Any, point: Point, device: str) -> dict[str, torch.Tensor]:
    """Random tokens, none of them padding, the same for models of one vocabulary.

    Args:
        config: of the model.
        point: batch and length.
        device: where to put them.

    Returns:
        ``input_ids`` and an ``attention_mask`` of ones, both [batch, length].
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary: int = config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary - 1, (point.batch, point.length), generator=generator)
    if config.pad_token_id is not None:
        ids += ids >= config.pad_token_id
    return {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}
