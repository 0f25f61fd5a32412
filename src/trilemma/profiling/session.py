"""What measurements share: loaded models, points of the grid, interleaved timing, records."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch

from trilemma.errors import ModelError, TrilemmaError
from trilemma.hardware import Unmeasured
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.machine import Machine, default_device, hardware, versions
from trilemma.hardware.meter_sources import open_meter
from trilemma.hardware.meters import Meter
from trilemma.hardware.roofline import Found, find
from trilemma.metrics import METRICS, Phase
from trilemma.models.description import ModelDescription, describe, has_classifier, is_causal
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.boundary import Boundary
from trilemma.profiling.grid import AUTO, Answer, EfficiencyGrid
from trilemma.profiling.loading import load, put_in_form, read_configuration, weight_bytes
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.peaks import Peaks, peaks_by_process
from trilemma.profiling.timing import CACHE_SENSITIVE_SECONDS, Key, Quantity, Run, Sample, interleave, warm_up
from trilemma.progress import Progress, silent
from trilemma.records import FAKE_QUANTISED, INTERRUPTED, Record

CROWDED = Unmeasured("out of memory beside the other models at this point")

Kind = Literal["classifier", "trainable classifier", "language model"]

KINDS: dict[Phase, Kind] = {
    "classify": "classifier",
    "generate": "language model",
    "train": "trainable classifier",
}

Value = float | Quantity | Unmeasured
"""What a measurement found of a metric."""

T = TypeVar("T")


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, on the session's device."""

    model: ModelUnderTest
    module: Any
    description: ModelDescription


class Warm(NamedTuple, Generic[T]):
    """Work that is ready to be measured, and what one repetition took."""

    work: T
    seconds: float


