"""How long a model takes on the machine at hand: slices of it are timed at the very points that are asked.

A *slice* is a model of the same configuration with fewer layers and random weights. Layers are alike, so what
a pass needs is a straight line over their number: two slices that take turns give what is outside the layers
and what each of them adds, with the kernels, shapes, precision and overheads that the model itself has. A
small model is timed whole. No weights are read. How far such forecasts are off is known from the models of
the calibration, which were timed as slices and whole, at different times.
"""

import copy
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trilemma.errors import StoreError
from trilemma.files import write_text
from trilemma.forecasting.forecaster import CONFIDENCE, FEWEST_GROUPS, Seconds, too_few, within
from trilemma.forecasting.measuring import Bench, RandomModel
from trilemma.forecasting.passes import ForwardPass
from trilemma.hardware import Unmeasured
from trilemma.hardware.machine import Machine
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.models import SHAPELESS
from trilemma.profiling.operations import forward
from trilemma.profiling.timing import Quantity, Sample
from trilemma.progress import Progress, parts_of, silent

CACHES = 64 << 20
"""Bytes of weights that no cache holds: of fewer layers they would be found there, and of all would not."""

MANY = 8
"""Layers of the larger slice, unless the smaller one has more than half of them."""

WHOLE = 0.8
"""A model of which the larger slice has this share of the layers is timed whole."""

LARGEST = 0.25
"""Share of the machine's memory that a slice's weights may take."""

STEPS = 17
"""Tokens that a slice generates, the first included."""

NEAR = 0.25
"""Share by which the context of timed tokens may differ from what is asked: that of the middle one counts."""

SECONDS = 1.0
"""Time that the repetitions of a slice at a point aim at."""

TIME_LIMIT = 20.0
"""Seconds of a repetition, beyond which the model's time is computed and not measured."""

SETTLED = 1.1
"""Factor within which a time must be known to be kept."""


