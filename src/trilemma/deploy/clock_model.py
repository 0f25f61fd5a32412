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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from trilemma.deploy.frequency import Place, Setting
from trilemma.errors import DeployError
from trilemma.profile.points import Point
from trilemma.profile.roofline import Roofline
from trilemma.profile.subject import ProfiledModel
from trilemma.records import Record


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

    @classmethod
    def usual(cls, watts: float, idle: float, highest: float) -> "Power":
        """Of a device of which only two powers are known, with a voltage curve of the usual shape.

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
                f"{watts:g} W under load and {idle:g} W idle are no powers of a device; the first is larger, "
                "and neither is negative"
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


_PHASES = {"ttft_ms": "prefill", "tpot_ms": "decode", "latency_ms": "classification"}
"""Phase of which a metric is the time; of one token in decoding."""


def estimated_places(
    records: Iterable[Record],
    subjects: Iterable[ProfiledModel],
    roofline: Roofline,
    power: Power,
    frequencies: Sequence[float],
    tokens: int,
) -> dict[Place, dict[str, list[Setting]]]:
    """Settings of each phase from times measured at the highest of the frequencies, marked as estimates.

    As much of a phase's time is taken to follow the clock as, under the roofline, its operations that
    arithmetic bounds take of the whole.

    Args:
        records: measured times.
        subjects: the models of which they are.
        roofline: of this machine.
        power: of the device.
        frequencies: in MHz.
        tokens: generated after each prompt.

    Returns:
        By model, batch and length the settings of each phase whose time was measured.

    Raises:
        ModelError: for a model of a family whose operations are not known.
        DeployError: for a precision in which this machine multiplies nothing.
    """
    from transformers import AutoConfig

    known = {
        name: (AutoConfig.from_pretrained(one.folder, local_files_only=True), one.precision)
        for one in subjects
        for name in one.names
    }
    found: dict[Place, dict[str, list[Setting]]] = {}
    for record in records:
        phase = _PHASES.get(record.metric)
        if phase is None or record.value is None or record.batch is None or record.length is None:
            continue
        config, precision = known[record.model]
        point = Point(record.batch, record.length)
        share = _compute_share(config, precision, roofline, phase, point, tokens)
        seconds = record.value / 1e3 * (tokens - 1 if phase == "decode" else 1)
        time = PhaseTime(memory=(1 - share) * seconds, compute=share * seconds)
        settings = estimated_settings(time, power, frequencies)
        found.setdefault(Place(record.model, *point), {})[phase] = settings
    return found


def _compute_share(
    config: Any, precision: str, roofline: Roofline, phase: str, point: Point, tokens: int
) -> float:
    from trilemma.profile import work

    if phase == "decode":
        cost = work.decode(config, precision, roofline, point, tokens)
    else:
        logits = 1 if phase == "prefill" else 0
        cost = work.prefill(config, precision, roofline, point, logits=logits)
    if cost.compute_share is None:
        raise DeployError(f"there is no estimate: {cost.note}; choose another dtype")
    return cost.compute_share


def _check_numbers(model: PhaseTime | Power) -> None:
    for field in fields(model):
        value = getattr(model, field.name)
        if not 0 <= value < math.inf:
            raise DeployError(f"{field.name} is {value:g}; give a number of at least 0")
