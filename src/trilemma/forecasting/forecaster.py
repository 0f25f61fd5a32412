"""How long a forward pass will take on a machine: fitted roofline terms and a learned residual.

After GUIDE (arXiv 2412.04788), whose own equations are not public: seconds are a sum of the terms in
:data:`trilemma.forecasting.passes.PARTS`. Without measurements each term has a usual share of the machine's
peak. With some, the shares are fitted by relative least squares, kept near the usual ones where nothing
tells them apart, and what they leave is learned by a Gaussian process on logarithms, which falls back to no
correction far from what was measured. Intervals are quantiles of the errors at shapes, or families, that
were left out; where too few of them are known, or the interval would be too wide to act on, there is none,
and words say so.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from trilemma.errors import DeployError
from trilemma.forecasting.passes import (
    PARTS,
    Floats,
    ForwardPass,
    analytic_seconds,
    coordinates,
    parts,
)
from trilemma.hardware.machine import Machine
from trilemma.profiling.cost import Pass
from trilemma.profiling.operations import Operation
from trilemma.progress import Progress, silent

CONFIDENCE = 0.9
"""Confidence of every interval of a forecast that rests on measured passes."""

WIDEST = 1.6
"""Half width, as a factor, of the widest interval that is given; nobody can act on a wider one."""

FEWEST_GROUPS = 4
"""Models, or families, that must have been left out of a fit before a quantile of errors is believed."""

DESCRIBED = "no interval: from a machine's description alone, a forecast may be off by a factor of about 2.5"
"""What is known of forecasts without measurements: about GUIDE's worst case, which is no interval."""

TOO_WIDE = (
    f"no interval: the forecast may be off by more than a factor of {WIDEST:g} either way; calibrate and "
    "forecast while the machine is quiet"
)
"""Why a forecast has no interval."""

_PRIOR = 0.02
"""Weight of a usual share against a measurement of which it is the only term."""

_FEWEST = 8
"""Measurements of a phase from which a residual can be learned."""

_FOLDS = 6
"""Fits from which groups are left out in turn, to see how far forecasts of them are off."""

_STEPS = 15
"""Steps of the search for the scales of the residual's process."""

_FEW_TOKENS = 32
"""Operations over at most so many tokens count for decoding, others for passes over whole inputs."""


@dataclass(frozen=True)
class Measured:
    """Seconds that one repetition of a forward pass took."""

    work: ForwardPass
    seconds: float


@dataclass(frozen=True)
class MeasuredOperation:
    """Seconds that one operation took by itself: its kernel's share where no model that has it was run."""

    operation: Operation
    precision: str
    tokens: int
    seconds: float


class Seconds(NamedTuple):
    """A forecast time with its interval, whose ends are NaN where there is none; the note says why."""

    value: float
    low: float
    high: float
    note: str = ""

    def times(self, factor: float, more: float = 0.0) -> "Seconds":
        """So many times the time, and some seconds more."""
        value, low, high = (factor * one + more for one in (self.value, self.low, self.high))
        return Seconds(value, low, high, self.note)

    def and_then(self, other: "Seconds") -> "Seconds":
        """The sum of two times, whose errors go together."""
        ends = self.low + other.low, self.high + other.high
        return Seconds(self.value + other.value, *ends, self.note or other.note)

    def rate(self, work: float) -> "Seconds":
        """``work`` over the time; the interval's ends change places."""
        return Seconds(work / self.value, work / self.high, work / self.low, self.note)


def within(value: float, factor: float | str) -> Seconds:
    """A time with an interval of a factor either way, or without one, which is too wide or not known.

    Args:
        value: seconds.
        factor: half width of the interval, or why it is not known.
    """
    if isinstance(factor, float) and factor <= WIDEST:
        return Seconds(value, value / factor, value * factor)
    return Seconds(value, math.nan, math.nan, factor if isinstance(factor, str) else TOO_WIDE)


def too_few(count: int, what: str) -> str:
    """Why no quantile is believed."""
    return f"no interval: {count} {what} are too few to say how far off the forecast may be"


Timing = Callable[[Any, Sequence[ForwardPass], Progress], Mapping[ForwardPass, Seconds]]
"""Forecasts of some passes of the model of a configuration by other means than a fit, with progress."""


class Forecaster:
    """Forecasts seconds of forward passes on one machine.

    Args:
        machine: its rates.
        measured: passes timed on it; none for a forecast from its description alone.
        operations: operations timed on it.
        timing: forecasts of what can be timed, which take precedence; see
            :class:`trilemma.forecasting.slices.Slices`.

    Raises:
        DeployError: for a measurement that is not a positive number.
    """

    def __init__(
        self,
        machine: Machine,
        measured: Sequence[Measured] = (),
        operations: Sequence[MeasuredOperation] = (),
        timing: Timing = lambda config, passes, progress: {},
    ) -> None:
        self._timing = timing
        if not all(0 < one.seconds < float("inf") for some in (measured, operations) for one in some):
            raise DeployError("a measured time is not a positive number; run `trilemma calibrate` again")
        self.machine = machine
        self._fits: dict[bool, _Fit] = {}
        for decoding in (False, True):
            # Passes over many tokens and those of one are limited by other things: each kind has its own fit.
            known = [one for one in measured if (one.work.phase == "decode") == decoding]
            if len(known) >= _FEWEST:
                alone = [one for one in operations if (one.tokens <= _FEW_TOKENS) == decoding]
                self._fits[decoding] = _Fit(machine, known, alone)

    def seconds(
        self, passes: Sequence[ForwardPass], config: Any = None, progress: Progress = silent
    ) -> list[Seconds]:
        """Forecasts, in order.

        Args:
            passes: of any models, or of one.
            config: of that one, which may then be timed where the machine is at hand.
            progress: is given how much of that is done.
        """
        found = {} if config is None else dict(self._timing(config, passes, progress))
        for decoding in (False, True):
            own = [one for one in passes if (one.phase == "decode") == decoding and one not in found]
            fit = self._fits.get(decoding) if own else None
            found.update(zip(own, fit.seconds(own) if fit else map(self._analytic, own), strict=True))
        return [found[one] for one in passes]

    def measured(self, phase: Pass) -> bool:
        """Whether forecasts of a phase rest on measurements."""
        return (phase == "decode") in self._fits

    def _analytic(self, one: ForwardPass) -> Seconds:
        return within(analytic_seconds(one, self.machine), DESCRIBED)


