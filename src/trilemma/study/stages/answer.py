"""The answers of an adapted model to an evaluation split or a fixed adversarial set."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from trilemma.analysis.scores import score
from trilemma.errors import DivergedError
from trilemma.records import ITEMS, Record, write_table
from trilemma.study import estimate
from trilemma.study.finished import Finished
from trilemma.study.graph import AdaptedModel, Graph
from trilemma.study.stage import Loading, Stage, StageRun
from trilemma.tasks.task import AdversarialExamples, Examples, Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trilemma.inference.classifier import Classifier


@dataclass(frozen=True, kw_only=True, eq=False)
class Asking(Stage):
    """A stage that asks an adapted model.

    Attributes:
        adapted: the model.
        set: name of the split or adversarial set in the tables.
        made_on: the model that the set was made on; "" where it was made on none of the study.
    """

    adapted: AdaptedModel
    set: str
    made_on: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        adapted = self.adapted
        return {"task": adapted.task, "max_length": adapted.max_length, "load": asdict(adapted.load)}

    @property
    def inputs(self) -> dict[str, Stage]:
        return {"model": self.adapted.adapt}

    @property
    def item_columns(self) -> dict[str, str]:
        return {"set": self.set}

    def classifier(self, run: StageRun) -> "Classifier":
        folder = str(run.artifact(self.adapted.adapt))
        return _loaded(folder, self.adapted.max_length, self.adapted.load)


@lru_cache(maxsize=1)
def _loaded(folder: str, max_length: int, load: Loading) -> "Classifier":
    """The adapted model that was used last: it is asked all its questions one after the other."""
    from trilemma.inference.classifier import Classifier

    return Classifier.load(folder, max_length=max_length, **asdict(load))


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer(Asking, kind="answer", version=3, of_one_candidate=True, has_items=True):
    """Lets an adapted model answer one set.

    Attributes:
        examples: the set's fingerprint.
        named: whether the set's name is the user's, so that it changes nothing.
    """

    examples: str
    named: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        published = {} if self.named else {"set": self.set}
        return {**super().settings, **published, "examples": self.examples}

    def compute(self, run: StageRun) -> None:
        data, task = run.data, self.adapted.task
        sets: list[Examples] = [*data.evaluation(task), *data.adversarial(task)]
        [examples] = [one for one in sets if one.split == self.set]
        originals: list[Text | None] = [None] * len(examples)
        if isinstance(examples, AdversarialExamples):
            originals = list(examples.originals)
        asked = [*examples.texts, *(text for text in originals if text is not None)]
        probabilities = self.classifier(run).probabilities(asked, run.progress)
        broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
        if broken:
            raise DivergedError(
                f"{broken:,} of {len(asked):,} answers to {self.set} are not numbers (NaN); "
                "adapt with a lower learning rate, or check the model's weights"
            )
        run.facts["truncated"] = self.classifier(run).truncated(examples.texts)
        write_items(run, examples, originals, probabilities)


def shared_origins(examples: Examples) -> list[str]:
    """For each item the id of the first that has the same text: items on one premise are not independent.

    Of the fields of a pair it is the one that fewer texts fill (MNLI's premises, QNLI's sentences).
    """
    if not len(examples):
        return []
    column = min(zip(*examples.texts, strict=True), key=lambda texts: len(set(texts)))
    first: dict[str, str] = {}
    return [first.setdefault(text, own) for text, own in zip(column, examples.ids, strict=True)]


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
        "origin": list(adversarial.origins) if adversarial else shared_origins(examples),
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


def lay_out(graph: Graph, adapted: AdaptedModel) -> Iterator[Answer]:
    """One stage per evaluation split and per adversarial set."""
    data, task, most = graph.data, adapted.task, adapted.max_length
    for examples in (*data.evaluation(task), *data.adversarial(task)):
        yield Answer(
            title=f"{adapted.adapt.title}: {examples.split}",
            estimate=estimate.answering(adapted.origin, len(examples) * graph.tokens(examples, most)),
            adapted=adapted,
            set=examples.split,
            examples=examples.fingerprint,
            named=examples.split in data.named_sets,
        )


def records(finished: Finished) -> Iterator[Record]:
    """Axes P and R, from all answers: those to attacks too."""
    graph, data = finished.graph, finished.graph.data
    answered = [stage for stage in graph.asked if isinstance(stage, Asking) and stage.has_items]
    for stage in answered:
        failure = finished.failure(stage)
        if failure and not finished.failure(stage.adapted.adapt):
            known = data.task(stage.adapted.task)
            where: dict[str, Any] = {"axis": "R", "metric": "robust_accuracy", "level": "all"}
            if stage.set in known.evaluation_splits:
                where = {"axis": "P", "metric": known.metrics[0], "level": "clean"}
            where |= {"set": stage.set, "made_on": stage.made_on, "unit": "fraction"}
            yield finished.of_adapted(stage.adapted, **where, status="failed", reason=failure)
    tasks = {spec.name: data.task(spec.name) for spec in graph.study.tasks}
    partial = {
        (name, examples.split): examples.partial
        for name in tasks
        for examples in (*data.evaluation(name), *data.adversarial(name))
    }
    for stage in answered:
        if stage.made_on:  # an attack, of items of the first split
            task = stage.adapted.task
            partial[task, stage.set] = partial[task, tasks[task].evaluation_splits[0]]
    cut = {
        (one.adapted.model, one.adapted.adaptation, one.adapted.task, one.adapted.seed, one.set): one
        for one in answered
        if finished.facts.get(one.key, {}).get("truncated")
    }
    for record in score(finished.items, tasks, partial=partial):
        place = (record.model, record.adaptation, record.task, record.seed, record.set)
        completed = finished.completed(record)
        if record.seed is not None and place in cut:
            share, most = finished.facts[cut[place].key]["truncated"], cut[place].adapted.max_length
            said = f"{share:.0%} of the texts are cut at {most} tokens"
            said += "; what an attack appends to them is not read" * bool(cut[place].made_on)
            completed = replace(completed, note="; ".join(filter(None, (completed.note, said))))
        yield completed
