"""How long a forward pass will take on a machine: fitted roofline terms and a learned residual.

After GUIDE (arXiv 2412.04788), whose own equations are not public: seconds are a sum of the terms in
:data:`trilemma.forecasting.passes.PARTS`. Without measurements each term has a usual share of the machine's
peak. With some, the shares are fitted by relative least squares, kept near the usual ones where nothing
tells them apart, and what they leave is learned by a Gaussian process on logarithms, which falls back to no
correction far from what was measured. Intervals are quantiles of the errors at shapes, or
families, that were left out.
"""

import warnings
from collections.abc import Sequence
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

CONFIDENCE = 0.9
"""Confidence of every interval of a forecast that rests on measured passes."""

UNMEASURED_FACTOR = 2.5
"""Half width, as a factor, of the interval without measurements: not a quantile, about GUIDE's worst case."""

_PRIOR = 0.02
"""Weight of a usual share against a measurement of which it is the only term."""

_FEWEST = 8
"""Measurements of a phase from which a residual can be learned."""

_FOLDS = 6
"""Fits from which groups are left out in turn, to see how far forecasts of them are off."""

_STEPS = 15
"""Steps of the search for the scales of the residual's process."""

_UNKNOWN_SCALE = 3.0
"""Standard deviations of an interval where no group could be left out."""

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
    """A forecast time with its interval."""

    value: float
    low: float
    high: float


class Forecaster:
    """Forecasts seconds of forward passes on one machine.

    Args:
        machine: its rates.
        measured: passes timed on it; none for a forecast from its description alone.
        operations: operations timed on it.

    Raises:
        DeployError: for a measurement that is not a positive number.
    """

    def __init__(
        self,
        machine: Machine,
        measured: Sequence[Measured] = (),
        operations: Sequence[MeasuredOperation] = (),
    ) -> None:
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

    def seconds(self, passes: Sequence[ForwardPass]) -> list[Seconds]:
        """Forecasts, in order."""
        found: dict[int, Seconds] = {}
        for decoding in (False, True):
            places = [i for i, one in enumerate(passes) if (one.phase == "decode") == decoding]
            own = [passes[i] for i in places]
            fit = self._fits.get(decoding) if own else None
            found.update(zip(places, fit.seconds(own) if fit else map(self._analytic, own), strict=True))
        return [found[i] for i in range(len(passes))]

    def measured(self, phase: Pass) -> bool:
        """Whether forecasts of a phase rest on measurements."""
        return (phase == "decode") in self._fits

    def _analytic(self, one: ForwardPass) -> Seconds:
        t = analytic_seconds(one, self.machine)
        return Seconds(t, t / UNMEASURED_FACTOR, t * UNMEASURED_FACTOR)


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
            _left_out(groups, fitted, terms, places, seconds)
            for groups in ([str(one.dimensions) for one in passes], [_family(one) for one in passes])
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
            half = float(np.exp(scale * std))
            found.append(Seconds(float(value), float(value) / half, float(value) * half))
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


def _left_out(groups: Sequence[Any], fitted: Any, terms: Floats, places: Floats, seconds: Floats) -> float:
    """Standard deviations within which the wanted share of errors is where a group was left out of the fit.

    Everything that is fitted is fitted again without it. Errors of one group go together, so the share is
    corrected by the number of groups, as that of a conformal quantile is by the number of points (Vovk et
    al. 2005).
    """
    names = sorted(set(groups), key=str)
    if len(names) < 2:
        return _UNKNOWN_SCALE
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
