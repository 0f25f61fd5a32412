"""Energy of inference by phase and of fine-tuning, where the machine has a meter.

Without one every metric is not measured, with the reason. An estimate is another record, and only where
somebody has given the watts (:mod:`trilemma.profiling.derived`).

A window is the work repeated until the meter can be trusted over it. The energy of a phase is the median
over windows, which take turns between the models. From it the idle power times the window's time is
subtracted; the metrics whose names begin with ``gross_`` include it. Decoding alone cannot be repeated, as
its prompt must be read first: its energy is that of generating less that of reading the prompt, window by
window.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import NamedTuple

from trilemma.hardware import Unmeasured
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.meters import Meter, MeterError
from trilemma.metrics import Phase
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.measurements import latency
from trilemma.profiling.measurements.generation import generate
from trilemma.profiling.measurements.training import Steps, methods, trained, untrainable, with_labels
from trilemma.profiling.session import CROWDED, NOT_GENERATIVE, LoadedModel, Session, Value, Warm
from trilemma.profiling.timing import Median, Quantity, median, warm_up
from trilemma.records import Record

WINDOWS = 6
"""The fewest whose median has a 95% interval."""


class Part(NamedTuple):
    """A metric of one kind of work.

    Attributes:
        metric: joules per token or per example, idle power subtracted.
        phase: that it is recorded for.
        window: the work whose windows it comes from.
        less: work that is in those windows and is subtracted, or "".
        work: tokens or examples in one repetition.
    """

    metric: str
    phase: Phase
    window: str
    less: str
    work: Callable[[OperatingPoint], float]

    def values(self, net: Value, gross: Value) -> dict[str, Value]:
        """Both metrics, without idle power and with it."""
        return {self.metric: net, f"gross_{self.metric}": gross}


CLASSIFICATION = (Part("energy_j_per_example", "classify", "forward", "", lambda point: point.batch),)
GENERATION = (
    Part("energy_j_per_token", "prefill", "prefill", "", lambda point: point.tokens),
    Part(
        "energy_j_per_token",
        "decode",
        "generate",
        "prefill",
        lambda point: point.batch * (point.decode - 1),  # the last one is not fed back
    ),
    Part("energy_j_per_example", "generate", "generate", "", lambda point: point.batch),
)
TRAINING = (Part("energy_j_per_example", "train", "step", "", lambda point: point.batch),)


@dataclass(frozen=True)
class Work:
    """The kinds of work of one model at one point.

    Attributes:
        once: each is done once by a call; by name.
        seconds: that it takes.
    """

    once: Mapping[str, Callable[[], object]]
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Window:
    """One window's share for one repetition of the work: seconds, and joules by component."""

    seconds: float
    joules: Mapping[str, float]

    def __sub__(self, other: "Window") -> "Window":
        """What is in this window and not in the other."""
        joules = {name: value - other.joules[name] for name, value in self.joules.items()}
        return Window(self.seconds - other.seconds, joules)

    @property
    def gross(self) -> float:
        """Joules of all components."""
        return sum(self.joules.values())


Windows = list[dict[str, Window]]
"""Windows of the kinds of work of one model, turn by turn."""


def measure(session: Session) -> Iterator[Record]:
    """Idle power, and joules per token and per example of classification, prefill, decoding and training."""
    if not session.grid.energy:
        return
    meter = session.meter()
    if isinstance(meter, Unmeasured):
        yield from _absent(session, meter)
        return
    with closing(meter):
        session.classifiers()  # what is idle is a machine that holds the models
        idle = idle_power(meter, session.grid.seconds / WINDOWS)
        if idle.value <= 0:
            yield from _absent(session, Unmeasured(f"the meter ({meter.source}) stood still"))
            return
        for model in session.models:
            watts = Quantity(*idle, note=f"{meter.source}; before the measurement")
            yield from session.record(model, "idle_power_w", watts)
        yield from _Metering(session, meter, idle.value).records()