class Session:
    """Several models under measurement.

    Args:
        models: of different shapes or forms.
        grid: batch sizes, lengths, repetitions and limits.
        device: torch device; by default the GPU where there is one.
        clock: seconds, monotonic.
        machine: with the rates of this one; by default they are measured, or read from the cache, when they
            are needed.
        meter: of energy; by default the machine's, opened when it is needed. Unmeasured for none.
        peaks: measures peak memory; by default in separate processes.

    Attributes:
        models, grid, clock: as given.
        device: torch device of everything that is measured.
    """

    def __init__(
        self,
        models: Sequence[ModelUnderTest],
        grid: EfficiencyGrid,
        *,
        device: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
        machine: Machine | None = None,
        meter: Meter | Unmeasured | None = None,
        peaks: Peaks = peaks_by_process,
    ) -> None:
        self.models = list(models)
        self.grid = grid
        self.device = device or default_device()
        self._cuda = torch.device(self.device).type == "cuda"
        self.clock = clock
        self.peaks = peaks
        self._machine, self._meter = machine, meter
        self._resident: dict[Kind, list[LoadedModel]] = {}
        self._absent: dict[tuple[ModelUnderTest, Kind], Unmeasured] = {}
        self._tried: set[Kind] = set()
        self._known: dict[ModelUnderTest, tuple[ModelDescription, Any]] = {}
        self._hardware = hardware(self.device)
        self._versions = versions()
        self._progress: Progress = silent
        self._finished, self._measurements = 0, 1

    def report_to(self, progress: Progress, finished: int, measurements: int) -> None:
        """Send what :meth:`advance` is given to ``progress``, as a part of all measurements."""
        self._progress, self._finished, self._measurements = progress, finished, measurements

    def advance(self, done: float, total: float) -> None:
        """Report how far the running measurement is."""
        self._progress(self._finished + done / max(total, 1), self._measurements, "measurements")

    # The models.

    def loaded(self, kind: Kind) -> list[LoadedModel]:
        """The models of one kind, and none of another kind beside them in memory.

        Args:
            kind: ``classifier``: with a new classification head of two outputs, in the form in which they
                answer, where transformers has one for them; ``trainable classifier``: the same as they are
                trained; ``language model``: the causal models with their language-model head, in the form in
                which they answer.
        """
        if kind not in self._resident:
            self.release()
            self._resident[kind] = []
            for model in self.models:
                absent = self._absent.get((model, kind)) or self._unfit(model, kind)
                if absent is None:
                    try:
                        with memory_ceiling():
                            self._resident[kind].append(self._load(model, kind))
                        continue
                    except OutOfMemoryError:
                        absent = Unmeasured("out of memory while it is loaded")
                    except Exception as error:  # whatever a model of unknown origin may raise
                        absent = failure(error)
                self._absent[model, kind] = absent
            self._tried.add(kind)
        return self._resident[kind]

    def _unfit(self, model: ModelUnderTest, kind: Kind) -> Unmeasured | None:
        """Why a model is not loaded as one of a kind, as its configuration says."""
        config = read_configuration(model)
        if kind == "language model":
            return None if is_causal(config) else Unmeasured("not a generative model")
        if has_classifier(config):
            return None
        return Unmeasured(f"transformers has no sequence classifier for the type {config.model_type}")

    def absent(self, model: ModelUnderTest, phase: Phase) -> Unmeasured | None:
        """Why a model is not in memory in the form that a phase needs; None where it can be."""
        if KINDS[phase] not in self._tried:
            self.loaded(KINDS[phase])
        return self._absent.get((model, KINDS[phase]))

    def drop_unloadable(self) -> Iterator[Record]:
        """Leave out the models that cannot be loaded, with a record of each that says why.

        Raises:
            ModelError: if none is left.
        """
        lost: dict[ModelUnderTest, str] = {}
        for model in self.models:
            try:
                self.describe(model)
            except ModelError as error:
                lost[model] = str(error)
        if lost and len(lost) == len(self.models):
            raise ModelError(next(iter(lost.values())))
        self.models = [model for model in self.models if model not in lost]
        what: dict[str, Any] = {"axis": "E", "metric": "parameters", "unit": "count", "basis": "counted"}
        for model, reason in lost.items():
            for name in model.names:
                yield Record(model=name, **what, status="failed", reason=reason)

    def working(self, phase: Phase, method: str = "") -> list[LoadedModel]:
        """The models that answer in a phase, or that an adaptation trains, in that form."""
        if phase == "train":
            asked = [model for model in self.models if model.adaptation(method) and not model.untrainable]
        else:
            asked = [model for model in self.models if phase in self.phases(model)]
        return [one for one in self.loaded(KINDS[phase]) if one.model in asked] if asked else []

    def refused(
        self, phase: Phase, method: str = ""
    ) -> Iterator[tuple[ModelUnderTest, OperatingPoint, Unmeasured]]:
        """The models that cannot do what the grid asks: load, generate, be trained; at every point."""
        asks_all = self.grid.decode > 0 and self.grid.phases != AUTO and phase in self.grid.phases
        for model in self.models:
            absent: Unmeasured | None = None
            if phase == "train" and model.adaptation(method) and model.untrainable:
                absent = Unmeasured(model.untrainable)
            elif (
                (phase == "train" and model.adaptation(method))
                or phase in self.phases(model)
                or (phase == "generate" and asks_all)
            ):
                absent = self.absent(model, phase)
            if absent is not None:
                for point in self.grid.points(phase):
                    yield model, point, absent

    @property
    def methods(self) -> list[str]:
        """By which adaptations models are trained here, each once; none where the grid has no training."""
        if self.grid.training is None:
            return []
        return list(dict.fromkeys(one.method for model in self.models for one in model.adaptations))

    def phases(self, model: ModelUnderTest) -> tuple[Answer, ...]:
        """In which phases a model is to answer here."""
        generates = self.describe(model).causal and self.grid.decode > 0
        if self.grid.phases == AUTO:
            return ("generate",) if generates else ("classify",)
        return tuple(phase for phase in self.grid.phases if phase == "classify" or generates)

    def describe(self, model: ModelUnderTest) -> ModelDescription:
        """Facts about a model in the form in which it answers: as a classifier, unless it only generates."""
        return self._known_of(model)[0]

    @property
    def _only_generates(self) -> bool:
        """Whether causal models do nothing but generate."""
        return self.grid.decode > 0 and self.grid.phases in (AUTO, ["generate"])

    def config(self, model: ModelUnderTest) -> Any:
        """The configuration of a model in that form."""
        return self._known_of(model)[1]

    def _known_of(self, model: ModelUnderTest) -> tuple[ModelDescription, Any]:
        if model not in self._known:
            self.loaded("classifier")
            causal = any(described.causal for described, _ in self._known.values())
            if model not in self._known or (self._only_generates and causal):
                self.loaded("language model")
            if model not in self._known:
                raise ModelError(self._absent[model, "classifier"].reason)
        return self._known[model]

    def precision(self, model: ModelUnderTest, phase: Phase = "") -> str:
        """In which precision a model is measured: packed where what is deployed is packed."""
        if phase == "train" and not model.untrainable:
            return model.dtype
        if model.precision != "deployed":
            return model.precision
        return "packed" if getattr(self.config(model), "packed", False) else model.dtype

    def release(self) -> None:
        """Drop the models from memory."""
        self._resident.clear()
        gc.collect()
        if self._cuda:
            torch.cuda.empty_cache()

    def _load(self, model: ModelUnderTest, kind: Kind) -> LoadedModel:
        module = load(model, self.device, generates=kind == "language model")
        plain = describe(module)
        if kind != "trainable classifier":
            put_in_form(module, model)
        # What torch has quantised is not a parameter any more.
        quantised = model.precision == "int8" and kind != "trainable classifier"
        description = replace(plain, weight_bytes=weight_bytes(module)) if quantised else describe(module)
        first = kind != "trainable classifier" and model not in self._known
        if first or (kind == "language model" and self._only_generates):
            self._known[model] = description, module.config
        return LoadedModel(model, module, description)

    # The machine.

    def rates(self, precisions: Sequence[str]) -> Found:
        """This machine with its rates in these precisions, as far as it has them."""
        if self._machine is not None:
            return Found(self._machine, "")
        return find(self.device, precisions)

    def meter(self) -> Meter | Unmeasured:
        """The meter of energy, or why there is none; whoever asks closes it."""
        return open_meter(self.device) if self._meter is None else self._meter

    def stopwatch(self) -> float:
        """The time once all work handed to the device is done."""
        if self._cuda:
            torch.cuda.synchronize(self.device)
        return self.clock()

    def timed(self, part: str, work: Callable[[], object]) -> Run:
        """Work that says how long it takes, as one part."""

        def run() -> Sample:
            start = self.stopwatch()
            work()
            return {part: self.stopwatch() - start}

        return run

    def inputs(self, loaded: LoadedModel, point: OperatingPoint) -> dict[str, torch.Tensor]:
        """:func:`random_inputs` on the session's device."""
        return random_inputs(loaded.module.config, point, self.device)

    # Timing.

    def time_phase(
        self, phase: Phase, prepare: Callable[[LoadedModel, OperatingPoint], Run], method: str = ""
    ) -> Iterator[tuple[ModelUnderTest, OperatingPoint, list[Sample] | Unmeasured]]:
        """:meth:`time_grid` of all models that the grid asks for a phase; first those that are refused."""
        yield from self.refused(phase, method)
        models, points = self.working(phase, method), self.grid.points(phase)
        for loaded, point, samples in self.time_grid(models, points, prepare):
            yield loaded.model, point, samples

    def time_grid(
        self,
        models: Sequence[LoadedModel],
        points: Sequence[OperatingPoint],
        prepare: Callable[[LoadedModel, OperatingPoint], Run],
    ) -> Iterator[tuple[LoadedModel, OperatingPoint, list[Sample] | Unmeasured]]:
        """Time work at every point, the models in turn.

        Args:
            models: what is timed.
            points: smallest first.
            prepare: makes the work of one model at one point; its run is called repeatedly.

        Yields:
            For every point and model its repetitions, or why there are none: beyond the model's
            positions, out of memory, over the time limit.
        """

        def settle(loaded: LoadedModel, run: Run) -> float:
            if loaded.model.compiled:
                run()  # compiles for these shapes
            return warm_up(run, self.grid.seconds)

        for index, (point, begun) in enumerate(self.begin(models, points, prepare, settle)):
            warm = {place: one for place, one in enumerate(begun) if not isinstance(one, Unmeasured)}
            samples = self._interleave(warm)
            for place, (loaded, one) in enumerate(zip(models, begun, strict=True)):
                yield loaded, point, one if isinstance(one, Unmeasured) else samples[place]
            self.advance(index + 1, len(points))

    def begin(
        self,
        models: Sequence[LoadedModel],
        points: Sequence[OperatingPoint],
        prepare: Callable[[LoadedModel, OperatingPoint], T],
        settle: Callable[[LoadedModel, T], float],
    ) -> Iterator[tuple[OperatingPoint, list[Warm[T] | Unmeasured]]]:
        """Bring the work of all models at one point after the other to where it can be measured.

        Args:
            models: of which it is.
            points: smallest first; larger ones are left out once one was too slow or did not fit.
            prepare: makes the work.
            settle: repeats it until it has settled; returns what one repetition took, in seconds.
        """
        boundaries = [Boundary(self.grid.time_limit) for _ in models]
        for point in points:
            pairs = zip(models, boundaries, strict=True)
            yield point, [self._begin(one, point, prepare, settle, boundary) for one, boundary in pairs]

    def _begin(
        self,
        loaded: LoadedModel,
        point: OperatingPoint,
        prepare: Callable[[LoadedModel, OperatingPoint], T],
        settle: Callable[[LoadedModel, T], float],
        boundary: Boundary,
    ) -> Warm[T] | Unmeasured:
        reason = beyond_positions(loaded.description, point) or boundary.refusal(point)
        if reason is not None:
            return Unmeasured(reason)
        try:
            with memory_ceiling():
                work = prepare(loaded, point)
                seconds = settle(loaded, work)
        except OutOfMemoryError:
            return Unmeasured(boundary.out_of_memory(point))
        except Exception as error:  # whatever a model of unknown origin may raise
            return failure(error)
        reason = boundary.passed(point, seconds)
        return Warm(work, seconds) if reason is None else Unmeasured(reason)

    def time(self, runs: Mapping[Key, Run]) -> Mapping[Key, list[Sample] | Unmeasured]:
        """Time work of any kind, the runs in turn, after it has settled."""
        warm = {key: Warm(run, warm_up(run, self.grid.seconds)) for key, run in runs.items()}
        return self._interleave(warm)

    def _interleave(self, warm: Mapping[Key, Warm[Run]]) -> Mapping[Key, list[Sample] | Unmeasured]:
        if not warm:
            return {}
        try:
            with memory_ceiling():
                return interleave(
                    {key: one.work for key, one in warm.items()},
                    most=self.grid.rounds,
                    seconds=self.grid.seconds,
                    untimed=frozenset(
                        key for key, one in warm.items() if one.seconds < CACHE_SENSITIVE_SECONDS
                    ),
                    clock=self.clock,
                )
        except OutOfMemoryError:
            return dict.fromkeys(warm, CROWDED)

    # Records.

    def record(
        self,
        model: ModelUnderTest,
        metric: str,
        value: Value,
        *,
        point: OperatingPoint | None = None,
        phase: Phase = "",
        adaptation: str = "",
        unit: str = "",
    ) -> Iterator[Record]:
        """One record for each name of the model.

        Args:
            model: of which the value is.
            metric: of :data:`trilemma.metrics.METRICS`, or a plug-in's.
            value: the number, or why there is none.
            point: where it was measured; None where the value does not depend on that.
            phase: what the model did; "" where the value belongs to no phase.
            adaptation: method by which it was trained.
            unit: of a plug-in's metric.

        Raises:
            TrilemmaError: for a metric that is not known, and has no unit.
        """
        known = METRICS.get(metric)
        if known is None and not unit:
            raise TrilemmaError(f"{metric!r} is not one of trilemma.metrics.METRICS; give its unit")
        description = self.describe(model)
        number = Quantity(value) if isinstance(value, float | int) else value
        exact = known is not None and known.exact
        flags: tuple[str, ...]
        if isinstance(number, Unmeasured):
            found: dict[str, Any] = {"status": "failed" if number.failed else "not measured"}
            found["reason"] = number.reason
            flags = (INTERRUPTED,) if number.interrupted else ()
        else:
            found = dict(vars(number))
            exact, flags = found.pop("counted") or exact, ()
        flags += (FAKE_QUANTISED,) if description.fake_quantised else ()
        place = {} if point is None else point._asdict() | {"decode": point.decode or None}
        for name in model.names:
            yield Record(
                model=name,
                arch=description.arch,
                parameters=description.parameters,
                adaptation=adaptation,
                precision=self.precision(model, phase),
                attention=model.attention,
                compiled=model.compiled,
                axis="E",
                metric=metric,
                phase=phase,
                unit=known.unit if known else unit,
                basis="counted" if exact else "measured",
                flags=flags,
                hardware=self._hardware,
                kernel=description.kernel,
                versions=self._versions,
                **place,
                **found,
            )

    def records(
        self,
        model: ModelUnderTest,
        values: Mapping[str, Value],
        *,
        point: OperatingPoint | None = None,
        phase: Phase = "",
        adaptation: str = "",
    ) -> Iterator[Record]:
        """:meth:`record` of several metrics of one phase."""
        for metric, value in values.items():
            yield from self.record(model, metric, value, point=point, phase=phase, adaptation=adaptation)


