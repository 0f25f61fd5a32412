"""What each kind of stage computes. Heavy imports happen inside, so that planning stays light."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from trilemma.errors import DivergedError
from trilemma.records import ITEMS, RECORDS, Record, records_table, write_table
from trilemma.study.stage import StageRun
from trilemma.tasks.task import AdversarialExamples, Examples, Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trilemma.inference.classifier import Classifier


def tokenizer(run: StageRun) -> None:
    """Train the byte-level BPE tokenizer that all models from scratch share."""
    from trilemma.training.tokenizer import train_tokenizer

    settings = run.stage.settings
    corpus = run.stage.resources.get("corpus")
    if corpus:
        from trilemma.training.corpus import read_texts

        texts = read_texts([Path(path) for path in corpus])
    else:
        texts = (
            text
            for task in settings["tasks"]
            for pair in run.data.examples(task, "train").texts
            for text in pair
        )
    trained = train_tokenizer(texts, settings["vocabulary"])
    trained.save_pretrained(run.out)
    run.facts["vocabulary"] = len(trained)


def create(run: StageRun) -> None:
    """Write a model with fresh weights."""
    from trilemma.models import loading

    settings = run.stage.settings
    shared = loading.load_tokenizer(run.inputs["tokenizer"])
    model = loading.create(settings["arch"], settings["size"], shared, settings["seed"])
    loading.save(model, shared, run.out)


def pretrain(run: StageRun) -> None:
    """Next-token training from scratch."""
    from trilemma.training.pretraining import PretrainSettings, pretrain

    settings = run.stage.settings
    facts = pretrain(
        settings["arch"],
        settings["size"],
        [Path(path) for path in run.stage.resources["corpus"]],
        PretrainSettings.model_validate(settings["pretrain"]),
        tokenizer=run.inputs["tokenizer"],
        seed=settings["seed"],
        out=run.out,
        work=run.work,
        progress=run.progress,
    )
    run.facts.update(asdict(facts))


def transform(run: StageRun) -> None:
    """Write a changed copy of a model."""
    from trilemma.transforms import TRANSFORMS

    settings = run.stage.settings
    TRANSFORMS.get(settings["transform"])(Path(run.source), run.out, settings["seed"])


def sweep(run: StageRun) -> None:
    """Choose the learning rate on a held-out slice of the training split."""
    from trilemma import adapt as room

    settings = run.stage.settings
    facts = room.sweep(
        run.source,
        run.data.task(settings["task"]),
        run.data.examples(settings["task"], "train"),
        room.AdaptSettings.model_validate(run.stage.resources["adapt"]),
        seed=settings["seed"],
        work=run.work,
        progress=run.progress,
        **settings["load"],
    )
    run.facts.update(asdict(facts))
    (run.out / "sweep.json").write_text(json.dumps(run.facts, indent=1), "utf-8")


def adapt(run: StageRun) -> None:
    """Adapt a model to a task."""
    from trilemma import adapt as room

    settings = run.stage.settings
    chosen = room.AdaptSettings.model_validate(run.stage.resources["adapt"])
    swept = run.inputs.get("sweep")
    rate = chosen.learning_rate
    if swept is not None:
        rate = json.loads((swept / "sweep.json").read_text("utf-8"))["learning_rate"]
    assert isinstance(rate, float)
    facts = room.adapt(
        run.source,
        run.data.task(settings["task"]),
        run.data.examples(settings["task"], "train"),
        chosen,
        learning_rate=rate,
        seed=settings["seed"],
        out=run.out,
        work=run.work,
        progress=run.progress,
        **settings["load"],
    )
    run.facts.update(asdict(facts))


def adapted_classifier(run: StageRun) -> "Classifier":
    """The adapted model that the stage asks."""
    load = run.stage.settings["load"]
    folder, max_length = str(run.inputs["model"]), run.stage.settings["max_length"]
    return _loaded(folder, max_length, load["trust_remote_code"], load["allow_pickle"])


@lru_cache(maxsize=1)
def _loaded(folder: str, max_length: int, trust_remote_code: bool, allow_pickle: bool) -> "Classifier":
    """The adapted model that was used last: its sets are answered one after the other."""
    from trilemma.inference.classifier import Classifier

    return Classifier.load(
        folder, max_length=max_length, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle
    )


def answer(run: StageRun) -> None:
    """Let an adapted model answer one evaluation split or one adversarial set."""
    settings = run.stage.settings
    examples = _examples(run, settings["task"], settings["set"])
    originals = (
        list(examples.originals) if isinstance(examples, AdversarialExamples) else [None] * len(examples)
    )
    asked = [*examples.texts, *(text for text in originals if text is not None)]
    probabilities = adapted_classifier(run).probabilities(asked, run.progress)
    broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if broken:
        raise DivergedError(
            f"{broken:,} of {len(asked):,} answers to {settings['set']} are no numbers; "
            "adapt with a lower learning rate, or check the model's weights"
        )
    write_items(run, examples, originals, probabilities)


def _examples(run: StageRun, task: str, name: str) -> Examples:
    for examples in (*run.data.evaluation(task), *run.data.adversarial(task)):
        if examples.split == name:
            return examples
    raise KeyError(name)


def write_items(
    run: StageRun, examples: Examples, originals: Sequence[Text | None], probabilities: "NDArray[Any]"
) -> None:
    """Write the items of one set; probabilities [n + paired, outputs], those of the originals last."""
    task = run.data.task(examples.task)
    n = len(examples)
    paired = [i for i, text in enumerate(originals) if text is not None]
    answers = probabilities[:, 0] if task.labels is None else probabilities.argmax(axis=1)
    original_answer: list[float | None] = [None] * n
    original_probabilities: list[list[float] | None] = [None] * n
    for row, i in enumerate(paired, start=n):
        original_answer[i] = float(answers[row])
        original_probabilities[i] = probabilities[row].tolist()
    adversarial = examples if isinstance(examples, AdversarialExamples) else None
    columns: dict[str, list[Any]] = {
        "task": [examples.task] * n,
        "set": [examples.split] * n,
        "id": list(examples.ids),
        "level": list(adversarial.levels) if adversarial else ["clean"] * n,
        "method": list(adversarial.methods) if adversarial else [""] * n,
        "origin": list(adversarial.origins) if adversarial else list(examples.ids),
        "original": [None if text is None else list(text) for text in originals],
        "shown": [list(text) for text in examples.texts],
        "labels": [None if task.labels is None else list(task.labels)] * n,
        "gold": list(examples.labels),
        "answer": answers[:n].astype(float).tolist(),
        "probabilities": probabilities[:n].tolist(),
        "original_answer": original_answer,
        "original_probabilities": original_probabilities,
    }
    schema = pa.schema([field for field in ITEMS if field.name in columns])
    write_table(pa.Table.from_pydict(columns, schema=schema), run.out / "items.parquet")


def profile(run: StageRun) -> None:
    """Measure the efficiency of all candidates in interleaved rounds; forecast each from the others."""
    from trilemma.adapt import AdaptSettings
    from trilemma.profiling import EfficiencyGrid, ProfiledModel
    from trilemma.profiling import profile as measure

    settings = run.stage.settings
    folders = run.stage.resources["folders"]
    models = [
        ProfiledModel(
            names=tuple(entry["names"]),
            folder=_model_folder(run, folders, role),
            adaptations=tuple(AdaptSettings.model_validate(one) for one in entry["adaptations"]),
            **entry["load"],
        )
        for role, entry in settings["models"].items()
        if role not in run.failures
    ]
    if settings["grid"] is None:
        records = measure(models, EfficiencyGrid(), measurements=["parameters"], progress=run.progress)
    else:
        from trilemma.study.forecasting import forecasts

        grid = EfficiencyGrid.model_validate(settings["grid"])
        records = measure(models, grid, progress=run.progress)
        records = [*records, *forecasts(models, records, grid.decode)]
    absent = [
        Record(
            study="",
            model=name,
            arch="",
            parameters=None,
            adaptation="",
            task="",
            set="",
            seed=None,
            axis="E",
            metric="parameters",
            unit="weights",
            note=f"not measured: failed: {reason}",
        )
        for role, reason in run.failures.items()
        for name in settings["models"][role]["names"]
    ]
    table = records_table([*records, *absent])
    assert table.schema == RECORDS
    write_table(table, run.out / "records.parquet")


def _model_folder(run: StageRun, folders: dict[str, str], role: str) -> Path:
    return Path(folders[role]) if role in folders else run.inputs[role]


def attack(run: StageRun) -> None:
    """Attack an adapted model on the items of an evaluation split that it answers correctly."""
    from trilemma.study.attack_stages import attack

    attack(run, adapted_classifier(run))


def transfer(run: StageRun) -> None:
    """Show an adapted model the examples that were made on another."""
    from trilemma.study.attack_stages import transfer

    transfer(run, adapted_classifier(run))


FUNCTIONS: dict[str, Callable[[StageRun], None]] = {
    "tokenizer": tokenizer,
    "create": create,
    "pretrain": pretrain,
    "transform": transform,
    "sweep": sweep,
    "adapt": adapt,
    "answer": answer,
    "attack": attack,
    "transfer": transfer,
    "profile": profile,
}
