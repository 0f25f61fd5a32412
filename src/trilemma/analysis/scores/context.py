"""What all records of one scoring share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trilemma.analysis.panels import Candidate
from trilemma.records import Record
from trilemma.tasks.task import Task


@dataclass(frozen=True)
class Context:
    """What the answers alone do not say.

    Attributes:
        study: the study's name.
        tasks: the study's tasks by name.
        arch: architectures by model.
        partial: by (task, set), whether rows are missing against the official split.
        seeds: how many training seeds the study has.
    """

    study: str
    tasks: Mapping[str, Task]
    arch: Mapping[str, str]
    partial: Mapping[tuple[str, str], bool]
    seeds: int

    def is_partial(self, task: str, name: str) -> bool:
        """Whether a split or set is short of its official rows."""
        return self.partial.get((task, name), False)

    def record(self, candidate: Candidate, *, notes: tuple[str, ...] = (), **columns: Any) -> Record:
        """A candidate's record; empty notes are left out. The model's own columns are the study's to fill."""
        return Record(
            study=self.study,
            model=candidate.model,
            arch=self.arch[candidate.model],
            parameters=None,
            adaptation=candidate.adaptation,
            note="; ".join(note for note in notes if note),
            **columns,
        )
