"""What all records of one scoring share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trilemma.analysis.answers import CLEAN
from trilemma.analysis.candidates import Candidate
from trilemma.analysis.seed_noise import SeedNoise
from trilemma.records import ATTACK, MEANINGLESS, PARTIAL, Record
from trilemma.tasks.task import Task


@dataclass(frozen=True)
class Context:
    """What the answers alone do not say, and what is known of the candidate.

    Attributes:
        study: the study's name.
        tasks: the study's tasks by name.
        partial: by (task, set), whether rows are missing against the official split.
        seeds: how many training seeds the study has.
        candidate: whose records are made.
        lacking: by task the seeds (None: all together) with which the candidate has not learnt it.
        noise: what a training seed adds to each metric.
    """

    study: str
    tasks: Mapping[str, Task]
    partial: Mapping[tuple[str, str], bool]
    seeds: int
    candidate: Candidate
    lacking: Mapping[str, set[int | None]]
    noise: SeedNoise

    def record(
        self,
        value: float | None,
        reason: str = "",
        *,
        partial: bool = False,
        meaningless: bool = False,
        **columns: Any,
    ) -> Record:
        """The candidate's record of one value; the model's own columns are the study's to fill."""
        shown = str(columns["set"])
        return Record(
            study=self.study,
            model=self.candidate.model,
            arch=self.candidate.arch,
            adaptation=self.candidate.adaptation,
            axis="P" if columns["level"] == CLEAN else "R",
            unit="fraction",
            value=value,
            status="ok" if value is not None else "not measured",
            reason="" if value is not None else reason,
            flags=(*[PARTIAL] * partial, *[MEANINGLESS] * meaningless),
            made_on=self.candidate.model if shown.startswith(ATTACK) else "",
            **columns,
        )

    def on_set(self, task: str, name: str, level: str, method: str = "") -> dict[str, Any]:
        """The columns of a record of one split or adversarial set."""
        partial = self.partial.get((task, name), False)
        return {"task": task, "set": name, "level": level, "method": method, "partial": partial}