def idle_power(
    meter: Meter,
    seconds: float = 0.0,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> Median:
    """Watts of all components while nothing is done, with their interval over windows.

    Args:
        meter: what reads them.
        seconds: of a window; longer where the meter asks for it.
        sleep: does nothing for so many seconds.
        clock: seconds, monotonic.
    """
    watts = []
    for _ in range(WINDOWS):
        start, before = clock(), meter.read()
        sleep(max(seconds, meter.shortest))
        end, after = clock(), meter.read()
        watts.append((sum(after.values()) - sum(before.values())) / (end - start))
    return median(watts)


def _absent(session: Session, reason: Unmeasured) -> Iterator[Record]:
    """What holds for every point is said once per model."""
    for model in session.models:
        yield from session.record(model, "idle_power_w", reason)
        phases = session.phases(model)
        parts = [*CLASSIFICATION] if "classify" in phases else []
        parts += [*GENERATION] if "generate" in phases else []
        parts += [*TRAINING] if methods(session) and model.adaptations else []
        for part in parts:
            yield from session.record(model, part.metric, reason, phase=part.phase)


class _Metering:
    """The windows of all models, by one meter and over one idle power in watts."""

    def __init__(self, session: Session, meter: Meter, idle: float) -> None:
        self._session, self._meter, self._idle = session, meter, idle
        self._seconds = max(meter.shortest, session.grid.seconds / WINDOWS)
        grid = session.grid
        self._done = 0
        self._all = len(grid.points()) * 2 + len(grid.training_points()) * len(methods(session))

    def records(self) -> Iterator[Record]:
        """Every kind of work that the grid asks for."""
        session, points = self._session, self._session.grid.points()
        yield from self._grid(CLASSIFICATION, session.answering("classify"), points, self._forward)
        for method in methods(session):
            points = session.grid.training_points()
            for model in untrainable(session, method):
                reason = Unmeasured(model.untrainable)
                for point in points:
                    values = TRAINING[0].values(reason, reason)
                    yield from session.records(model, values, point=point, phase="train", adaptation=method)
            with Steps(session, method) as steps:
                prepare = partial(self._step, steps)
                yield from self._grid(TRAINING, trained(session, method), points, prepare, method)
        points = session.grid.points("generate")
        for model in session.not_generating():
            for point, part in product(points, GENERATION):
                values = part.values(NOT_GENERATIVE, NOT_GENERATIVE)
                yield from session.records(model, values, point=point, phase=part.phase)
        yield from self._grid(GENERATION, session.answering("generate"), points, self._generation)

    def _forward(self, loaded: LoadedModel, point: OperatingPoint) -> Work:
        return Work({"forward": latency.prepared(self._session, loaded, point)})

    def _generation(self, loaded: LoadedModel, point: OperatingPoint) -> Work:
        prompt = self._session.inputs(loaded, point)["input_ids"]
        kinds = {"prefill": 1, "generate": point.decode}
        # A window times its work as a whole: no waiting for the device in between.
        once = {name: partial(generate, loaded.module, prompt, n, lambda: 0.0) for name, n in kinds.items()}
        return Work(once)

    def _step(self, steps: Steps, loaded: LoadedModel, point: OperatingPoint) -> Work:
        batch = with_labels(self._session.inputs(loaded, point))
        return Work({"step": partial(steps.of(loaded), batch)})

    def _grid(
        self,
        parts: Sequence[Part],
        models: Sequence[LoadedModel],
        points: Sequence[OperatingPoint],
        prepare: Callable[[LoadedModel, OperatingPoint], Work],
        adaptation: str = "",
    ) -> Iterator[Record]:
        """Records of every model at every point, the models' windows in turn."""
        for point, begun in self._session.begin(models, points, prepare, self._settle):
            for loaded, windows in zip(models, self._windows(begun), strict=True):
                for part in parts:
                    values = self._values(part, point, windows)
                    yield from self._session.records(
                        loaded.model, values, point=point, phase=part.phase, adaptation=adaptation
                    )
            self._done += 1
            self._session.advance(self._done, self._all)

    def _settle(self, loaded: LoadedModel, work: Work) -> float:
        for name, once in work.once.items():
            if loaded.model.compiled:
                once()  # compiles for these shapes
            work.seconds[name] = warm_up(partial(self._timed, once), self._seconds)
        return max(work.seconds.values())

    def _timed(self, once: Callable[[], object]) -> Mapping[str, float]:
        start = self._session.stopwatch()
        once()
        return {"work": self._session.stopwatch() - start}

    def _windows(
        self, begun: Sequence[Warm[Work] | Unmeasured]
    ) -> list[list[dict[str, Window]] | Unmeasured]:
        """Windows of every model, or why there are none."""
        found: list[list[dict[str, Window]] | Unmeasured] = [
            one if isinstance(one, Unmeasured) else [] for one in begun
        ]
        for turn in range(WINDOWS):
            for index in [*range(turn % len(begun), len(begun)), *range(turn % len(begun))] if begun else []:
                warm, windows = begun[index], found[index]
                if isinstance(warm, Unmeasured) or isinstance(windows, Unmeasured):
                    continue
                try:
                    with memory_ceiling():
                        windows.append(self._window_of_each(warm.work))
                except OutOfMemoryError:
                    found[index] = CROWDED
                except MeterError as error:
                    found[index] = Unmeasured(str(error))
        return found

    def _window_of_each(self, work: Work) -> dict[str, Window]:
        times = {name: math.ceil(self._seconds / max(taken, 1e-9)) for name, taken in work.seconds.items()}
        return {name: self._window(once, times[name]) for name, once in work.once.items()}

    def _window(self, once: Callable[[], object], times: int) -> Window:
        if times > 1:
            once()  # the work is under way when the window opens
        start, before = self._session.stopwatch(), self._meter.read()
        for _ in range(times):
            once()
        end, after = self._session.stopwatch(), self._meter.read()
        if sum(after.values()) <= sum(before.values()):
            raise MeterError(f"the meter ({self._meter.source}) stood still for {end - start:.2g} s")
        return Window((end - start) / times, {name: (after[name] - before[name]) / times for name in after})

    def _values(
        self, part: Part, point: OperatingPoint, windows: Sequence[Mapping[str, Window]] | Unmeasured
    ) -> dict[str, Value]:
        if isinstance(windows, Unmeasured):
            return part.values(windows, windows)
        count = part.work(point)
        own = [one[part.window] - one[part.less] if part.less else one[part.window] for one in windows]
        gross = median([one.gross / count for one in own])
        net = median([(one.gross - self._idle * one.seconds) / count for one in own])
        components = [
            f"{name} {median([one.joules[name] / count for one in own]).value:.3g} J"
            for name in own[0].joules
        ]
        split = f" ({' + '.join(components)})" if len(components) > 1 else ""
        idle = f"{self._idle:.3g} W"
        values = part.values(
            Quantity(*net, note=f"{self._meter.source}; {idle} idle subtracted, taken as exact"),
            Quantity(*gross, note=f"{self._meter.source}{split}; idle power included"),
        )
        if net.value <= 0:
            values[part.metric] = Unmeasured(f"the work drew no more than the {idle} of the idle machine")
        if gross.value <= 0:
            reason = Unmeasured(f"no more energy in {part.window} than in {part.less} alone")
            values[f"gross_{part.metric}"] = reason
        return values
