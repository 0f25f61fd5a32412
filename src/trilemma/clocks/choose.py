"""Which clock frequency to run at, by phase: within a slowdown, and within bounds on latency.

Choices rest on settings, each a frequency with the time and energy of one phase there: measured ones, or
those of :mod:`trilemma.clocks.model`, which stay marked as estimates. After "Investigating Energy Efficiency
and Performance Trade-offs in LLM Inference Across Tasks and DVFS Settings": prefill and decoding get
frequencies of their own.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from trilemma.errors import DeployError
from trilemma.statistics.intervals import Interval
from trilemma.units import parse_quantity, parse_slo

SLOWDOWN = 0.05
"""Share of time that may be added to each phase, where nothing else is asked for."""


@dataclass(frozen=True)
class Setting:
    """One phase of a batch at one frequency.

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
"""Settings of each phase: ``prefill`` and ``decode``, or ``classify``."""


@dataclass(frozen=True)
class FrequencyChoice:
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
        """Time of all phases."""
        return _seconds(self.settings)

    @property
    def joules(self) -> float:
        """Energy of all phases."""
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


def frequency_by_phase(phases: Phases, slowdown: float) -> FrequencyChoice:
    """The frequency of least energy for each phase, within a bounded slowdown of each.

    A frequency is allowed where T(f) <= (1 + ``slowdown``) T(f_max) holds for its phase. The best single
    frequency must keep all those bounds, so it never needs less energy than the choice by phase.

    Args:
        phases: settings of each phase.
        slowdown: share of time that may be added; 0.05 is 5%.

    Raises:
        DeployError: where a phase has no settings or two of one frequency, or the slowdown is negative.
    """
    if not 0 <= slowdown < math.inf:
        raise DeployError(f"a slowdown of {slowdown:g} is not a share of time; 0.05 allows 5% more")
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
    thriftiest = {
        name: min(settings.values(), key=lambda one: (one.joules, one.seconds))
        for name, settings in allowed.items()
    }
    return FrequencyChoice(
        settings=thriftiest,
        fastest=fastest,
        single=min(singles, key=_joules, default={}),
    )


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
    """The settings of least energy, one per phase, that together take at most ``seconds``; None for none.

    Args:
        phases: settings of each phase, at least one; one alone where the bound is on that phase.
        seconds: that all of them may take.
    """
    fronts = [pareto(settings) for settings in phases.values()]
    found = [
        dict(zip(phases, chosen, strict=True))
        for chosen in product(*fronts)
        if chosen[-1].seconds <= seconds - sum(one.seconds for one in chosen[:-1])
    ]
    return min(found, key=lambda each: (_joules(each), _seconds(each)), default=None)


def _joules(settings: Mapping[str, Setting]) -> float:
    return math.fsum(setting.joules for setting in settings.values())


def _seconds(settings: Mapping[str, Setting]) -> float:
    return math.fsum(setting.seconds for setting in settings.values())


class Bounds(NamedTuple):
    """What an answer may take, in seconds; None is no bound.

    Attributes:
        ttft: to the first token.
        tpot: for each further token.
        latency: until the whole batch is answered.
    """

    ttft: float | None = None
    tpot: float | None = None
    latency: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Bounds":
        """Read ``ttft=200ms,tpot=40ms``; "" is no bound.

        Raises:
            TrilemmaError: for another name, a name twice, or what is not a time.
        """
        found: dict[str, float] = {}
        for name, limit in parse_slo(text):
            if name not in cls._fields:
                raise DeployError(f"{name[:40]!r} is not a bound here; known: {', '.join(cls._fields)}")
            found[name] = parse_quantity(limit, "ms", name) / 1e3
            if not found[name]:
                raise DeployError(
                    f"{name}={limit} is not a bound that anything could meet; give a positive time"
                )
        return cls(**found)


@dataclass(frozen=True)
class ClockChoice:
    """What each phase should run at, and why.

    Attributes:
        settings: the chosen setting of each phase: within the bounds where there are any, else within the
            slowdown; empty where nothing meets the bounds.
        met: whether the bounds can be met.
        sentences: the choice in words.
    """

    settings: Mapping[str, Setting]
    met: bool
    sentences: tuple[str, ...]


