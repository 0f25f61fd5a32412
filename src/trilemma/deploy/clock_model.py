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

from trilemma.deploy.frequency import Setting
from trilemma.errors import DeployError


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
        idle: watts that it draws whatever it does.
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

    def volts(self, mhz: float) -> float:
        """Supply voltage at a frequency."""
        return max(self.v_min, self.v_0 + self.v_1 * mhz)

    def watts(self, mhz: float) -> float:
        """Power under load at a frequency."""
        return self.idle + self.kappa * mhz * self.volts(mhz) ** 2


def seconds_at(time: PhaseTime, mhz: float, highest: float) -> float:
    """Time of a phase at ``mhz``, whose parts hold at the frequency ``highest``."""
    return time.memory + time.compute * highest / mhz + time.host


def estimated_settings(time: PhaseTime, power: Power, frequencies: Iterable[float]) -> list[Setting]:
    """Time and energy of a phase at each frequency, marked as estimates.

    Args:
        time: of the phase at the highest of the frequencies.
        power: of the device.
        frequencies: in MHz.

    Raises:
        DeployError: where there are none, or one is no positive number.
    """
    clocks = sorted(set(frequencies))
    if not clocks or clocks[0] <= 0 or not math.isfinite(clocks[-1]):
        raise DeployError("frequencies are positive numbers of MHz; give at least one")
    settings = []
    for mhz in clocks:
        seconds = seconds_at(time, mhz, clocks[-1])
        settings.append(Setting(mhz, seconds, power.watts(mhz) * seconds, estimate=True))
    return settings


def _check_numbers(model: PhaseTime | Power) -> None:
    for field in fields(model):
        value = getattr(model, field.name)
        if not 0 <= value < math.inf:
            raise DeployError(f"{field.name} is {value:g}; give a number of at least 0")
