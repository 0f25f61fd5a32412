"""A study as a graph of stages, in an order in which every stage follows its inputs."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trilemma.adapt.settings import AdaptSettings
from trilemma.attacks.settings import PATHS
from trilemma.errors import StudyError
from trilemma.study import estimate
from trilemma.study.attacking import (
    Transfer,
    adversarial_resources,
    attack_stages,
    attacks_training,
    transfers,
)
from trilemma.study.data import StudyData
from trilemma.study.origin import Origin
from trilemma.study.spec import AnyTask, ModelSpec, Study
from trilemma.study.stage import Stage
from trilemma.tasks.reading import expanded, one_line


@dataclass(frozen=True)
class Cell:
    """One adapted model and everything that it answers.

    Attributes:
        model: the candidate's name.
        adaptation: the adaptation's name.
        task: task name.
        seed: training seed.
        adapt: the stage that adapts it.
        answers: one stage an evaluation split or adversarial set, then one an attack.
        attacks: of those, the attacks by name.
        max_length: tokens that an input is cut to.
        place: of the adaptation in the study; a model may have another method there.
    """

    model: str
    adaptation: str
    task: str
    seed: int
    adapt: Stage
    answers: tuple[Stage, ...]
    attacks: Mapping[str, Stage]
    max_length: int
    place: int


@dataclass
class Graph:
    """All stages of a study.

    Attributes:
        stages: in an order that can be walked.
        cells: model x adaptation x task x seed.
        transfers: attacks' examples shown to other models.
        pretraining: candidate name to its pretraining stage.
        profile: the stage that measures efficiency.
        origins: candidate name to where its weights come from.
    """

    stages: list[Stage] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    pretraining: dict[str, Stage] = field(default_factory=dict)
    profile: Stage | None = None
    origins: dict[str, Origin] = field(default_factory=dict)

    def add(self, stage: Stage) -> Stage:
        """Append a stage unless an equal one is there, which is then returned."""
        for known in self.stages:
            if known.kind == stage.kind and known.key == stage.key:
                return known
        self.stages.append(stage)
        return stage


class GraphBuilder:
    """Turns a study into its graph; reads data only for fingerprints and sizes."""

    def __init__(
        self, study: Study, data: StudyData, origins: Mapping[str, Origin], machine: Mapping[str, str]
    ) -> None:
        self._study = study
        self._data = data
        self._machine = machine
        self._graph = Graph(origins=dict(origins))

    def build(self) -> Graph:
        """The whole graph."""
        study = self._study
        tokenizer = self._tokenizer() if any(model.from_scratch for model in study.models) else None
        sources = {model.label: self._sources(model, tokenizer) for model in study.models}
        for task in study.tasks:
            for adaptation in study.adapt:
                for model in study.models:
                    self._cells(model, task, adaptation, sources[model.label])
        for transfer in transfers(study, self._data, self._graph.cells, self._graph.origins):
            self._graph.transfers.append(replace(transfer, stage=self._graph.add(transfer.stage)))
        self._profile(sources)
        return self._graph

    def _tokenizer(self) -> Stage:
        study = self._study
        if study.pretrain:
            files = self._corpus()
            settings: dict[str, Any] = {
                "vocabulary": study.pretrain.vocabulary,
                "corpus": _fingerprints(files),
            }
            return self._graph.add(
                Stage(
                    "tokenizer",
                    "on the corpus",
                    settings,
                    resources={"corpus": [str(path) for path in files]},
                )
            )
        tasks = sorted({self._data.training_task(task.name) for task in study.tasks})
        settings = {
            "vocabulary": 8192,
            "tasks": tasks,
            "texts": [self._data.examples(task, "train").fingerprint for task in tasks],
        }
        return self._graph.add(Stage("tokenizer", "on the training texts", settings))

    def _corpus(self) -> list[Path]:
        """The corpus files, in the data folder or by path."""
        study = self._study
        assert study.pretrain is not None
        roots = [study.base]
        if study.data.startswith("folder:"):
            roots.insert(0, expanded(study.data.removeprefix("folder:")))
        found = []
        for name in study.pretrain.corpus:
            candidates = [root / name for root in roots]
            existing = [path for path in candidates if os.path.isfile(path)]
            if not existing:
                places = " or ".join(one_line(path) for path in candidates)
                raise StudyError(
                    f"pretrain.corpus: there is no file {places}; name text or Parquet files that exist"
                )
            found.append(existing[0])
        return found

    def _sources(self, model: ModelSpec, tokenizer: Stage | None) -> dict[int, Stage | Origin]:
        """Where the weights come from, for each seed: from scratch every seed has its own."""
        study, origin = self._study, self._graph.origins[model.label]
        sources: dict[int, Stage | Origin] = {}
        for seed in study.seeds:
            source: Stage | Origin
            if not model.from_scratch:
                source = origin
            elif model.pretrain:
                source = self._pretrain(model, tokenizer)
            else:
                assert tokenizer is not None
                settings = {"arch": model.arch, "size": model.size, "seed": seed}
                source = self._graph.add(
                    Stage("create", f"{model.label}, seed {seed}", settings, {"tokenizer": tokenizer})
                )
            for name in model.transforms:
                source = self._transform(name, model, source, seed)
            sources[seed] = source
        return sources

    def _pretrain(self, model: ModelSpec, tokenizer: Stage | None) -> Stage:
        from trilemma.training.pretraining import PretrainSettings, resolved

        block = self._study.pretrain
        assert block is not None and tokenizer is not None and model.arch is not None
        files = self._corpus()
        training: dict[str, Any] = {"tokens": block.tokens, "length": block.length, "batch": block.batch}
        if model.arch in block.learning_rate:
            training["learning_rate"] = block.learning_rate[model.arch]
        settings = {
            "arch": model.arch,
            "size": model.size,
            "seed": block.seed,
            "pretrain": resolved(model.arch, PretrainSettings.model_validate(training)).model_dump(
                mode="json"
            ),
            "corpus": _fingerprints(files),
        }
        stage = Stage(
            "pretrain",
            model.label,
            settings,
            {"tokenizer": tokenizer},
            {"corpus": [str(path) for path in files]},
            *estimate.training(self._graph.origins[model.label], block.tokens, block.batch * block.length),
        )
        self._graph.pretraining[model.label] = self._graph.add(stage)
        return self._graph.pretraining[model.label]

    def _transform(self, name: str, model: ModelSpec, source: Stage | Origin, seed: int) -> Stage:
        inputs, settings, resources = _input(source)
        settings |= {"transform": name, "seed": seed}
        return self._graph.add(
            Stage("transform", f"{name} of {model.label}, seed {seed}", settings, inputs, resources)
        )

    def _cells(
        self,
        model: ModelSpec,
        task: AnyTask,
        adaptation: AdaptSettings,
        sources: Mapping[int, Stage | Origin],
    ) -> None:
        study, data = self._study, self._data
        chosen, resources_read = adversarial_resources(
            study.settings_for(adaptation, task, model), study.base
        )
        trained_on = data.training_task(task.name)
        train = data.examples(trained_on, "train")
        load = _load(model)
        base: dict[str, Any] = {
            "task": trained_on,
            "labels": data.task(trained_on).labels,
            "metrics": data.task(trained_on).metrics,
            "train": train.fingerprint,
            "adapt": chosen.model_dump(mode="json", exclude=_without_result(chosen)),
            "load": load,
        }
        if resources_read:
            base["adversarial_resources"] = resources_read
            # What is read counts, wherever it lies.
            attack = base["adapt"]["adversarial"]
            attack["settings"] = {k: v for k, v in attack["settings"].items() if k not in PATHS}
        asked = {"adapt": chosen.model_dump(mode="json")}
        origin = self._graph.origins[model.label]
        tokens = estimate.tokens(train, chosen.max_length)
        sweep: dict[str, Stage] = {}
        if chosen.trials > 1:
            first = study.seeds[0]
            inputs, settings, resources = _input(sources[first])
            trial = {name: value for name, value in base["adapt"].items() if name != "epochs"}
            rows = chosen.trials * chosen.sweep_rows(len(train)) * chosen.sweep_epochs
            stage = Stage(
                "sweep",
                f"{model.label} on {trained_on}" + _named(adaptation, study),
                {**base, **settings, "seed": first, "adapt": trial},
                inputs,
                {**resources, **asked},
                *estimate.training(origin, rows * tokens, chosen.batch * tokens),
            )
            sweep = {"sweep": self._graph.add(stage)}
        for seed in study.seeds:
            inputs, settings, resources = _input(sources[seed])
            rows = chosen.epochs * min(len(train), chosen.rows or len(train))
            name = f"{model.label} on {trained_on}, seed {seed}" + _named(adaptation, study)
            adapt = self._graph.add(
                Stage(
                    "adapt",
                    name,
                    {**base, **settings, "seed": seed},
                    {**inputs, **sweep},
                    {**resources, **asked},
                    *estimate.training(origin, rows * tokens, chosen.batch * tokens),
                )
            )
            answers = tuple(
                self._graph.add(stage) for stage in self._answers(name, task.name, chosen, adapt, origin)
            )
            attacked = attack_stages(study, self._data, name, task.name, adapt, origin, chosen.max_length)
            attacks = {label: self._graph.add(stage) for label, stage in attacked}
            self._graph.cells.append(
                Cell(
                    model.label,
                    chosen.method,
                    task.name,
                    seed,
                    adapt,
                    (*answers, *attacks.values()),
                    attacks,
                    chosen.max_length,
                    study.adapt.index(adaptation),
                )
            )

    def _answers(
        self, name: str, task: str, chosen: AdaptSettings, adapt: Stage, origin: Origin
    ) -> Iterator[Stage]:
        data = self._data
        for examples in (*data.evaluation(task), *data.adversarial(task)):
            yield Stage(
                "answer",
                f"{name}: {examples.split}",
                {
                    "task": task,
                    "set": examples.split,
                    "examples": examples.fingerprint,
                    "max_length": chosen.max_length,
                    "load": adapt.settings["load"],
                },
                {"model": adapt},
                {},
                *estimate.answering(origin, len(examples) * estimate.tokens(examples, chosen.max_length)),
            )

    def _profile(self, sources: Mapping[str, Mapping[int, Stage | Origin]]) -> None:
        """One stage for all candidates, so that their rounds interleave; equal shapes are measured once."""
        study = self._study
        shapes: dict[str, dict[str, Any]] = {}
        for model in study.models:
            same = model.from_scratch and (model.arch, model.size, model.transforms)
            adaptations = self._adaptations(model)
            shape = repr((same or model.label, adaptations))
            source = sources[model.label][study.seeds[0]]
            entry = shapes.setdefault(
                shape, {"names": [], "source": source, "load": _load(model), "adaptations": adaptations}
            )
            entry["names"].append(model.label)
        inputs: dict[str, Stage] = {}
        folders: dict[str, str] = {}
        models: dict[str, Any] = {}
        for position, entry in enumerate(shapes.values()):
            role = f"model{position}"
            found, settings, resources = _input(entry["source"])
            if found:
                inputs[role] = found["source"]
            else:
                folders[role] = resources["source"]
            models[role] = {name: entry[name] for name in ("names", "load", "adaptations")} | settings
        # Watts change no measurement: the estimates are made with the tables.
        grid = study.efficiency.model_dump(mode="json", exclude={"watts"}) if study.efficiency else None
        origins = [self._graph.origins[entry["names"][0]] for entry in shapes.values()]
        self._graph.profile = self._graph.add(
            Stage(
                "profile",
                f"of {len(shapes)} shapes",
                {"models": models, "grid": grid, **self._machine},
                inputs,
                {"folders": folders},
                *estimate.profiling(origins, study.efficiency),
            )
        )

    def _adaptations(self, model: ModelSpec) -> list[dict[str, Any]]:
        """How a candidate is fine-tuned, one entry a method: what a step computes, not on which data."""
        study = self._study
        chosen = [study.settings_for(one, task, model) for task in study.tasks for one in study.adapt]
        methods = {settings.method: settings for settings in reversed(chosen)}
        return [methods[name].model_dump(mode="json", include={"method", "lora"}) for name in sorted(methods)]


def _input(source: Stage | Origin) -> tuple[dict[str, Stage], dict[str, Any], dict[str, Any]]:
    """A model source as a stage's inputs, settings and resources."""
    if isinstance(source, Stage):
        return {"source": source}, {}, {}
    return {}, {"source": source.fingerprint}, {"source": str(source.location)}


def _without_result(settings: AdaptSettings) -> set[str]:
    """Settings that do not change what is trained."""
    return {"checkpoint_steps"} if attacks_training(settings) else {"checkpoint_steps", "adversarial"}


def _load(model: ModelSpec) -> dict[str, bool]:
    return {"trust_remote_code": model.trust_remote_code, "allow_pickle": model.allow_pickle}


def _named(adaptation: AdaptSettings, study: Study) -> str:
    return f" ({adaptation.method})" if len(study.adapt) > 1 else ""


def _fingerprints(files: list[Path]) -> list[str]:
    from trilemma.files import sha256

    return [sha256(path) for path in files]