def failure(error: Exception) -> Unmeasured:
    """The outcome of work in which a model raised an error; the reason is one line."""
    if isinstance(error, TrilemmaError):  # a sentence
        return Unmeasured(str(error), failed=True)
    first = next(iter(str(error).strip().splitlines()), "")
    text = f"the model failed with {type(error).__name__}{f': {first[:200]}' if first else ''}"
    return Unmeasured(text, failed=True)


def beyond_positions(description: ModelDescription, point: OperatingPoint) -> str | None:
    """A reason where the model has too few positions for the point; the last token is not fed back."""
    limit, needed = description.max_length, point.length + max(0, point.decode - 1)
    return (
        None if limit is None or needed <= limit else f"the model has {limit} positions, {needed} are needed"
    )


def random_inputs(config: Any, point: OperatingPoint, device: str) -> dict[str, torch.Tensor]:
    """Random tokens, none of them padding, the same for models of one vocabulary.

    Args:
        config: of the model.
        point: batch and length.
        device: where to put them.

    Returns:
        ``input_ids`` and an ``attention_mask`` of ones, both [batch, length]. Encoder-decoders, which
        classify by the end-of-text token, get one, at the end.
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary: int = config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary - 1, (point.batch, point.length), generator=generator)
    if config.pad_token_id is not None:
        ids += ids >= config.pad_token_id
    if config.is_encoder_decoder and config.eos_token_id is not None:
        ids[ids == config.eos_token_id] = next(
            one for one in range(vocabulary) if one not in (config.eos_token_id, config.pad_token_id)
        )
        ids[:, -1] = config.eos_token_id
    return {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}
