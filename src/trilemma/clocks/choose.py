"""Which clock frequency to run at: by phase, by class of query, by a bound on latency.

Choices rest on settings, each a frequency with the time and energy of one phase there: measured ones
(:func:`measured_settings`) or those of :mod:`trilemma.clocks.model`, which stay marked as estimates.
After "Investigating Energy Efficiency and Performance Trade-offs in LLM Inference Across Tasks and DVFS
Settings": prefill and decoding get frequencies of their own, and so do classes of queries.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trilemma.clocks.query_features import QueryClasses
from trilemma.errors import DeployError
from trilemma.records import Record
from trilemma.statistics import Interval


@dataclass(frozen=True)
class Setting:
    """One phase at one frequency.

    Attributes:
        mhz: clock frequency.
        seconds: time of the phase.
        joules: energy of the phase, idle power included, as the machine is on meanwhile.
        estimate: whether that is from a model and not measured.
        seconds_interval: 95% interval of the time, or None.
        joules_interval: 95% interval of the energy, or None.
    """

    mhz: float
    seconds: float
    joules: float
    estimate: bool = False
    seconds_interval: Interval | None = None
    joules_interval: Interval | None = None

    def __post_init__(self) -> None:
        for name in ("mhz", "seconds", "joules"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise DeployError(f"{name} of a setting is {value:g}; it must be a positive number")


Phases = Mapping[str, Sequence[Setting]]
"""Settings of each phase, ``prefill`` and ``decode``."""


@dataclass(frozen=True)
class Plan:
    """A frequency for each phase.

    Attributes:
        settings: the chosen setting of each phase.
        fastest: what each phase takes at the highest frequency.
        single: what each phase takes at the best frequency that is the same for all; empty where no
            single frequency keeps every phase's bound.
    """

    settings: Mapping[str, Setting]
    fastest: Mapping[str, Setting]
    single: Mapping[str, Setting]

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return _seconds(self.settings)

    @property
    def joules(self) -> float:
        """Of all phases."""
        return _joules(self.settings)

    @property
    def slowdown(self) -> float:
        """Share of time added to that at the highest frequency."""
        return self.seconds / _seconds(self.fastest) - 1

    @property
    def saving(self) -> float:
        """Share of the energy at the highest frequency that is saved."""
        return 1 - self.joules / _joules(self.fastest)

    @property
    def estimate(self) -> bool:
        """Whether anything in it is estimated."""
        return any(setting.estimate for setting in self.settings.values())


def _joules(settings: Mapping[str, Setting]) -> float:
    return math.fsum(setting.joules for setting in settings.values())


def frequency_by_phase(phases: Phases, slowdown: float) -> Plan:
    """The frequency of least energy for each phase, within a bounded slowdown of each.

    A frequency is allowed where T(f) <= (1 + ``slowdown``) T(f_max) holds for its phase. The best single
    frequency must hold all those bounds, hence never needs less energy than the plan.

    Args:
        phases: settings of each phase.
        slowdown: share of time that may be added; 0.05 is 5%.

    Raises:
        DeployError: where a phase has no settings or two of one frequency, or the slowdown is negative.
    """
    if not 0 <= slowdown < math.inf:
        raise DeployError(f"a slowdown of {slowdown:g} is no share of time; 0.05 allows 5% more")
    if not phases:
        raise DeployError("there is no phase to choose a frequency for; measure prefill or decoding")
    by_clock = {name: _by_clock(name, settings) for name, settings in phases.items()}
    fastest = {name: settings[max(settings)] for name, settings in by_clock.items()}
    allowed = {
        name: {
            mhz: one for mhz, one in settings.items() if one.seconds <= (1 + slowdown) * fastest[name].seconds
        }
        for name, settings in by_clock.items()
    }
    common = set.intersection(*(set(settings) for settings in allowed.values()))
    singles = [{name: settings[mhz] for name, settings in allowed.items()} for mhz in sorted(common)]
    return Plan(
        settings={name: min(settings.values(), key=_thrifty) for name, settings in allowed.items()},
        fastest=fastest,
        single=min(singles, key=_joules, default={}),
    )


def _thrifty(setting: Setting) -> tuple[float, float]:
    """Least energy first; of equal energies, least time."""
    return setting.joules, setting.seconds


def _by_clock(phase: str, settings: Sequence[Setting]) -> dict[float, Setting]:
    if not settings:
        raise DeployError(f"the phase {phase} has no settings; measure it at one frequency at least")
    by_clock = {setting.mhz: setting for setting in settings}
    if len(by_clock) < len(settings):
        raise DeployError(f"the phase {phase} has two settings of one frequency; give each one once")
    return by_clock


def clocks_in_words(settings: Mapping[str, Setting]) -> str:
    """``prefill at 1800 MHz, decode at 1200 MHz``."""
    return ", ".join(f"{name} at {one.mhz:g} MHz" for name, one in settings.items())


def pareto(settings: Iterable[Setting]) -> list[Setting]:
    """Settings than which no other is both as fast and as thrifty and better in one; fastest first."""
    front: list[Setting] = []
    for setting in sorted(settings, key=lambda one: (one.seconds, one.joules, one.mhz)):
        if not front or setting.joules < front[-1].joules:
            front.append(setting)
    return front


def lowest_energy(phases: Phases, seconds: float) -> dict[str, Setting] | None:
    """The settings of least energy, one a phase, that together take at most ``seconds``; None for none.

    Args:
        phases: settings of each phase, at least one; one alone where the bound is on that phase.
        seconds: that all of them may take.
    """
    fronts = [(name, pareto(settings)) for name, settings in phases.items()]

    def best(at: int, left: float) -> dict[str, Setting] | None:
        name, front = fronts[at]
        if at == len(fronts) - 1:
            # On a front, the slower the thriftier.
            place = bisect_right(front, left, key=lambda one: one.seconds)
            return {name: front[place - 1]} if place else None
        rests = ((one, best(at + 1, left - one.seconds)) for one in front)
        found = [{name: one, **rest} for one, rest in rests if rest is not None]
        return min(found, key=lambda each: (_joules(each), _seconds(each)), default=None)

    return best(0, seconds)


def _seconds(settings: Mapping[str, Setting]) -> float:
    return math.fsum(setting.seconds for setting in settings.values())


@dataclass(frozen=True)
class QueryPolicy:
    """A frequency for each phase of each class of queries.

    Attributes:
        classes: tells a query's class from its text.
        plans: by class.
    """

    classes: QueryClasses
    plans: Mapping[int, Plan]

    def frequency(self, query: str, phase: str) -> float:
        """The MHz at which to run a phase of a query."""
        return self.plans[self.classes.of(query)].settings[phase].mhz


def frequency_by_class(classes: QueryClasses, phases: Mapping[int, Phases], slowdown: float) -> QueryPolicy:
    """:func:`frequency_by_phase` for each class of queries.

    Args:
        classes: of queries.
        phases: by class, settings of each phase, for queries like those of the class.
        slowdown: share of time that may be added to each phase of each class.

    Raises:
        DeployError: as there, and where a class has no settings.
    """
    if missing := set(range(classes.count)) - set(phases):
        raise DeployError(
            f"class {min(missing)} of the queries has no settings; measure queries of each class"
        )
    plans = {number: frequency_by_phase(phases[number], slowdown) for number in range(classes.count)}
    return QueryPolicy(classes, plans)


class Place(NamedTuple):
    """What was measured where."""

    model: str
    batch: int
    length: int


_PHASES: dict[str, tuple[str, str, Callable[[Place], int]]] = {
    "prefill": ("ttft_ms", "gross_prefill_energy_j_per_token", lambda place: place.batch * place.length),
    "decode": ("tpot_ms", "gross_decode_energy_j_per_token", lambda place: place.batch),
    "classification": ("latency_ms", "gross_energy_j_per_example", lambda place: place.batch),
}
"""By phase: the time of a batch (of one step of it, in decoding), the energy of one token or example, and how
many are in the batch (the step)."""


def measured_settings(
    sweep: Mapping[float, Iterable[Record]], steps: int
) -> dict[Place, dict[str, list[Setting]]]:
    """Settings from records measured at several frequencies.

    Args:
        sweep: records of axis E, by the MHz they were measured at.
        steps: tokens decoded after the first, by which time and energy of decoding are multiplied.

    Returns:
        By model, batch and length the settings of each phase of which both time and energy were measured.
    """
    found: dict[Place, dict[str, list[Setting]]] = {}
    for mhz in sorted(sweep):
        values = {
            (Place(one.model, one.batch, one.length), one.metric): one
            for one in sweep[mhz]
            if one.batch is not None and one.length is not None and one.value is not None
        }
        for place in dict.fromkeys(place for place, _ in values):
            for phase, (time, energy, work) in _PHASES.items():
                timed, metered = values.get((place, time)), values.get((place, energy))
                if timed is not None and metered is not None:
                    times = steps if phase == "decode" else 1
                    seconds, seconds_interval = _times(timed, times / 1e3)
                    joules, joules_interval = _times(metered, times * work(place))
                    setting = Setting(
                        mhz,
                        seconds,
                        joules,
                        seconds_interval=seconds_interval,
                        joules_interval=joules_interval,
                    )
                    found.setdefault(place, {}).setdefault(phase, []).append(setting)
    return found


def _times(record: Record, factor: float) -> tuple[float, Interval | None]:
    """A multiple of a record's value and of its interval."""
    assert record.value is not None
    if record.low is None or record.high is None:
        return factor * record.value, None
    return factor * record.value, Interval(factor * record.low, factor * record.high)