def choose(
    phases: Phases, steps: int, slowdown: float = SLOWDOWN, bounds: Bounds | None = None
) -> ClockChoice:
    """What each phase should run at.

    Args:
        phases: settings of each phase.
        steps: tokens decoded after the first one.
        slowdown: share of time that may be added to each phase.
        bounds: that the answer must keep.

    Raises:
        DeployError: as :func:`frequency_by_phase`.
    """
    settings, sentence = _within_slowdown(phases, slowdown)
    if bounds is None or not any(bounds):
        return ClockChoice(settings, True, (sentence,))
    kept, within = _within_bounds(phases, bounds, steps)
    return ClockChoice(kept or {}, kept is not None, (sentence, within))


def _within_slowdown(phases: Phases, slowdown: float) -> tuple[Mapping[str, Setting], str]:
    choice = frequency_by_phase(phases, slowdown)
    estimate = ", estimate" if choice.estimate else ""
    within = (
        f"least energy{estimate} with at most {slowdown:.0%} more time: {clocks_in_words(choice.settings)}"
    )
    lowered = [name for name, one in choice.settings.items() if one != choice.fastest[name]]
    if not lowered:
        return choice.settings, f"{within}; no lower frequency saves energy within it"
    saved = f"saves {choice.saving:.0%} of the energy and adds {choice.slowdown:.1%} to the time"
    if len(choice.settings) > 1 and choice.single:
        single = 1 - _joules(choice.single) / _joules(choice.fastest)
        mhz = next(iter(choice.single.values())).mhz
        saved += f"; the best single frequency, {mhz:g} MHz, saves {single:.0%}"
    unsure = [
        name
        for name in lowered
        if _overlap(choice.settings[name].joules_interval, choice.fastest[name].joules_interval)
    ]
    if unsure:
        saved += f"; by their intervals, the energies of {' and '.join(unsure)} may be equal"
    return choice.settings, f"{within}; {saved}"


def _overlap(one: Interval | None, other: Interval | None) -> bool:
    return one is not None and other is not None and one.low <= other.high and other.low <= one.high


def _within_bounds(phases: Phases, bounds: Bounds, steps: int) -> tuple[Mapping[str, Setting] | None, str]:
    """The settings of least energy that meet all bounds, or None; and a sentence."""
    allowed = dict(phases)
    asked, missed = [], []
    for name, title, bound, times in (
        ("prefill", "TTFT", bounds.ttft, 1),
        ("decode", "TPOT", bounds.tpot, steps),
    ):
        if bound is None:
            continue
        asked.append(f"{title} at most {1e3 * bound:g} ms")
        if name not in phases:
            missed.append(f"no {title} was measured here")
            continue
        allowed[name] = [one for one in phases[name] if one.seconds <= bound * times]
        if not allowed[name]:
            missed.append(f"{title} is {_at_the_fastest({name: phases[name]}, times)}")
    if bounds.latency is not None:
        asked.append(f"latency at most {1e3 * bounds.latency:g} ms")
    best = None if missed else lowest_energy(allowed, math.inf if bounds.latency is None else bounds.latency)
    if best is None:
        reasons = missed or [f"latency is {_at_the_fastest(allowed, 1)}"]
        return None, f"no frequency meets {', '.join(asked)}: {'; '.join(reasons)}"
    estimate = ", estimate" if any(one.estimate for one in best.values()) else ""
    return best, f"least energy{estimate} with {', '.join(asked)}: {clocks_in_words(best)}"


def _at_the_fastest(phases: Phases, times: int) -> str:
    """What the fastest settings take, divided by ``times``."""
    fastest = {name: min(settings, key=lambda one: one.seconds) for name, settings in phases.items()}
    return f"{1e3 * _seconds(fastest) / times:.4g} ms at the fastest, {clocks_in_words(fastest)}"
