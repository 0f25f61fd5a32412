"""A study as a graph of stages, in an order in which every stage follows its inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from trilemma.study import estimate
from trilemma.study.data import StudyData
from trilemma.study.origin import Origin
from trilemma.study.spec import Study
from trilemma.study.stage import Loading, Source, Stage
from trilemma.tasks.task import Examples

S = TypeVar("S", bound=Stage)


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptedModel:
    """A candidate, adapted to a task with a seed, and the stages that ask it.

    Attributes:
        model, adaptation, task: their names.
        place: of the adaptation in the study; a model may have another method there.
        max_length: tokens that an input is cut to.
        load: how its folder may be opened.
        origin: where the candidate's weights come from.
        adapt: the stage that adapts it.
        asked: the stages that ask it.
    """

    model: str
    adaptation: str
    task: str
    seed: int
    place: int
    max_length: int
    load: Loading
    origin: Origin
    adapt: Stage
    asked: list[Stage] = field(default_factory=list)


@dataclass(eq=False)
class Graph:
    """A study, and the stages in which it is computed.

    Attributes:
        study: the validated study.
        data: its tasks and examples.
        origins: candidate name to where its weights come from.
        machine: hardware, versions and kernels, of which what is measured depends.
        sources: (candidate name, seed) to its weights before adaptation.
        stages: in an order that can be walked.
        adapted: model x adaptation x task x seed.
    """

    study: Study
    data: StudyData
    origins: Mapping[str, Origin]
    machine: Mapping[str, str]
    sources: dict[tuple[str, int], Source] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    adapted: list[AdaptedModel] = field(default_factory=list)
    _known: set[tuple[str, str]] = field(default_factory=set)
    _tokens: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def add(self, stage: S) -> S:
        """Append a stage unless one with the same key is there, whose artifact then serves both."""
        identity = stage.kind, stage.key
        if identity not in self._known:
            self._known.add(identity)
            self.stages.append(stage)
        return stage

    def tokens(self, examples: Examples, max_length: int) -> float:
        """Mean tokens of an item, estimated once per split."""
        split = examples.task, examples.split, max_length
        if split not in self._tokens:
            self._tokens[split] = estimate.tokens(examples, max_length)
        return self._tokens[split]

    @property
    def asked(self) -> Iterator[Stage]:
        """All stages that ask an adapted model, those of equal keys too."""
        for adapted in self.adapted:
            yield from adapted.asked
