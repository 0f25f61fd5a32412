"""Which deployment meets an objective: models, machines, precisions, batches, plans: ranked or rejected."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trilemma.errors import DeployError
from trilemma.forecasting.forecast import Candidate, Forecast, Plan, Workload, forecast
from trilemma.forecasting.forecaster import Forecaster, Seconds

Aim = Literal["cost", "energy", "throughput"]


@dataclass(frozen=True)
class Objective:
    """What a deployment must keep.

    Attributes:
        ttft: seconds to the first token at most, or None.
        tpot: seconds a further token at most, or None.
        latency: seconds a batch at most, or None.
        cost: of a million sequences at most, in the currency of the machines' prices, or None.
    """

    ttft: float | None = None
    tpot: float | None = None
    latency: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Deployment:
    """One way to deploy, and whether it will do.

    Attributes:
        model, machine, precision, batch, plan: what it is.
        forecast: None where none could be made.
        cost: of a million sequences, None where the machine has no price.
        joules: a sequence, an estimate: specified watts times forecast time; None without watts.
        reasons: why it is rejected; none where it will do.
        uncertain: bounds that the point forecast meets and the interval's far end does not.
    """

    model: str
    machine: str
    precision: str
    batch: int
    plan: Plan
    forecast: Forecast | None
    cost: float | None
    joules: float | None
    reasons: tuple[str, ...]
    uncertain: tuple[str, ...] = ()


def choose(
    pairs: Sequence[tuple[Candidate, Forecaster]],
    workload: Workload,
    objective: Objective,
    *,
    batches: Sequence[int] = (1, 4, 16, 64),
    plans: Sequence[Plan] = (Plan(),),
    aim: Aim = "throughput",
) -> list[Deployment]:
    """All deployments, those that keep the objective first, the best by ``aim`` first; then the rejected.

    Args:
        pairs: models, each in one precision, and the machines that they may run on.
        workload: lengths; its batch is replaced by each of ``batches``.
        objective: bounds.
        batches: sequences at once.
        plans: over devices; those beyond a machine's devices are rejected.
        aim: what is minimised (cost, energy a sequence) or maximised (throughput a device).

    Raises:
        DeployError: if ``aim`` or the objective needs a price or watts that no machine has.
    """
    machines = [forecaster.machine for _, forecaster in pairs]
    if (aim == "cost" or objective.cost is not None) and not any(one.price is not None for one in machines):
        raise DeployError("no machine has a `price`; give each one's price an hour in the file of machines")
    if aim == "energy" and not any(one.watts is not None for one in machines):
        raise DeployError("no machine has `watts`; give each one's power in the file of machines")
    tried = [
        _deployment(candidate, forecaster, Workload(batch, workload.length, workload.decode), plan, objective)
        for candidate, forecaster in pairs
        for batch in batches
        for plan in plans
    ]
    return sorted(tried, key=lambda one: (bool(one.reasons), _rank(one, aim)))


def _deployment(
    candidate: Candidate, forecaster: Forecaster, workload: Workload, plan: Plan, objective: Objective
) -> Deployment:
    machine = forecaster.machine
    known = (candidate.name, machine.name, candidate.precision, workload.batch, plan)
    try:
        found = forecast(candidate, forecaster, workload, plan)
    except DeployError as error:
        return Deployment(*known, None, None, None, (str(error),))
    seconds = 1 / found.throughput.value * found.devices
    cost = None if machine.price is None else machine.price / 3600 * seconds * 1e6
    joules = None if machine.watts is None else machine.watts * seconds
    missed, uncertain = _missed(found, objective, cost, machine.memory)
    return Deployment(*known, found, cost, joules, tuple(missed), tuple(uncertain))


def _missed(
    found: Forecast, objective: Objective, cost: float | None, memory: float
) -> tuple[list[str], list[str]]:
    """Bounds that are not met, and those that only the point forecast meets."""
    missed, uncertain = [], []
    if not found.fits:
        missed.append(f"needs {found.memory.peak / 1e9:.1f} GB of {memory / 1e9:.1f} GB a device")
    for name, time, bound in (
        ("time to the first token", found.ttft, objective.ttft),
        ("time a further token", found.tpot, objective.tpot),
        ("time a batch", found.batch_latency, objective.latency),
    ):
        if bound is None:
            continue
        if time is None:
            missed.append(f"{name}: nothing is generated")
        elif time.value > bound:
            missed.append(f"{name} {1e3 * time.value:.3g} ms, over {1e3 * bound:.3g} ms")
        elif time.high > bound:
            uncertain.append(f"{name} may be {1e3 * time.high:.3g} ms")
    if objective.cost is not None:
        if cost is None:
            missed.append("the machine has no price")
        elif cost > objective.cost:
            missed.append(f"{cost:.3g} a million sequences, over {objective.cost:.3g}")
    return missed, uncertain


def _rank(one: Deployment, aim: Aim) -> float:
    """The smaller the better; what is not known comes last."""
    if one.forecast is None:
        return float("inf")
    if aim == "throughput":
        return -one.forecast.throughput.value / one.forecast.devices
    value = one.cost if aim == "cost" else one.joules
    return float("inf") if value is None else value


def rejections(found: Iterable[Deployment]) -> dict[str, tuple[int, Deployment, str]]:
    """Why deployments were rejected, the most frequent reason first.

    Returns:
        By kind of reason how many it met, the one that came nearest to the bound, and its reason in full.
    """
    by_kind: dict[str, list[tuple[Deployment, str]]] = {}
    for one in found:
        for reason in one.reasons:
            kind = next((kind for start, (kind, _) in _KINDS.items() if reason.startswith(start)), reason)
            by_kind.setdefault(kind, []).append((one, reason))
    excess = dict(_KINDS.values())
    told = {
        kind: (len(some), *min(some, key=lambda each: _excess(excess.get(kind), each[0])))
        for kind, some in by_kind.items()
    }
    return dict(sorted(told.items(), key=lambda item: -item[1][0]))


def _excess(value: Callable[[Forecast], float] | None, one: Deployment) -> float:
    return 0.0 if value is None or one.forecast is None else value(one.forecast)


def _of(time: Seconds | None) -> float:
    return math.inf if time is None else time.value


_KINDS: dict[str, tuple[str, Callable[[Forecast], float]]] = {
    "needs ": ("does not fit a device's memory", lambda one: one.memory.peak),
    "time to the first token": ("time to the first token over the bound", lambda one: one.ttft.value),
    "time a further token": ("time a further token over the bound", lambda one: _of(one.tpot)),
    "time a batch": ("time a batch over the bound", lambda one: one.batch_latency.value),
}
"""By how a reason begins: its kind, and what is least in the one that came nearest."""
