"""From what a user asks to a decision: over a run, over forecasts for machines, or over both together."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import here, measured_points, metric_of, operating_point
from trilemma.decision.bounds import read_bounds
from trilemma.decision.decision import Decision, choose
from trilemma.decision.options import find_run_candidates, forecast_options, measured_options
from trilemma.errors import TrilemmaError
from trilemma.metrics import Metric, find_metric
from trilemma.operating_point import OperatingPoint
from trilemma.progress import Progress, silent
from trilemma.records import Record
from trilemma.units import join, listed

if TYPE_CHECKING:
    from trilemma.hardware.machine import Machine

GENERATING = frozenset(("prefill", "decode", "generate"))
"""Phases of generation."""

MEASURED = "measured"
"""Stands among machines for the hardware on which the run was measured."""

BATCHES = (1, 4, 16, 64)
"""Sequences answered at once that forecasts are made for, where none are asked for."""

Forecast = Callable[..., list[Record]]
"""As :func:`trilemma.forecasting.forecasts.forecast`."""


class Run(Protocol):
    """A finished study: a :class:`trilemma.Result`."""

    records: pd.DataFrame
    folder: Path | None

    def evidence(self, at: OperatingPoint | None = None) -> Evidence:
        """Its tables as evidence at an operating point."""


def decide(
    run: Run | None = None,
    *,
    models: Sequence[str] = (),
    machines: "Sequence[str | Machine]" = (),
    at: str | OperatingPoint | None = None,
    batches: Sequence[int] = (),
    precisions: Sequence[str] = (),
    devices: Sequence[int | str] = (),
    best: str = "",
    slo: str = "",
    limits: Mapping[str, str | float | None] | None = None,
    forecast: Forecast | None = None,
    progress: Progress = silent,
    **more: str | float | None,
) -> Decision:
    """The best deployment under bounds, and for every other one why it was rejected.

    Without machines: which candidate of a run, as it was measured. With machines: which model on which
    machine, in which precision and batch and over how many devices, by forecasts; accuracy and robustness are
    those of the run's candidate of that name.

    Args:
        run: a finished study; without one nothing but efficiency can be asked for.
        models: to be forecast: candidates of the run, folders, hub ids or ``ARCH:SIZE``; by default all
            candidates of the run.
        machines: to forecast for: names of the catalogue, ``here``, or YAML files; ``measured`` for the
            hardware on which the run was measured. By default ``measured``, or ``here`` for named models.
        at: the operating point, for example ``batch=1,length=128``, ``chat`` or ``classify``; by default the
            nearest to batch 1 and length 128 that was measured, or ``chat`` without a run.
        batches: batch sizes to forecast; by default that of ``at``, or 1, 4, 16 and 64 where it names none.
        precisions: of the weights, to forecast; by default the usual one of the machine.
        devices: over which a model is spread, to forecast: ``2``, or ``4x2`` with a pipeline of two stages.
        best: the metric to optimise; by default robust accuracy, or sequences per second without a run.
        slo: bounds on times: ``ttft=200ms,tpot=40ms,latency=1s``.
        limits: ``max_METRIC`` or ``min_METRIC`` to a limit, for example ``{"max_memory": "8GB",
            "min_clean": 0.88, "max_cost": 50}``; None is no limit.
        **more: limits too: ``max_memory="8GB"``.
        forecast: makes the forecasts; by default :func:`trilemma.forecasting.forecasts.forecast`.
        progress: is given the share of the forecasts that are made.

    Raises:
        TrilemmaError: for what cannot be read, and for what does not apply to this query.
    """
    from trilemma.forecasting.forecasts import forecast as made_here
    from trilemma.forecasting.plan import ParallelPlan

    models, machines, batches, precisions, devices = map(
        listed, (models, machines, batches, precisions, devices)
    )
    if run is None and not models:
        raise TrilemmaError("name a run folder, or models to forecast")
    machines = machines or (["here"] if models else [MEASURED])
    foreseen = [one for one in machines if one != MEASURED]
    measured = len(foreseen) < len(machines)
    if measured and run is None:
        raise TrilemmaError(f"`{MEASURED}` is the hardware on which a run was measured; name a run folder")
    for_forecasts = {"models": models, "batches": batches, "precisions": precisions, "devices": devices}
    if unused := [name for name, given in for_forecasts.items() if given and not foreseen]:
        raise TrilemmaError(f"{join(unused)} apply to forecasts; name machines to forecast for")

    def find(name: str) -> Metric:
        metric = find_metric(name) if run is None else metric_of(run.records, name)
        if metric.axis != "E" and run is None:
            raise TrilemmaError(f"{metric.name} is measured in a run; name a run folder")
        return metric

    asked = {
        name.replace("-", "_"): limit
        for name, limit in {**(limits or {}), **more}.items()
        if limit is not None
    }
    bounds = read_bounds(asked, slo, find=find)
    metric = find(best or ("examples_per_s" if run is None else "robust_accuracy"))
    point = _point(run, at, measured, [metric, *(bound.metric for bound in bounds)])
    evidence = None if run is None else run.evidence(point)
    options = measured_options(evidence) if evidence is not None and measured else []
    words = str(point)
    if foreseen:
        names = _locations(run, evidence, models)
        points = [point._replace(batch=batch) for batch in _batches(at, point, batches)]
        words = str(points[0]) if len(points) == 1 else point.sequence
        options_of: dict[str, Any] = {"precisions": tuple(precisions)} if precisions else {}
        if devices:
            options_of["plans"] = [ParallelPlan.parse(str(count)) for count in devices]
        known = [] if evidence is None else evidence.candidates
        try:
            found = (forecast or made_here)(list(names), foreseen, points, progress=progress, **options_of)
        except TrilemmaError as error:
            strange = [name for place, name in names.items() if place == name and name in str(error)]
            start = ""
            if strange and known:
                who = ", ".join(map(repr, strange))
                start = f"{who} is no candidate of the run ({join(c.name for c in known)}): "
            raise type(error)(start + _called(str(error), names)) from error
        renamed = (
            replace(one, model=names.get(one.model, one.model), reason=_called(one.reason, names))
            for one in found
        )
        options += forecast_options(renamed, evidence)
    return choose(options, metric, bounds, words, evidence)


def _called(text: str, names: Mapping[str, str]) -> str:
    """A sentence with the names of models in place of where they are."""
    for place, name in names.items():
        text = text.replace(place, name)
    return text


def _point(
    run: Run | None, at: str | OperatingPoint | None, measured: bool, metrics: Sequence[Metric]
) -> OperatingPoint:
    """The operating point that is asked for; what was measured must have been measured there.

    Where a metric is of generation alone, it is the point at which the run generated tokens.
    """
    if run is not None and (measured or not at):
        point = operating_point(run.records, at)
        phases = [{metric.phase} if metric.phase else {*metric.phases} for metric in metrics]
        generates = any(own and own <= GENERATING for own in phases)
        others = [one for one in measured_points(here(run.records)) if one.decode and one[:2] == point[:2]]
        return others[0] if generates and not point.decode and others else point
    return OperatingPoint.parse(at or "chat") if isinstance(at, str) or at is None else at


def _batches(at: str | OperatingPoint | None, point: OperatingPoint, batches: Sequence[int]) -> Sequence[int]:
    """The batches to forecast."""
    named = isinstance(at, OperatingPoint) or "batch" in (at or "")
    if named and batches:
        raise TrilemmaError("`at` names a batch, and so do the batches; give one of them")
    return [point.batch] if named else batches or BATCHES


def _locations(run: Run | None, evidence: Evidence | None, models: Sequence[str]) -> dict[str, str]:
    """Where the configuration of each model is, to the name under which the run or the user knows it."""
    known = [] if evidence is None else evidence.candidates
    checkpoints = {} if run is None else _checkpoints(run)
    if not models:
        lacking = [one.model for one in known if one.model not in checkpoints]
        if lacking:
            raise TrilemmaError(
                f"the adapted models of {join(dict.fromkeys(lacking))} are not where the run says; name the "
                "models to forecast: folders, hub ids or ARCH:SIZE"
            )
        return {checkpoints[one.model]: one.model for one in known}
    found = {}
    for name in models:
        own = find_run_candidates(known, name)
        found[checkpoints.get(own[0].model, name) if own else name] = name
    return found


def _checkpoints(run: Run) -> dict[str, str]:
    """Each model of a run to the folder of one of its adapted models that is still there."""
    if run.folder is None:
        return {}
    try:
        entries = json.loads((run.folder / "checkpoints.json").read_text("utf-8"))
        folders = [(str(entry["model"]), Path(entry["folder"])) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):  # it is a convenience, and nothing in it is trusted
        return {}
    return {model: str(folder) for model, folder in folders if (folder / "config.json").is_file()}
