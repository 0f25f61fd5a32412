"""Energy of inference by phase and of fine-tuning, where the machine has a meter.

Without one every metric is "not measured", with the reason. An estimate is another metric, and only where
somebody has given the watts (:mod:`trilemma.profiling.energy_estimates`).

A window is the work repeated until the meter can be trusted over it. The energy of a phase is the median
over windows, which take turns between the models. From it the idle power times the window's time is
subtracted; with it the metric's name begins with ``gross_``. Decoding alone cannot be repeated, as its prompt
must be read first: its energy is that of generating less that of reading the prompt, window by window.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.meter_sources import open_meter
from trilemma.hardware.meters import Meter, MeterError
from trilemma.profiling.measurements import latency
from trilemma.profiling.measurements.generation import generate
from trilemma.profiling.measurements.training import TrainingStep, with_labels
from trilemma.profiling.points import Boundary, Point, Unmeasured
from trilemma.profiling.session import NOT_GENERATIVE, Loaded, Session, beyond_positions, failure
from trilemma.profiling.stability import warm_up
from trilemma.profiling.timing import Median, median
from trilemma.records import Record

WINDOWS = 6  # the fewest whose median has a 95% interval
JOULES, WATTS = "J", "W"


class Part(NamedTuple):
    """A metric of one kind of work.

    Attributes:
        metric: joules a token or an example, idle power subtracted.
        window: the work whose windows it comes from.
        less: work that is in those windows and is subtracted, or "".
        work: tokens or examples in one repetition.
    """

    metric: str
    window: str
    less: str
    work: Callable[[Session, Point], float]


CLASSIFICATION = (Part("energy_j_per_example", "forward", "", lambda session, point: point.batch),)
GENERATION = (
    Part("prefill_energy_j_per_token", "prefill", "", lambda session, point: point.tokens),
    Part(
        "decode_energy_j_per_token",
        "generate",
        "prefill",
        lambda session, point: point.batch * (session.grid.decode - 1),  # the last one is not fed back
    ),
    Part("generation_energy_j_per_example", "generate", "", lambda session, point: point.batch),
)
TRAINING = (Part("training_energy_j_per_example", "step", "", lambda session, point: point.batch),)

Work = Mapping[str, Callable[[], object]]
"""The kinds of work of one model at one point, by name; each is done once by a call."""


def units(parts: Iterable[Part]) -> dict[str, str]:
    """Metrics and their unit, net and gross."""
    return {name: JOULES for part in parts for name in (part.metric, f"gross_{part.metric}")}


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


KINDS = ("classification", "training", "generation")
"""Of work."""


def measure(session: Session, kinds: Collection[str] = KINDS) -> Iterator[Record]:
    """Idle power, and joules a token and an example of classification, prefill, decoding and training.

    Args:
        session: models and points.
        kinds: of work that is metered, of :data:`KINDS`.
    """
    meter = open_meter(session.device)
    if isinstance(meter, Unmeasured):
        yield from _absent(session, meter.reason, kinds)
    else:
        with closing(meter):
            yield from measure_with(session, meter, kinds)


def measure_with(session: Session, meter: Meter, kinds: Collection[str] = KINDS) -> Iterator[Record]:
    """The same by a meter of the caller's, for instance one at the socket; it is left open."""
    session.classifiers()  # what is idle is a machine that holds the models
    idle = idle_power(meter, session.grid.seconds / WINDOWS)
    if idle.value <= 0:
        yield from _absent(session, f"the meter ({meter.source}) stood still", kinds)
        return
    for subject in session.subjects:
        yield from session.record(
            subject,
            "idle_power_w",
            WATTS,
            idle.value,
            low=idle.low,
            high=idle.high,
            n=idle.n,
            note=f"{meter.source}; before the measurement",
        )
    metering = _Metering(session, meter, idle.value, kinds)
    points = session.points()
    if "classification" in kinds:
        yield from metering.sweep(CLASSIFICATION, session.classifiers(), points, partial(_forward, session))
    if "training" in kinds:
        yield from _training(metering)
    if "generation" in kinds and session.grid.decode:
        models = session.language_models()
        extra = session.grid.decode - 1
        yield from _not_generative(session, models)
        yield from metering.sweep(GENERATION, models, points, partial(_generation, session), extra=extra)


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


