"""Next-token training from scratch."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from trilemma.architectures import NewModel
from trilemma.records import Record
from trilemma.study import estimate
from trilemma.study.data import Corpus
from trilemma.study.finished import Finished
from trilemma.study.graph import Graph
from trilemma.study.spec import ModelSpec
from trilemma.study.stage import Stage, StageRun

if TYPE_CHECKING:
    from trilemma.training.pretrain_settings import PretrainSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Pretrain(Stage, kind="pretrain", version=1, of_one_candidate=True):
    """Pretrains a candidate on the study's corpus; all training seeds start from its weights."""

    arch: str
    size: str
    seed: int
    pretrain: "PretrainSettings"
    corpus: Corpus
    tokenizer: Stage

    def compute(self, run: StageRun) -> None:
        from trilemma.training import pretraining

        model, tokenizer = NewModel(self.arch, self.size), run.artifact(self.tokenizer)
        job = pretraining.PretrainJob(model, list(self.corpus.paths), self.pretrain, tokenizer, self.seed)
        facts = pretraining.run(job, out=run.out, work=run.work, progress=run.progress)
        run.facts.update(asdict(facts))


def lay_out(graph: Graph, model: ModelSpec, tokenizer: Stage) -> Pretrain:
    """A candidate's pretraining."""
    from trilemma.training.pretrain_settings import PretrainSettings, resolved

    block = graph.study.pretrain
    assert block is not None and model.arch is not None and model.size is not None
    rate = block.learning_rate.get(model.arch)
    chosen = PretrainSettings(tokens=block.tokens, length=block.length, batch=block.batch, learning_rate=rate)
    return graph.add(
        Pretrain(
            title=model.label,
            estimate=estimate.training(graph.origins[model.label], block.tokens, block.batch * block.length),
            arch=model.arch,
            size=model.size,
            seed=block.seed,
            pretrain=resolved(model.arch, chosen),
            corpus=graph.data.corpus,
            tokenizer=tokenizer,
        )
    )


def records(finished: Finished) -> Iterator[Record]:
    """What each candidate was trained on before, so that unequal candidates are seen to be unequal."""
    graph = finished.graph
    for model in graph.study.models:
        where: dict[str, Any] = {"axis": "P", "metric": "pretraining_tokens", "unit": "tokens"}
        stage: object = graph.sources[model.label, graph.study.seeds[0]]
        while isinstance(stage, Stage) and not isinstance(stage, Pretrain):  # it was transformed
            stage = stage.inputs.get("source")
        if isinstance(stage, Pretrain) and (failure := finished.failure(stage)):
            yield finished.of_model(model.label, **where, status="failed", reason=failure)
        elif isinstance(stage, Pretrain):
            yield from _of_stage(finished, model, stage, where)
        elif model.from_scratch:
            note = (
                "none: trained from scratch on the tasks alone; tokenizer shared by all models from scratch"
            )
            yield finished.of_model(model.label, **where, value=0.0, note=note)
        else:
            origin = model.id or model.path or model.package
            reason = f"pretrained elsewhere ({origin}), with a tokenizer of its own"
            yield finished.of_model(model.label, **where, status="not measured", reason=reason)


def _of_stage(
    finished: Finished, model: ModelSpec, stage: Pretrain, where: dict[str, Any]
) -> Iterator[Record]:
    found = finished.facts[stage.key]
    corpus = finished.graph.study.pretrain.corpus if finished.graph.study.pretrain else ()
    note = f"corpus: {', '.join(corpus)}; tokenizer shared by all models from scratch"
    yield finished.of_model(model.label, stage, **where, value=float(found["tokens"]), note=note)
    for metric, unit in (
        ("held_out_perplexity", "perplexity"),
        ("held_out_word_perplexity", "perplexity"),
        ("held_out_bits_per_byte", "bits per byte"),
    ):
        value = found[metric]
        few = {"status": "not measured", "reason": "the text has too few words between white space"}
        columns = where | {"metric": metric, "unit": unit, "n": int(found["held_out_tokens"])}
        yield finished.of_model(model.label, stage, **columns, value=value, **(few if value is None else {}))
