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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trilemma.hardware import Unmeasured
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.meters import Meter, MeterError
from trilemma.metrics import Phase
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.measurements import latency
from trilemma.profiling.measurements.generation import generate
from trilemma.profiling.measurements.training import StepOf, steps_of, with_labels
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.session import CROWDED, LoadedModel, Session, Value, Warm
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


PARTS: dict[Phase, tuple[Part, ...]] = {
    "classify": (Part("energy_j_per_example", "classify", "forward", "", lambda point: point.batch),),
    "generate": (
        Part("energy_j_per_token", "prefill", "prefill", "", lambda point: point.tokens),
        Part(
            "energy_j_per_token",
            "decode",
            "generate",
            "prefill",
            lambda point: point.batch * (point.decode - 1),  # the last one is not fed back
        ),
        Part("energy_j_per_example", "generate", "generate", "", lambda point: point.batch),
    ),
    "train": (Part("energy_j_per_example", "train", "step", "", lambda point: point.batch),),
}
"""What is found from the work of a phase."""


@dataclass(frozen=True)
class MeteredWork:
    """The kinds of work of one model at one point.

    Attributes:
        once: each is done once by a call; by name.
        seconds: that it takes.
    """

    once: Mapping[str, Callable[[], object]]
    seconds: dict[str, float] = field(default_factory=dict)


Window = NDArray[np.float64]
"""A window's share for one repetition of the work: seconds, and joules of each component."""

Windows = list[dict[str, Window]]
"""Windows of the kinds of work of one model, turn by turn."""


@MEASUREMENTS.plugin(7)
def measure(session: Session) -> Iterator[Record]:
    """Idle power, and joules per token and per example of classification, prefill, decoding and training."""
    if not session.grid.energy:
        return
    meter = session.meter()
    if isinstance(meter, Unmeasured):
        yield from _absent(session, meter)
        return
    with closing(meter):
        session.loaded("classifier")  # what is idle is a machine that holds the models
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
        phases: list[Phase] = [*session.phases(model)]
        phases += ["train"] if session.methods and model.adaptations else []
        for part in (part for phase in phases for part in PARTS[phase]):
            yield from session.record(model, part.metric, reason, phase=part.phase)


