"""A stage: a pure function from named inputs to one artifact folder."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trilemma.progress import Progress, silent
from trilemma.study.data import StudyData


@dataclass(frozen=True)
class Stage:
    """One node of the study's graph.

    Attributes:
        kind: ``tokenizer``, ``create``, ``pretrain``, ``transform``, ``sweep``, ``adapt``, ``answer``,
            ``attack``, ``transfer`` or ``profile``; names the function in ``stages.py`` that computes it.
        cell: what a person reads: model, task, seed.
        settings: JSON facts; with the inputs, everything that can change the result.
        inputs: role to the stage whose artifact plays it.
        resources: what the function needs beyond that, and what never changes the result: a path (its
            fingerprint is in ``settings``), settings with the steps between checkpoints.
        work: estimated floating-point operations, for the time left.
        memory: estimated peak bytes.
    """

    kind: str
    cell: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    work: float = 0.0
    memory: float = 0.0

    @cached_property
    def key(self) -> str:
        """Hash of everything that can change the result."""
        identity = {
            "kind": self.kind,
            "version": VERSIONS[self.kind],
            "settings": self.settings,
            "inputs": {role: stage.key for role, stage in self.inputs.items()},
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]

    def __str__(self) -> str:
        return f"{self.kind} {self.cell}"


VERSIONS = {
    "tokenizer": 1,
    "create": 1,
    "pretrain": 1,
    "transform": 1,
    "sweep": 2,
    "adapt": 2,
    "answer": 2,
    "attack": 3,
    "transfer": 1,
    "profile": 5,
}
"""Raised by one when a stage computes something else from the same settings: old artifacts are not reused."""


@dataclass
class StageRun:
    """What a stage's function is given.

    Attributes:
        stage: the stage itself.
        inputs: role to artifact folder.
        out: an empty folder to fill.
        work: a folder that outlives a killed run, for checkpoints.
        facts: filled with JSON facts that become part of the artifact.
        failures: role to the reason why its artifact holds nothing; only a profile runs with such inputs.
        data: the study's tasks and examples.
        progress: told of work done inside the stage.
    """

    stage: Stage
    inputs: Mapping[str, Path]
    out: Path
    work: Path
    data: StudyData
    facts: dict[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = silent

    @property
    def source(self) -> str:
        """Folder (or id) of the model this stage starts from."""
        return str(self.inputs["source"]) if "source" in self.inputs else str(self.stage.resources["source"])