def slices_of(config: Any, precision: str, machine: Machine, whole: ForwardPass) -> tuple[int, int] | None:
    """How many layers the two slices have, the same number twice where the model is timed whole.

    Args:
        config: of the model.
        precision: of its weights.
        machine: whose memory must hold them.
        whole: a pass of the model.

    Returns:
        None where not even one layer fits.
    """
    dims = whole.dimensions
    logits = 0 if whole.phase == "classify" else 1
    work = forward(dims, 1, 1, 1, precision, logits=logits)
    head = work[-1].weight_bytes if logits and dims.causal else 0.0
    layer = (sum(one.weight_bytes for one in work) - head) / dims.layers
    period = _period(config, dims.layers)
    few = period * max(1, math.ceil((CACHES - head) / layer / period))
    many = few + period * max(1, math.ceil(max(MANY - few, few) / period))
    most = int((LARGEST * machine.memory - head) / layer)
    if many >= WHOLE * dims.layers and dims.layers <= most:
        return dims.layers, dims.layers
    many = min(many, few + (most - few) // period * period)
    return (few, many) if few < many <= dims.layers else None


def _period(config: Any, layers: int) -> int:
    """After how many layers their kinds come again; all of them where they never do."""
    kinds = [value for value in vars(config).values() if isinstance(value, list) and len(value) == layers]
    for period in range(1, layers):
        if all(one == kind[place % period] for kind in kinds for place, one in enumerate(kind)):
            return period
    return layers


def sliced(config: Any, layers: int) -> Any:
    """The configuration with so many layers."""
    before = config.num_hidden_layers
    config = copy.deepcopy(config)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == before:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers
    return config


def time_slices(
    bench: Bench,
    config: Any,
    passes: Sequence[ForwardPass],
    machine: Machine,
    progress: Progress = silent,
) -> dict[ForwardPass, Quantity]:
    """Seconds of passes of one model in one precision and with one head; none of what cannot be timed."""
    found: dict[ForwardPass, Quantity] = {}
    dtype = "float32" if passes[0].precision == "packed" else passes[0].precision
    kind = RandomModel(config, dtype, passes[0].phase == "classify")
    if kind.precision != passes[0].precision:  # ternary weights are packed where a model answers
        return found
    layers = slices_of(config, kind.precision, machine, passes[0])
    if layers is None:
        return found
    models = [replace(kind, config=sliced(config, count)) for count in dict.fromkeys(layers)]
    points = _points(passes, generates=kind.generates)
    timed: dict[OperatingPoint, list[list[Sample]]] = defaultdict(list)
    for done, (_, point, samples) in enumerate(bench.samples(models, list(points)), 1):
        if not isinstance(samples, Unmeasured):
            timed[point].append(samples)
        progress(done, len(models) * len(points), "")
    beyond = (passes[0].dimensions.layers - layers[1]) / max(layers[1] - layers[0], 1)
    for point, known in timed.items():
        if len(known) < len(models) or len({len(samples) for samples in known}) > 1:
            continue
        for one in points[point]:
            part = "forward" if one.phase == "classify" else one.phase
            steps = STEPS - 1 if part == "decode" else 1
            taken = [  # by round, since what slows a round slows both slices; no layer takes negative time
                (many[part] + beyond * max(many[part] - few[part], 0.0)) / steps
                for few, many in zip(known[0], known[-1], strict=True)
            ]
            found[one] = Quantity.of_times(taken)
    return found


def _points(passes: Iterable[ForwardPass], *, generates: bool) -> dict[OperatingPoint, list[ForwardPass]]:
    """Where slices are timed, and the passes that each point gives: a prompt, and tokens after it."""
    found: dict[OperatingPoint, list[ForwardPass]] = defaultdict(list)
    decode = STEPS if generates else 0
    for one in sorted(passes, key=lambda one: one.phase == "decode"):
        length = one.length
        if one.phase == "decode":
            prompts = (point.length for point in found if point.batch == one.batch)
            middle = STEPS // 2
            near = (at for at in prompts if abs(at + middle - one.length) <= NEAR * one.length)
            length = next(near, max(1, one.length - middle))
        found[OperatingPoint(one.batch, length, decode)].append(one)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class ForecastCheck:
    """A time of a model that was forecast by slices and measured at another time.

    Attributes:
        family: of the model.
        decoding: whether it is the time of a further token.
        ratio: what was measured over what was forecast.
    """

    family: str
    decoding: bool
    ratio: float


def error_of(checks: Sequence[ForecastCheck]) -> float | str:
    """The factor within which the wanted share of forecasts by slices is, or why it is not known.

    A conformal quantile (Vovk et al. 2005) of the ratios' logarithms.
    """
    families = {one.family for one in checks}
    if len(families) < FEWEST_GROUPS:
        return too_few(len(families), "families of timed models")
    errors = np.abs(np.log([one.ratio for one in checks]))
    return float(np.exp(np.quantile(errors, min(1.0, CONFIDENCE * (1 + 1 / len(errors))))))


class Slices:
    """Forecasts on the machine at hand by slices, each timed once and kept.

    Args:
        machine: its rates.
        checks: how far forecasts by slices were off when the machine was calibrated.
        made_for: what times depend on: hardware, software and calibration.
        path: where times are kept.
        bench: makes what times them.
    """

    def __init__(
        self,
        machine: Machine,
        checks: Sequence[ForecastCheck],
        made_for: str,
        path: Path,
        bench: Callable[[], Bench] = lambda: Bench(SECONDS, time_limit=TIME_LIMIT),
    ) -> None:
        self._machine, self._made_for, self._path = machine, made_for, path
        self._errors = {
            decoding: error_of([one for one in checks if one.decoding == decoding])
            for decoding in (False, True)
        }
        self._bench = bench
        self._kept = self._read()

    def seconds(
        self, config: Any, passes: Sequence[ForwardPass], progress: Progress = silent
    ) -> dict[ForwardPass, Seconds]:
        """Forecasts of one model's passes, as far as slices of it can be timed."""
        keys = {one: _key(config, one) for one in passes}
        found = {one: Quantity(*self._kept[key]) for one, key in keys.items() if key in self._kept}
        groups: dict[tuple[str, bool], list[ForwardPass]] = defaultdict(list)
        for one in keys:
            if one not in found:
                groups[one.precision, one.phase == "classify"].append(one)
        parts = parts_of(progress, [float(len(group)) for group in groups.values()])
        for group, report in zip(groups.values(), parts, strict=True):
            timed = time_slices(self._bench(), config, group, self._machine, report)
            found |= timed
            settled = {
                keys[one]: (time.value, time.low, time.high)
                for one, time in timed.items()
                if _factor(time) <= SETTLED
            }
            self._kept |= settled
        if groups:
            self._write()
        return {one: self._forecast(one, time) for one, time in found.items()}

    def _forecast(self, one: ForwardPass, time: Quantity) -> Seconds:
        """The time, which may be off as far as the calibration's were, or as its own repetitions scatter."""
        error = self._errors[one.phase == "decode"]
        return within(time.value, error if isinstance(error, str) else max(error, _factor(time)))

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text("utf-8"))
            times = content["times"] if content["made_for"] == self._made_for else {}
            good = isinstance(times, dict) and all(
                len(one) == 3 and all(0 < end < math.inf for end in one) for one in times.values()
            )
            return times if good else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # measured again
            return {}

    def _write(self) -> None:
        content = json.dumps({"made_for": self._made_for, "times": self._kept}, indent=1)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, content)
        except (OSError, StoreError):
            return  # they are measured again


def _factor(time: Quantity) -> float:
    """Half width of a time's own interval; 1 where there were too few repetitions for one."""
    if time.low is None or time.high is None:
        return 1.0
    return max(time.value / time.low, time.high / time.value)


def _key(config: Any, one: ForwardPass) -> str:
    """What the time of a pass depends on, beside the machine."""
    shape = {name: value for name, value in config.to_dict().items() if name not in SHAPELESS}
    what = [shape, one.precision, one.phase, one.batch, one.length]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]
