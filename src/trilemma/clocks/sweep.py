"""Time and energy of each phase at several clock frequencies, from records: measured, or estimated.

A measured sweep profiles the models once at each frequency, with the clocks set. An estimate profiles them
once, at the clocks as they are, and follows the roofline and a given power from there; it touches no clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from trilemma.clocks import control
from trilemma.clocks.choose import Phases, Setting
from trilemma.clocks.model import Power, estimated_settings, time_of
from trilemma.clocks.settings import Clocks
from trilemma.errors import DeployError, ModelError
from trilemma.operating_point import OperatingPoint
from trilemma.records import Record
from trilemma.statistics.intervals import Interval

if TYPE_CHECKING:
    from trilemma.hardware.machine import Machine
    from trilemma.profiling.cost import Pass
    from trilemma.profiling.models import ModelUnderTest

TIMED = ("latency", "generation")
"""Measurements of time, which an estimate needs."""

METERED = (*TIMED, "energy")
"""Measurements that a measured sweep needs."""

OFF = 0.05
"""Share by which a clock may differ from what was asked for, or is taken for it, without a remark."""

ESTIMATED = (
    "estimates: times were measured at the clocks as they are, taken as the highest frequency; the others "
    "follow from the roofline and the given watts; the clocks were not touched"
)

_TIMES = {"prefill": "ttft_ms", "decode": "tpot_ms", "classify": "latency_ms"}
"""Metric of a phase's time; that of one token in decoding."""

_ENERGIES = {
    "prefill": "gross_energy_j_per_token",
    "decode": "gross_energy_j_per_token",
    "classify": "gross_energy_j_per_example",
}
"""Metric of a phase's energy, idle power included: the machine is on meanwhile."""


class Place(NamedTuple):
    """Where a phase was measured: model, form and operating point.

    Attributes:
        model: its name.
        point: batch, length and tokens generated.
        form: precision and attention implementation, where models were measured in several.
    """

    model: str
    point: OperatingPoint
    form: str = ""

    @property
    def name(self) -> str:
        """The model in its form."""
        return " ".join(filter(None, [self.model, self.form]))


Swept = tuple[dict[Place, Phases], list[str]]
"""Settings of each phase by place; and what a reader should know: how they were found, what is lacking."""


def measured(
    profile: Callable[[], Sequence[Record]],
    clocks: Clocks,
    frequencies: Sequence[int],
    decode: int,
    *,
    allow: bool,
    folder: Path | None = None,
) -> Swept:
    """Profile at each frequency; the clocks are given back.

    Args:
        profile: takes the measurements :data:`METERED` of the models at the clocks as they are set.
        clocks: of what the models run on.
        frequencies: in MHz, among those available.
        decode: tokens generated after each prompt.
        allow: whether the clocks may be changed.
        folder: of the journal, see :mod:`trilemma.clocks.control`.

    Raises:
        ClockError: where the clocks may not or cannot be changed.
    """
    swept = control.sweep(clocks, frequencies, lambda mhz: profile(), allow=allow, folder=folder)
    remarks = [
        f"at {one.mhz} MHz the clock was {one.observed:.0f} MHz: something else decided"
        for one in swept
        if one.observed is not None and abs(one.observed / one.mhz - 1) > OFF
    ]
    found: dict[Place, dict[str, list[Setting]]] = {}
    for one in sorted(swept, key=lambda each: each.mhz):
        times, energies = (_phases(one.result, decode, metrics) for metrics in (_TIMES, _ENERGIES))
        for (place, phase), record in energies.items():
            if (timed := times.get((place, phase))) is None:
                continue
            steps = decode - 1 if phase == "decode" else 1
            parts = place.point.tokens if phase == "prefill" else place.point.batch
            seconds, seconds_interval = _times(timed, steps / 1e3)
            joules, joules_interval = _times(record, steps * parts)
            setting = Setting(one.mhz, seconds, joules, False, seconds_interval, joules_interval)
            found.setdefault(place, {}).setdefault(phase, []).append(setting)
    lacking = _lacking([record for one in swept for record in one.result], (_TIMES, _ENERGIES))
    return _of_answers(found), [*remarks, *lacking]