class _Fit:
    """Shares, residual and error quantiles of decoding, or of all other passes."""

    def __init__(
        self, machine: Machine, measured: Sequence[Measured], operations: Sequence[MeasuredOperation]
    ) -> None:
        self._machine = machine
        passes = [one.work for one in measured]
        seconds = np.array([one.seconds for one in measured])
        single = np.array([parts([one.operation], one.precision, machine) for one in operations])
        single = single.reshape(len(operations), len(PARTS))
        alone = np.array([one.seconds for one in operations])
        terms, places = self._terms(passes), coordinates(passes)

        def fitted(keep: "np.ndarray[Any, Any]") -> "tuple[Floats, Any]":
            shares = _shares(np.vstack([terms[keep], single]), np.concatenate([seconds[keep], alone]))
            residual = np.log(seconds[keep] / (terms[keep] @ shares))
            return shares, _process(places[keep], residual)

        everything = np.ones(len(passes), bool)
        self._shares, self._process = fitted(everything)
        self._families = {_family(one) for one in passes}
        self._scale, self._far_scale = (
            _left_out(groups, what, fitted, terms, places, seconds)
            for groups, what in (
                ([str(one.dimensions) for one in passes], "timed models"),
                ([_family(one) for one in passes], "families of timed models"),
            )
        )

    def _terms(self, passes: Sequence[ForwardPass]) -> Floats:
        rows = [parts(one.operations(self._machine), one.precision, self._machine) for one in passes]
        return np.array(rows)

    def seconds(self, passes: Sequence[ForwardPass]) -> list[Seconds]:
        base = self._terms(passes) @ self._shares
        residual, spread = self._process.predict(coordinates(passes), return_std=True)
        values = base * np.exp(residual)
        found = []
        for one, value, std in zip(passes, values, spread, strict=True):
            scale = self._scale if _family(one) in self._families else self._far_scale
            factor = scale if isinstance(scale, str) else float(np.exp(scale * std))
            found.append(within(float(value), factor))
        return found


def _shares(terms: Floats, seconds: Floats) -> Floats:
    """Factors of the terms, none negative, by least squares of relative errors; near 1 where unknown."""
    prior = np.sqrt(_PRIOR) * np.eye(terms.shape[1])
    rows = np.vstack([terms / seconds[:, None], prior])
    wanted = np.concatenate([np.ones(len(seconds)), np.sqrt(_PRIOR) * np.ones(terms.shape[1])])
    found: Floats = nnls(rows, wanted)[0]
    return np.maximum(found, 1e-6)


def _process(places: Floats, residual: Floats) -> Any:
    """A Gaussian process through residuals."""
    from scipy.optimize import minimize
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    def optimizer(objective: Any, start: Floats, bounds: Any) -> tuple[Floats, float]:
        # The first steps decide; a residual is not worth more of them.
        found = minimize(
            objective, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _STEPS}
        )
        return found.x, found.fun

    scales = np.full(places.shape[1], 2.0)
    kernel = ConstantKernel(0.05, (1e-4, 4.0)) * RBF(scales, (0.5, 50.0)) + WhiteKernel(0.005, (1e-5, 0.2))
    process = GaussianProcessRegressor(kernel, optimizer=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scale at its bound is an answer
        return process.fit(places, residual)


def _left_out(
    groups: Sequence[Any], what: str, fitted: Any, terms: Floats, places: Floats, seconds: Floats
) -> float | str:
    """Standard deviations within which the wanted share of errors is where a group was left out of the fit.

    Everything that is fitted is fitted again without it. Errors of one group go together, so the share is
    corrected by the number of groups, as that of a conformal quantile is by the number of points (Vovk et
    al. 2005).
    """
    names = sorted(set(groups), key=str)
    if len(names) < FEWEST_GROUPS:
        return too_few(len(names), what)
    fold = {name: place % _FOLDS for place, name in enumerate(names)}
    own = np.array([fold[group] for group in groups])
    errors = []
    for left in sorted(set(own.tolist())):
        out = own == left
        shares, process = fitted(~out)
        residual, spread = process.predict(places[out], return_std=True)
        forecast = np.log(terms[out] @ shares) + residual
        errors.append(np.abs(np.log(seconds[out]) - forecast) / spread)
    share = min(1.0, CONFIDENCE * (1 + 1 / len(names)))
    return float(np.quantile(np.concatenate(errors), share))


def _family(one: ForwardPass) -> tuple[str, bool, bool, bool, str]:
    """What a family is to a forecast: how it mixes tokens, whose code runs, encoder or not, precision."""
    model = one.dimensions
    return model.family, model.own, model.causal, model.gated, one.precision