def _absent(session: Session, reason: str, kinds: Collection[str]) -> Iterator[Record]:
    """What holds for every point is said once a model."""
    generation = GENERATION if session.grid.decode else ()
    known = {"classification": CLASSIFICATION, "training": TRAINING, "generation": generation}
    parts = [part for kind in kinds for part in known[kind]]
    for subject in session.subjects:
        names = {"idle_power_w": WATTS} | {part.metric: JOULES for part in parts}
        yield from session.unmeasured(subject, names, reason)


def _not_generative(session: Session, models: Sequence[Loaded]) -> Iterator[Record]:
    generative = {loaded.subject for loaded in models}
    for subject in session.subjects:
        if subject not in generative:
            for point in session.points():
                yield from session.unmeasured(subject, units(GENERATION), NOT_GENERATIVE, point)


def _forward(session: Session, loaded: Loaded, point: Point) -> Work:
    return {"forward": latency.prepared(session, loaded, point)}


def _generation(session: Session, loaded: Loaded, point: Point) -> Work:
    prompt = session.inputs(loaded, point)["input_ids"]
    kinds = {"prefill": 1, "generate": session.grid.decode}
    return {name: partial(generate, loaded.model, prompt, n, _unwatched) for name, n in kinds.items()}


def _unwatched() -> float:
    """For work that a window times as a whole: no waiting for the device in between."""
    return 0.0


def _training(metering: "_Metering") -> Iterator[Record]:
    session = metering.session
    for method in _methods(session):
        steps: dict[str, TrainingStep] = {}
        asked = [loaded for loaded in session.trainable() if loaded.subject.adaptation(method)]
        models = [loaded for loaded in asked if loaded.subject.trains]
        for loaded in asked:
            for point in session.training_points() if loaded not in models else []:
                reason = loaded.subject.untrained
                yield from session.unmeasured(loaded.subject, units(TRAINING), reason, point, method)
        prepare = partial(_step, session, method, steps)
        yield from metering.sweep(TRAINING, models, session.training_points(), prepare, adaptation=method)
        for step in steps.values():
            step.finish()


def _methods(session: Session) -> list[str]:
    """By which models are adapted, each once."""
    return list(dict.fromkeys(one.method for subject in session.subjects for one in subject.adaptations))


def _step(
    session: Session, method: str, steps: dict[str, TrainingStep], loaded: Loaded, point: Point
) -> Work:
    settings = loaded.subject.adaptation(method)
    assert settings is not None
    if loaded.subject.name not in steps:
        steps[loaded.subject.name] = TrainingStep(loaded.model, settings)
    batch = with_labels(session.inputs(loaded, point))
    return {"step": partial(steps[loaded.subject.name], batch)}


class _Warm(NamedTuple):
    """Work that has been done, and how often each kind of it fills a window."""

    work: Work
    times: Mapping[str, int]


