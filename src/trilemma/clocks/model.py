"""Time, power and energy of a phase over the clock frequency, from a few constants: an estimate.

After "Investigating Energy Efficiency and Performance Trade-offs in LLM Inference Across Tasks and DVFS
Settings", of which no formula is known. The model is the usual one (roofline terms, dynamic power of CMOS):
for a phase, with its time at the highest frequency split into what waits for memory, what computes and what
the host takes,

    T(f) = T_memory + T_compute f_max / f + T_host
    V(f) = max(V_min, v_0 + v_1 f)
    P(f) = P_idle + kappa f V(f)^2
    E(f) = P(f) T(f)

E is a sum of convex terms for f > 0, so it falls to one lowest point and rises from there; the larger the
share of T_compute, the higher the frequency of that point. What a real machine saves is not in here: a
published figure, that a clock 16 times lower costs 1 to 6% of time, leaves at most 0.4% of it to computing,
which no prefill has.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from trilemma.clocks.choose import Setting
from trilemma.errors import DeployError
from trilemma.statistics.intervals import Interval


@dataclass(frozen=True)
class PhaseTime:
    """Seconds of one phase at the highest frequency, by what they depend on.

    Attributes:
        memory: spent on moving bytes, whose clock is not changed.
        compute: spent on arithmetic, inversely proportional to the frequency.
        host: spent by the host, and on what else does not depend on it.
    """

    memory: float
    compute: float
    host: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.memory + self.compute + self.host <= 0:
            raise DeployError("a phase takes time; give seconds of memory, compute or host")


@dataclass(frozen=True)
class Power:
    """Power of a device over its frequency.

    Attributes:
        idle: watts that it draws when it does nothing.
        kappa: activity times capacitance, in watts per MHz and square volt.
        v_min: lowest voltage.
        v_0: voltage of the linear part at 0 MHz.
        v_1: its slope in volts per MHz.
    """

    idle: float
    kappa: float
    v_min: float
    v_0: float = 0.0
    v_1: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers(self)

    @classmethod
    def usual(cls, watts: float, idle: float, highest: float) -> "Power":
        """The power of a device of which only two values are known, with a voltage curve of the usual shape.

        The voltage, which counts in units of the highest, rises linearly with the frequency and does not fall
        below 0.7, which it reaches at half of the highest frequency.

        Args:
            watts: under load at the highest frequency, for instance the thermal design power.
            idle: watts of the idle device.
            highest: frequency in MHz.

        Raises:
            DeployError: where the device would draw less under load than idle.
        """
        if not 0 <= idle < watts < math.inf:
            raise DeployError(
                f"{watts:g} W under load and {idle:g} W idle are not powers of one device; the first is the "
                "larger one, and neither is negative"
            )
        return cls(idle, (watts - idle) / highest, v_min=0.7, v_0=0.4, v_1=0.6 / highest)

    def volts(self, mhz: float) -> float:
        """Supply voltage at a frequency."""
        return max(self.v_min, self.v_0 + self.v_1 * mhz)

    def watts(self, mhz: float) -> float:
        """Power under load at a frequency."""
        return self.idle + self.kappa * mhz * self.volts(mhz) ** 2


def seconds_at(time: PhaseTime, mhz: float, highest: float) -> float:
    """Time of a phase at ``mhz``, whose parts hold at the frequency ``highest``."""
    return time.memory + time.compute * highest / mhz + time.host


def estimated_settings(
    time: PhaseTime, power: Power, frequencies: Iterable[float], spread: Interval | None = None
) -> list[Setting]:
    """Time and energy of a phase at each frequency, marked as estimates.

    Args:
        time: of the phase at the highest of the frequencies.
        power: of the device.
        frequencies: in MHz.
        spread: 95% interval of that time; those at other frequencies are as wide in proportion.

    Raises:
        DeployError: where there are none, or one is not a positive number.
    """
    clocks = sorted(set(frequencies))
    if not clocks or clocks[0] <= 0 or not math.isfinite(clocks[-1]):
        raise DeployError("frequencies are positive numbers of MHz; give at least one")
    settings = []
    for mhz in clocks:
        seconds = seconds_at(time, mhz, clocks[-1])
        factor = seconds / seconds_at(time, clocks[-1], clocks[-1])
        within = None if spread is None else Interval(factor * spread.low, factor * spread.high)
        settings.append(Setting(mhz, seconds, power.watts(mhz) * seconds, True, within))
    return settings


def time_of(seconds: float, least_seconds: float, compute_share: float, *, host_follows: bool) -> PhaseTime:
    """What of a measured time waits for memory, and what follows the clock.

    Memory has the least time of the operations that it bounds, under the roofline. Arithmetic has that of the
    others, and on a processor all the rest: overheads are computed, too. On a GPU the rest is the host's,
    whose clock is another.

    Args:
        seconds: as measured, at the highest frequency.
        least_seconds: under the roofline.
        compute_share: share of that in operations that arithmetic bounds.
        host_follows: whether the host's time follows the clock: on a processor, whose clock it is.
    """
    least = min(least_seconds, seconds)
    memory, compute = (1 - compute_share) * least, compute_share * least
    if host_follows:
        return PhaseTime(memory, seconds - memory)
    return PhaseTime(memory, compute, seconds - least)


def _check_numbers(model: PhaseTime | Power) -> None:
    for field in fields(model):
        value = getattr(model, field.name)
        if not 0 <= value < math.inf:
            raise DeployError(f"{field.name} is {value:g}; give a number of at least 0")
