"""Stages that take no time: what a study's runner does, without its models."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from trilemma.records import Record, records_table, write_table
from trilemma.study.stage import Stage, StageRun
from trilemma.study.stages.adapt import Adapt
from trilemma.study.stages.answer import Answer, write_items
from trilemma.study.stages.create import Create
from trilemma.study.stages.profile import ProfileStage
from trilemma.study.stages.sweep import CHOICE, Sweep
from trilemma.study.stages.tokenizer import Tokenizer
from trilemma.tasks.task import AdversarialExamples

TRAINED = {
    "rows": 10,
    "epochs": 1.0,
    "learning_rate": 1e-3,
    "steps": 5,
    "seconds": 2.0,
    "precision": "float32",
}


def write_model(self: Stage, run: StageRun) -> None:
    """A folder with two files, named by what they would be trained from."""
    for source in self.inputs.values():
        assert run.artifact(source).is_dir()
    (run.work / "checkpoint.json").write_text(self.key)
    (run.out / "config.json").write_text(json.dumps(self.settings))
    (run.out / "model.safetensors").write_text(self.key)
    run.facts.update(TRAINED)


def write_choice(self: Sweep, run: StageRun) -> None:
    """The first rate."""
    (run.out / CHOICE).write_text(json.dumps({"learning_rate": 1e-3}))


def write_answers(self: Answer, run: StageRun) -> None:
    """Answers that depend on the model and the item alone; two of three are right."""
    data, task = run.data, self.adapted.task
    [examples] = [one for one in (*data.evaluation(task), *data.adversarial(task)) if one.split == self.set]
    originals = [None] * len(examples)
    if isinstance(examples, AdversarialExamples):
        originals = list(examples.originals)  # type: ignore[arg-type]
    gold = [int(label or 0) for label in examples.labels]
    rows = [*range(len(gold)), *(i for i, text in enumerate(originals) if text is not None)]
    answer = [gold[i] if (i + self.adapted.seed) % 3 else 1 - gold[i] for i in rows]
    write_items(run, examples, originals, np.eye(2, dtype=np.float32)[answer])


def write_parameters(self: ProfileStage, run: StageRun) -> None:
    """A number of parameters for each candidate."""
    records = [
        Record(model=name, arch="gla", parameters=7, axis="E", metric="parameters", value=7.0, unit="count")
        for shape in self.shapes
        for name in shape.names
    ]
    write_table(records_table(records), run.out / "records.parquet")


STUBS: dict[type[Stage], Any] = {
    Tokenizer: write_model,
    Create: write_model,
    Sweep: write_choice,
    Adapt: write_model,
    Answer: write_answers,
    ProfileStage: write_parameters,
}


def stub(patch: Callable[[type[Stage], str, Any], None] = setattr) -> None:
    """Let the stages write what a study's tables need, without computing it."""
    for kind, compute in STUBS.items():
        patch(kind, "compute", compute)
