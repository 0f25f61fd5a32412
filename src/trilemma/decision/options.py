"""What can be chosen: a candidate on a machine at an operating point under a plan, and what is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from trilemma.analysis.candidates import Candidate
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import Estimate, at_point
from trilemma.metrics import Metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import DOES_NOT_FIT, Record, records_table
from trilemma.units import format_value

IN_NO_RUN = "it is in no run"
"""Why a model that was only forecast has no accuracy or robustness."""


@dataclass(frozen=True)
class Deployment:
    """One way to deploy a candidate.

    Attributes:
        candidate: its name.
        point: how many sequences of how many tokens are answered at once.
        machine: a machine's name; "" for the hardware on which the run was measured.
        precision: of the weights; "" for that in which they were measured.
        plan: over which devices it is spread; "" for one device.
    """

    candidate: str
    point: OperatingPoint
    machine: str = ""
    precision: str = ""
    plan: str = ""

    def __str__(self) -> str:
        if not self.machine:
            return self.candidate
        where = f"{self.candidate} in {self.precision} on {self.machine}, batch {self.point.batch}"
        return f"{where}, {self.plan}" if self.plan else where


@dataclass(frozen=True, eq=False)
class Option:
    """A deployment with what is known of it.

    Attributes:
        deployment: what it is.
        candidate: the candidate of the run whose accuracy and robustness it has; None where it is in no run.
        evidence: of the run; None without one.
        forecasts: its forecasts; None where its efficiency was measured.
    """

    deployment: Deployment
    candidate: Candidate | None
    evidence: Evidence | None
    forecasts: pd.DataFrame | None = None

    @property
    def measured(self) -> bool:
        """Whether its efficiency was measured in the run."""
        return self.forecasts is None

    @property
    def meaningless_on(self) -> tuple[str, ...]:
        """The tasks on which its robustness means nothing."""
        if self.candidate is None or self.evidence is None:
            return ()
        return self.evidence.meaningless_on(self.candidate)

    @cached_property
    def refusal(self) -> str:
        """Why it cannot be deployed, whatever is asked of it; "" if it can."""
        if self.forecasts is None:
            return ""
        if not self.forecasts["value"].notna().any():
            return str(self.forecasts["reason"].iloc[0])
        peak = self._forecast("peak_memory_bytes")
        if DOES_NOT_FIT not in peak.flags:
            return ""
        needed, there = (
            format_value(one.value, "bytes") for one in (peak, self._forecast("machine_memory_bytes"))
        )
        return f"does not fit: needs {needed} of the {there} of a device, of which a part is kept free"

    def estimate(self, metric: Metric) -> Estimate:
        """The option's value of a metric: of the run's candidate, or of its own forecasts."""
        if metric.axis != "E" or self.forecasts is None:
            return self._of_run(metric)
        found = self._forecast(metric.name, metric.phase_at(self.deployment.point))
        if found.value is None and not metric.phases and self.candidate is not None:
            return self._of_run(metric)  # a count, which does not depend on the machine
        if found.value is None and not found.reason:
            return replace(found, reason=self._unforecast(metric))
        return found

    def _of_run(self, metric: Metric) -> Estimate:
        if self.candidate is None or self.evidence is None:
            return Estimate(None, reason=IN_NO_RUN)
        return self.evidence.estimate(metric, self.candidate)

    def _forecast(self, name: str, phase: str | None = None) -> Estimate:
        assert self.forecasts is not None
        rows = self.forecasts[self.forecasts["metric"] == name]
        if phase is not None:
            rows = rows[rows["phase"].isin(["", phase])]
        return replace(at_point(rows, self.deployment.point), basis="forecast")

    def _unforecast(self, metric: Metric) -> str:
        """Why no forecast was made of a metric."""
        generating = set(metric.phases) <= {"prefill", "decode", "generate"}
        if metric.phases and generating and not self.deployment.point.decode:
            return f"no token is generated at {self.deployment.point}; ask for some by decode=N"
        return "it is measured in a run, and not forecast"


def measured_options(evidence: Evidence) -> list[Option]:
    """The candidates of a run as they were measured."""
    return [
        Option(Deployment(candidate.name, evidence.at, precision=candidate.precision), candidate, evidence)
        for candidate in evidence.candidates
    ]


def forecast_options(forecasts: Iterable[Record], evidence: Evidence | None = None) -> list[Option]:
    """Deployments that were forecast, each with the candidates of the run that are called like its model.

    Args:
        forecasts: records of basis ``forecast``.
        evidence: of the run that has measured accuracy and robustness.
    """
    known = [] if evidence is None else evidence.candidates
    deployed: dict[Deployment, list[Record]] = {}
    for one in forecasts:
        point = OperatingPoint(one.batch or 1, one.length or 1, one.decode or 0)
        deployment = Deployment(one.model, point, one.machine, one.precision, one.plan)
        deployed.setdefault(deployment, []).append(one)
    options = []
    for deployment, own in deployed.items():
        table: pd.DataFrame = records_table(own).to_pandas()
        candidates: Sequence[Candidate | None] = find_run_candidates(known, deployment.candidate) or [None]
        for candidate in candidates:
            called = replace(deployment, candidate=candidate.name) if candidate else deployment
            options.append(Option(called, candidate, evidence, table))
    return options


def find_run_candidates(known: Sequence[Candidate], name: str) -> list[Candidate]:
    """The candidates of a run that a name stands for: one by its own name, or all of a model.

    A study calls ``ARCH:SIZE`` ``ARCH-SIZE`` where it is given no name.
    """
    for matching in (
        [one for one in known if one.name == name],
        [one for one in known if one.model == name],
        [one for one in known if one.model == name.replace(":", "-")],
    ):
        if matching:
            return matching
    return []
