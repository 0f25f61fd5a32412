"""A changed copy of a model."""

from dataclasses import dataclass
from pathlib import Path

from trilemma.study.graph import Graph
from trilemma.study.spec import ModelSpec
from trilemma.study.stage import Source, Stage, StageRun


@dataclass(frozen=True, kw_only=True, eq=False)
class Transform(Stage, kind="transform", version=1, of_one_candidate=True):
    """Writes a lighter copy of a model."""

    transform: str
    source: Source
    seed: int

    def compute(self, run: StageRun) -> None:
        from trilemma.transforms import TRANSFORMS

        TRANSFORMS.get(self.transform)(Path(run.model(self.source)), run.out, self.seed)


def lay_out(graph: Graph, model: ModelSpec, name: str, source: Source, seed: int) -> Transform:
    """One of a candidate's transforms."""
    title = f"{name} of {model.label}, seed {seed}"
    return graph.add(Transform(title=title, transform=name, source=source, seed=seed))