class _Metering:
    """The windows of all models, by one meter and over one idle power in watts."""

    def __init__(self, session: Session, meter: Meter, idle: float) -> None:
        self._session, self._meter, self._idle = session, meter, idle
        self._components: list[str] = []
        self._seconds = max(meter.shortest, session.grid.seconds / WINDOWS)
        self._done = 0
        trained = len(session.grid.points("train")) * len(session.methods)
        self._all = len(session.grid.points()) * 2 + trained

    def records(self) -> Iterator[Record]:
        """Every kind of work that the grid asks for."""
        yield from self._grid("classify", self._forward)
        for method in self._session.methods:
            with steps_of(method) as step_of:
                yield from self._grid("train", partial(self._step, step_of), method)
        yield from self._grid("generate", self._generation)

    def _forward(self, loaded: LoadedModel, point: OperatingPoint) -> MeteredWork:
        return MeteredWork({"forward": latency.prepared(self._session, loaded, point)})

    def _generation(self, loaded: LoadedModel, point: OperatingPoint) -> MeteredWork:
        prompt = self._session.inputs(loaded, point)["input_ids"]
        kinds = {"prefill": 1, "generate": point.decode}
        # A window times its work as a whole: no waiting for the device in between.
        once = {name: partial(generate, loaded.module, prompt, n, lambda: 0.0) for name, n in kinds.items()}
        return MeteredWork(once)

    def _step(self, step_of: StepOf, loaded: LoadedModel, point: OperatingPoint) -> MeteredWork:
        batch = with_labels(self._session.inputs(loaded, point))
        return MeteredWork({"step": partial(step_of(loaded), batch)})

    def _grid(
        self, phase: Phase, prepare: Callable[[LoadedModel, OperatingPoint], MeteredWork], method: str = ""
    ) -> Iterator[Record]:
        """Records of every model at every point."""
        for model, point, windows in self._metered(phase, prepare, method):
            for part in PARTS[phase]:
                values = self._values(part, point, windows)
                yield from self._session.records(
                    model, values, point=point, phase=part.phase, adaptation=method
                )

    def _metered(
        self, phase: Phase, prepare: Callable[[LoadedModel, OperatingPoint], MeteredWork], method: str
    ) -> Iterator[tuple[ModelUnderTest, OperatingPoint, Windows | Unmeasured]]:
        """Windows of the models in turn, or why there are none; first of the models that are refused."""
        yield from self._session.refused(phase, method)
        models, points = self._session.working(phase, method), self._session.grid.points(phase)
        for point, begun in self._session.begin(models, points, prepare, self._settle):
            for loaded, windows in zip(models, self._windows(begun), strict=True):
                yield loaded.model, point, windows
            self._done += 1
            self._session.advance(self._done, self._all)

    def _settle(self, loaded: LoadedModel, work: MeteredWork) -> float:
        for name, once in work.once.items():
            if loaded.model.compiled:
                once()  # compiles for these shapes
            work.seconds[name] = warm_up(self._session.timed(name, once), self._seconds)
        return max(work.seconds.values())

    def _windows(self, begun: Sequence[Warm[MeteredWork] | Unmeasured]) -> list[Windows | Unmeasured]:
        """Windows of every model, or why there are none."""
        found: list[Windows | Unmeasured] = [one if isinstance(one, Unmeasured) else [] for one in begun]
        places = list(range(len(begun)))
        for _ in range(WINDOWS):
            for place in places:
                warm, windows = begun[place], found[place]
                if isinstance(warm, Unmeasured) or isinstance(windows, Unmeasured):
                    continue
                try:
                    with memory_ceiling():
                        windows.append({name: self._window(warm.work, name) for name in warm.work.once})
                except OutOfMemoryError:
                    found[place] = CROWDED
                except MeterError as error:
                    found[place] = Unmeasured(str(error))
            places = places[1:] + places[:1]
        return found

    def _window(self, work: MeteredWork, name: str) -> Window:
        once, times = work.once[name], math.ceil(self._seconds / max(work.seconds[name], 1e-9))
        if times > 1:
            once()  # the work is under way when the window opens
        start, before = self._session.stopwatch(), self._meter.read()
        for _ in range(times):
            once()
        end, after = self._session.stopwatch(), self._meter.read()
        if sum(after.values()) <= sum(before.values()):
            raise MeterError(f"the meter ({self._meter.source}) stood still for {end - start:.2g} s")
        self._components = list(after)
        joules = [after[name] - before[name] for name in after]
        return np.array([end - start, *joules]) / times

    def _values(self, part: Part, point: OperatingPoint, windows: Windows | Unmeasured) -> dict[str, Value]:
        """The metric without idle power, and with it."""
        net, gross = part.metric, f"gross_{part.metric}"
        if isinstance(windows, Unmeasured):
            return {net: windows, gross: windows}
        own = np.array([one[part.window] - (one[part.less] if part.less else 0.0) for one in windows])
        seconds, *joules = own.T / part.work(point)
        whole, idle, source = np.sum(joules, 0), f"{self._idle:.3g} W", self._meter.source
        over_idle, all_in = median((whole - self._idle * seconds).tolist()), median(whole.tolist())
        shares = [
            f"{name} {np.median(one):.3g} J" for name, one in zip(self._components, joules, strict=True)
        ]
        split = f" ({' + '.join(shares)})" if len(shares) > 1 else ""
        values: dict[str, Value] = {
            net: Quantity(*over_idle, note=f"{source}; {idle} idle subtracted, taken as exact"),
            gross: Quantity(*all_in, note=f"{source}{split}; idle power included"),
        }
        if over_idle.value <= 0:
            values[net] = Unmeasured(f"the work drew no more than the {idle} of the idle machine")
        if all_in.value <= 0:
            values[gross] = Unmeasured(f"no more energy in {part.window} than in {part.less} alone")
        return values
