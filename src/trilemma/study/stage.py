"""A stage: a pure function from named inputs to one artifact folder."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel

from trilemma.progress import Progress, silent
from trilemma.study.data import Corpus, StudyData
from trilemma.study.origin import Origin

AGAIN = "again"
"""Fact of an artifact that serves its run, and that the next run makes again."""


class StageEstimate(NamedTuple):
    """What a stage will take, roughly: floating-point operations and peak bytes."""

    work: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True)
class Loading:
    """Whether code that comes with a model may run, and weights that are not safetensors may be opened."""

    trust_remote_code: bool = False
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage(ABC):
    """One node of the study's graph; each kind is a subclass in a file of its name in ``stages``.

    A subclass names its ``kind``, the folder of its artifacts in the store; its ``version``, raised by one
    when it computes something else from the same settings, so that earlier artifacts are not reused; whether
    its artifact ``has_items``, rows of the items table; ``needs_all_inputs=False`` if it can run where an
    input has failed; and ``of_one_candidate`` if the study can go on where it fails.

    Attributes:
        title: what a person reads: model, task, seed.
        estimate: for the plan and the time left.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    needs_all_inputs: ClassVar[bool]
    has_items: ClassVar[bool]
    of_one_candidate: ClassVar[bool]

    title: str
    estimate: StageEstimate = field(default_factory=StageEstimate)

    def __init_subclass__(
        cls,
        *,
        kind: str = "",
        version: int = 0,
        needs_all_inputs: bool = True,
        has_items: bool = False,
        of_one_candidate: bool = False,
    ) -> None:
        cls.kind, cls.version = kind, version
        cls.needs_all_inputs, cls.has_items = needs_all_inputs, has_items
        cls.of_one_candidate = of_one_candidate

    @property
    def settings(self) -> dict[str, Any]:
        """JSON facts: with the inputs, everything that can change the result.

        By default the fields that are not stages. What has a fingerprint counts by it; None is left out.
        """
        own = {name: _json(value) for name, value in self._own() if not isinstance(value, Stage)}
        return {name: value for name, value in own.items() if value is not None}

    @property
    def item_columns(self) -> dict[str, str]:
        """Names in its items, which may be those of another study in the artifact: they change no result."""
        return {}

    @property
    def inputs(self) -> dict[str, "Stage"]:
        """Role to the stage whose artifact plays it: by default the fields that are stages."""
        return {name: value for name, value in self._own() if isinstance(value, Stage)}

    def _own(self) -> Iterator[tuple[str, object]]:
        """The fields of the kind."""
        for one in fields(self):
            if one.name not in ("title", "estimate"):
                yield one.name, getattr(self, one.name)

    @abstractmethod
    def compute(self, run: "StageRun") -> None:
        """Fill ``run.out`` and ``run.facts``. Heavy imports happen inside, so that planning stays light."""

    @cached_property
    def key(self) -> str:
        """Hash of everything that can change the result."""
        identity = {"kind": self.kind, "version": self.version, **self.description}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def description(self) -> dict[str, Any]:
        """Settings, and the keys of the inputs."""
        inputs = {role: stage.key for role, stage in self.inputs.items()}
        return {"settings": self.settings, "inputs": inputs}

    def __str__(self) -> str:
        return f"{self.kind} {self.title}"


Source = Stage | Origin
"""Where a model's weights come from: a stage of the study, or a folder that was there before it."""


def source_setting(source: Source) -> dict[str, str]:
    """A model's source among the settings of a stage: nothing where a stage makes it, which is an input."""
    return {"source": source.fingerprint} if isinstance(source, Origin) else {}


def _json(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value.fingerprint if isinstance(value, Origin | Corpus) else value


@dataclass
class StageRun:
    """What a stage is given to compute with.

    Attributes:
        out: an empty folder to fill.
        work: a folder that outlives a killed run, for checkpoints.
        data: the study's tasks and examples.
        artifact: the folder of an input's artifact.
        failures: by key of an input, the reason why its artifact holds nothing.
        progress: called with the work done inside the stage.
        facts: to be filled with JSON facts that become part of the artifact.
    """

    out: Path
    work: Path
    data: StudyData
    artifact: Callable[[Stage], Path]
    failures: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = silent
    facts: dict[str, Any] = field(default_factory=dict)

    def model(self, source: Source) -> str:
        """The model folder of a source."""
        return str(self.artifact(source)) if isinstance(source, Stage) else source.location