def estimated(
    records: Sequence[Record],
    models: "Sequence[ModelUnderTest]",
    machine: "Machine",
    power: Power,
    frequencies: Sequence[float],
    decode: int,
    *,
    host_follows: bool,
) -> Swept:
    """Settings from times that were measured at the clocks as they are, taken as the highest frequency.

    Args:
        records: of the measurements :data:`TIMED`.
        models: that were measured.
        machine: this one, with its rates.
        power: of the device.
        frequencies: in MHz.
        decode: tokens generated after each prompt.
        host_follows: whether the host's time follows the clock: on a processor, whose clock it is.

    Raises:
        DeployError: for a precision in which this machine multiplies nothing.
    """
    from trilemma.profiling.cost import cost_of

    configs, remarks = _configurations(models)
    found: dict[Place, dict[str, list[Setting]]] = {}
    for (place, phase), record in _phases(records, decode, _TIMES).items():
        if place.model not in configs:
            continue
        cost = cost_of(configs[place.model], record.precision, machine, cast("Pass", phase), place.point)
        if cost.compute_share is None or cost.least_seconds is None:
            raise DeployError(f"there is no estimate: {cost.note}; choose another precision")
        seconds, spread = _times(record, (decode - 1 if phase == "decode" else 1) / 1e3)
        time = time_of(seconds, cost.least_seconds, cost.compute_share, host_follows=host_follows)
        found.setdefault(place, {})[phase] = estimated_settings(time, power, frequencies, spread)
    return _of_answers(found), [ESTIMATED, *remarks, *_lacking(records, (_TIMES,))]


def _configurations(models: "Sequence[ModelUnderTest]") -> tuple[dict[str, Any], list[str]]:
    """Configurations of the models whose operations are known, by name; sentences about the others."""
    from transformers import AutoConfig

    from trilemma.profiling.operations import dimensions_of

    found: dict[str, Any] = {}
    remarks: dict[str, None] = {}
    for one in models:
        config = AutoConfig.from_pretrained(
            one.folder, local_files_only=True, trust_remote_code=one.trust_remote_code
        )
        try:
            dimensions_of(config)
        except ModelError as error:
            remarks[f"{one.name} is left out: {error}"] = None
        else:
            found |= dict.fromkeys(one.names, config)
    return found, list(remarks)


def _phases(
    records: Sequence[Record], decode: int, metrics: Mapping[str, str]
) -> dict[tuple[Place, str], Record]:
    """The records with a measured value of each phase's metric, by place and phase."""
    forms = ("precision", "attention")
    told_apart = [name for name in forms if len({getattr(one, name) for one in records}) > 1]
    found: dict[tuple[Place, str], Record] = {}
    for one in records:
        measured = one.value is not None and one.basis == "measured" and metrics.get(one.phase) == one.metric
        if measured and one.batch is not None and one.length is not None:
            form = " ".join(filter(None, (getattr(one, name) for name in told_apart)))
            point = OperatingPoint(one.batch, one.length, 0 if one.phase == "classify" else decode)
            found[Place(one.model, point, form), one.phase] = one
    return found


def _times(record: Record, factor: float) -> tuple[float, Interval | None]:
    """A multiple of a record's value and of its interval."""
    assert record.value is not None
    if record.low is None or record.high is None:
        return factor * record.value, None
    return factor * record.value, Interval(factor * record.low, factor * record.high)


def _of_answers(places: Mapping[Place, Phases]) -> dict[Place, Phases]:
    """Phases in order; where a model generates, its passes as a classifier are left out."""
    generating = {(place.name, place.point[:2]) for place in places if place.point.decode}
    return {
        place: {name: phases[name] for name in _TIMES if name in phases}
        for place, phases in places.items()
        if place.point.decode or (place.name, place.point[:2]) not in generating
    }


def _lacking(records: Iterable[Record], needed: Sequence[Mapping[str, str]]) -> list[str]:
    """Why times or energies are lacking, each reason once for each model."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for one in records:
        if one.value is None and any(metrics.get(one.phase) == one.metric for metrics in needed):
            where = "" if one.length is None else f"batch {one.batch}, length {one.length}"
            found.setdefault((one.model, one.reason), {})[where] = None
    return [
        f"{model} is not measured{f' at {at}' if (at := '; '.join(filter(None, places))) else ''}: {reason}"
        for (model, reason), places in found.items()
    ]
