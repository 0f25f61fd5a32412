"""A model with fresh weights."""

from dataclasses import dataclass

from trilemma.study.graph import Graph
from trilemma.study.spec import ModelSpec
from trilemma.study.stage import Stage, StageRun


@dataclass(frozen=True, kw_only=True, eq=False)
class Create(Stage, kind="create", version=1, of_one_candidate=True):
    """Writes a model with fresh weights: every seed has its own."""

    arch: str
    size: str
    seed: int
    tokenizer: Stage

    def compute(self, run: StageRun) -> None:
        from trilemma.models import loading

        tokenizer = loading.load_tokenizer(run.artifact(self.tokenizer))
        model = loading.create(self.arch, self.size, tokenizer, self.seed)
        loading.save(model, tokenizer, run.out)


def lay_out(graph: Graph, model: ModelSpec, seed: int, tokenizer: Stage) -> Create:
    """A candidate from scratch, for one seed."""
    assert model.arch is not None and model.size is not None
    name = f"{model.label}, seed {seed}"
    return graph.add(Create(title=name, arch=model.arch, size=model.size, seed=seed, tokenizer=tokenizer))
