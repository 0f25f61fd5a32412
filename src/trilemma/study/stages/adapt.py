"""The adaptation of a model to a task."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trilemma.adapt.settings import AdaptSettings, RateSweep
from trilemma.records import EDGE, PARTIAL, Record
from trilemma.study import estimate
from trilemma.study.finished import Finished
from trilemma.study.graph import AdaptedModel, Graph
from trilemma.study.spec import AnyTask, ModelSpec
from trilemma.study.spec.consistency import different_settings
from trilemma.study.stage import Loading, Source, Stage, StageRun, source_setting
from trilemma.study.stages.sweep import CHOICE, Sweep, TrainingInputs, attacks_training
from trilemma.tasks.task import Examples


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapt(Stage, kind="adapt", version=3, of_one_candidate=True):
    """Adapts a model to a task with one seed, at the rate that was given or chosen."""

    training: TrainingInputs
    source: Source
    seed: int
    sweep: Sweep | None

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.training.settings(), **source_setting(self.source), "seed": self.seed}

    def compute(self, run: StageRun) -> None:
        from trilemma.adapt import adapt

        rate = self.training.adapt.learning_rate
        if self.sweep is not None:
            rate = json.loads((run.artifact(self.sweep) / CHOICE).read_text("utf-8"))["learning_rate"]
        assert isinstance(rate, float)
        facts = adapt(
            self.training.job(run, self.source, self.seed),
            run.data.examples(self.training.task, "train"),
            learning_rate=rate,
            out=run.out,
            work=run.work,
            progress=run.progress,
        )
        run.facts.update(asdict(facts))


def lay_out(
    graph: Graph, model: ModelSpec, task: AnyTask, adaptation: AdaptSettings
) -> Iterator[AdaptedModel]:
    """A candidate, adapted to a task in one way with every seed."""
    study, origin = graph.study, graph.origins[model.label]
    training = _training(graph, model, task, adaptation)
    chosen, trained_on = training.adapt, training.task
    train = graph.data.examples(trained_on, "train")
    tokens = graph.tokens(train, chosen.max_length)
    named = f" ({adaptation.method})" if len(study.adapt) > 1 else ""
    sweep = None
    if chosen.trials > 1:
        rows = chosen.sweep_examples(len(train))
        sweep = graph.add(
            Sweep(
                title=f"{model.label} on {trained_on}{named}",
                estimate=estimate.training(origin, rows * tokens, chosen.batch * tokens),
                training=training,
                source=graph.sources[model.label, study.seeds[0]],
                seed=study.seeds[0],
            )
        )
    rows = chosen.epochs * min(len(train), chosen.rows or len(train))
    for seed in study.seeds:
        stage = Adapt(
            title=f"{model.label} on {trained_on}, seed {seed}{named}",
            estimate=estimate.training(origin, rows * tokens, chosen.batch * tokens),
            training=training,
            source=graph.sources[model.label, seed],
            seed=seed,
            sweep=sweep,
        )
        yield AdaptedModel(
            model=model.label,
            adaptation=chosen.method,
            task=task.name,
            seed=seed,
            place=study.adapt.index(adaptation),
            max_length=chosen.max_length,
            load=training.load,
            origin=origin,
            adapt=graph.add(stage),
        )


def _training(graph: Graph, model: ModelSpec, task: AnyTask, adaptation: AdaptSettings) -> TrainingInputs:
    chosen = graph.study.settings_for(adaptation, task, model)
    reads: Mapping[str, str] = {}
    if attacks_training(chosen):
        from trilemma.attacks import fingerprint

        attack = chosen.adversarial
        absolute = graph.study.with_absolute_paths(attack.settings)
        chosen = chosen.model_copy(update={"adversarial": attack.model_copy(update={"settings": absolute})})
        reads = fingerprint(attack.recipe, absolute)
    name = graph.data.training_task(task.name)
    known = graph.data.task(name)
    return TrainingInputs(
        task=name,
        labels=known.labels,
        metrics=known.metrics,
        train=graph.data.examples(name, "train").fingerprint,
        adapt=chosen,
        attack_reads=reads,
        load=Loading(model.trust_remote_code, model.allow_pickle),
    )


def records(finished: Finished) -> Iterator[Record]:
    """What adaptation took, from the training itself; and for a model whose training failed, the reason."""
    seen = set()
    for adapted in finished.graph.adapted:
        stage = adapted.adapt
        if failure := finished.failure(stage):
            metric = finished.graph.data.task(adapted.task).metrics[0]
            where: dict[str, Any] = {"axis": "P", "metric": metric, "level": "clean", "unit": "fraction"}
            yield finished.of_adapted(adapted, **where, status="failed", reason=failure)
        elif (adapted.model, stage.key) not in seen:
            seen.add((adapted.model, stage.key))  # AX shares MNLI's adapted model
            yield from _trained(finished, adapted)


def _trained(finished: Finished, adapted: AdaptedModel) -> Iterator[Record]:
    found = finished.facts[adapted.adapt.key]
    data = finished.graph.data
    train = data.examples(data.training_task(adapted.task), "train")
    rows, rate = int(found["rows"]), float(found["learning_rate"])
    flags = (PARTIAL,) if train.partial else ()
    said = [_share(train, rows), *found.get("notes", ())]
    if found.get("truncated"):
        said.append(f"{found['truncated']:.0%} of the texts are cut at {found['max_length']} tokens")
    how = f"learning rate {rate:g}, {found['precision']}"
    for metric, phase, unit, value, n, note in (
        ("training_seconds", "train", "s", float(found["seconds"]), rows, how),
        ("learning_rate", "", "", rate, int(found["steps"]), "; ".join(_different(finished, adapted))),
        ("training_rows", "", "rows", float(rows), rows, "; ".join(filter(None, said))),
        ("training_epochs", "", "epochs", float(found["epochs"]), rows, ""),
    ):
        own = (PARTIAL,) if metric == "training_rows" and note else flags
        if metric == "learning_rate" and rate in _edges(finished, adapted):
            own = (*own, EDGE)
        where: dict[str, Any] = {"axis": "E", "metric": metric, "phase": phase, "unit": unit, "flags": own}
        yield finished.of_adapted(adapted, adapted.adapt, **where, value=value, n=n, note=note)


def _different(finished: Finished, adapted: AdaptedModel) -> Iterator[str]:
    """Settings of this candidate alone, where they are not the study's for the task."""
    return different_settings(*_settings(finished, adapted))


def _settings(finished: Finished, adapted: AdaptedModel) -> tuple[AdaptSettings, AdaptSettings]:
    """The study's settings for the task, and the candidate's."""
    study = finished.graph.study
    [model] = [model for model in study.models if model.label == adapted.model]
    [task] = [task for task in study.tasks if task.name == adapted.task]
    usual = study.adapt[adapted.place]
    return study.settings_for(usual, task), study.settings_for(usual, task, model)


def _edges(finished: Finished, adapted: AdaptedModel) -> tuple[float, ...]:
    """The smallest and the largest rate that were tried; none without a sweep."""
    rates = _settings(finished, adapted)[1].learning_rate
    return (min(rates.sweep), max(rates.sweep)) if isinstance(rates, RateSweep) else ()


def _share(train: Examples, rows: int) -> str:
    """How much of the official training split a model was trained on."""
    official = train.official_rows
    if train.partial:
        return f"partial training split: {len(train):,} of {official:,} official rows"
    rows = min(rows, len(train))  # adversarial training adds rows
    return f"{rows:,} of {official:,} official training rows" if official and rows < official else ""