class _Metering:
    """The windows of all models, by one meter and over one idle power in watts."""

    def __init__(self, session: Session, meter: Meter, idle: float, kinds: Collection[str]) -> None:
        self.session, self._meter, self._idle = session, meter, idle
        self._seconds = max(meter.shortest, session.grid.seconds / WINDOWS)
        points = {
            "classification": len(session.points()),
            "training": len(session.training_points()) * len(_methods(session)),
            "generation": len(session.points()) if session.grid.decode else 0,
        }
        self._done, self._all = 0, sum(points[kind] for kind in kinds)

    def sweep(
        self,
        parts: Sequence[Part],
        models: Sequence[Loaded],
        points: Sequence[Point],
        prepare: Callable[[Loaded, Point], Work],
        *,
        extra: int = 0,
        adaptation: str = "",
    ) -> Iterator[Record]:
        """Records of every model at every point, the models' windows in turn."""
        boundaries = {loaded.subject.name: Boundary(self.session.grid.time_limit) for loaded in models}
        for point in points:
            begun = [self._begin(one, point, prepare, boundaries[one.subject.name], extra) for one in models]
            for loaded, outcome in zip(models, self._windows(begun), strict=True):
                if isinstance(outcome, Unmeasured):
                    yield from self.session.unmeasured(
                        loaded.subject, units(parts), outcome.reason, point, adaptation
                    )
                    continue
                for part in parts:
                    yield from self._records(part, loaded, point, outcome, adaptation)
            self._done += 1
            self.session.advance(self._done, self._all)

    def _begin(
        self,
        loaded: Loaded,
        point: Point,
        prepare: Callable[[Loaded, Point], Work],
        boundary: Boundary,
        extra: int,
    ) -> _Warm | Unmeasured:
        reason = beyond_positions(loaded.description, point, extra) or boundary.refusal(point)
        if reason is not None:
            return Unmeasured(reason)
        try:
            with memory_ceiling():
                work = prepare(loaded, point)
                if loaded.subject.compiled:
                    for once in work.values():
                        once()  # compiles for these shapes
                runs = {name: partial(self._timed, once) for name, once in work.items()}
                taken = {name: warm_up(run, self._seconds) for name, run in runs.items()}
        except OutOfMemoryError:
            return Unmeasured(boundary.out_of_memory(point))
        except Exception as error:  # whatever a model of unknown origin may raise
            return Unmeasured(failure(error))
        reason = boundary.passed(point, max(taken.values()))
        times = {name: math.ceil(self._seconds / max(seconds, 1e-9)) for name, seconds in taken.items()}
        return _Warm(work, times) if reason is None else Unmeasured(reason)

    def _timed(self, once: Callable[[], object]) -> Mapping[str, float]:
        start = self.session.stopwatch()
        once()
        return {"work": self.session.stopwatch() - start}

    def _windows(self, begun: Sequence[_Warm | Unmeasured]) -> list[list[dict[str, Window]] | Unmeasured]:
        """Windows of every model, or why there are none."""
        found: list[list[dict[str, Window]] | Unmeasured] = [
            outcome if isinstance(outcome, Unmeasured) else [] for outcome in begun
        ]
        for turn in range(WINDOWS):
            for index in [*range(turn % len(begun), len(begun)), *range(turn % len(begun))] if begun else []:
                warm, windows = begun[index], found[index]
                if isinstance(warm, Unmeasured) or isinstance(windows, Unmeasured):
                    continue
                try:
                    with memory_ceiling():
                        windows.append(
                            {name: self._window(once, warm.times[name]) for name, once in warm.work.items()}
                        )
                except OutOfMemoryError:
                    found[index] = Unmeasured("out of memory beside the other models at this point")
                except MeterError as error:
                    found[index] = Unmeasured(str(error))
        return found

    def _window(self, once: Callable[[], object], times: int) -> Window:
        if times > 1:
            once()  # the work is under way when the window opens
        start, before = self.session.stopwatch(), self._meter.read()
        for _ in range(times):
            once()
        end, after = self.session.stopwatch(), self._meter.read()
        if sum(after.values()) <= sum(before.values()):
            raise MeterError(f"the meter ({self._meter.source}) stood still for {end - start:.2g} s")
        return Window((end - start) / times, {name: (after[name] - before[name]) / times for name in after})

    def _records(
        self,
        part: Part,
        loaded: Loaded,
        point: Point,
        windows: Sequence[Mapping[str, Window]],
        adaptation: str,
    ) -> Iterator[Record]:
        work = part.work(self.session, point)
        own = [one[part.window] - one[part.less] if part.less else one[part.window] for one in windows]
        gross = median([one.gross / work for one in own])
        net = median([(one.gross - self._idle * one.seconds) / work for one in own])
        components = [
            f"{name} {median([one.joules[name] / work for one in own]).value:.3g} J" for name in own[0].joules
        ]
        split = f" ({' + '.join(components)})" if len(components) > 1 else ""
        notes = {
            part.metric: f"{self._meter.source}; {self._idle:.3g} W idle subtracted, taken as exact",
            f"gross_{part.metric}": f"{self._meter.source}{split}; idle power included",
        }
        for (metric, note), value in zip(notes.items(), (net, gross), strict=True):
            if value.value <= 0:
                reason = f"the work drew no more than the {self._idle:.3g} W of the idle machine"
                if value is gross:
                    reason = f"no more energy in {part.window} than in {part.less} alone"
                yield from self.session.unmeasured(
                    loaded.subject, {metric: JOULES}, reason, point, adaptation
                )
                continue
            yield from self.session.record(
                loaded.subject,
                metric,
                JOULES,
                value.value,
                point=point,
                low=value.low,
                high=value.high,
                n=value.n,
                note=note,
                adaptation=adaptation,
            )
