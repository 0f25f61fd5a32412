"""One training of a classifier, from the loaded model to the trained one in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, PreTrainedModel, set_seed

from trilemma.adapt.adaptation import TaskLoss
from trilemma.adapt.encoding import EncodedExamples
from trilemma.adapt.settings import ADAPTATIONS, AdaptJob
from trilemma.errors import DataError, ModelError
from trilemma.inference.labels import class_order
from trilemma.inference.reading import settle
from trilemma.models.loading import describe, load_classifier, load_tokenizer
from trilemma.progress import Progress
from trilemma.tasks.official_metrics import compute
from trilemma.tasks.task import Examples, Task
from trilemma.training.loop import (
    Optimisation,
    Selection,
    Training,
    TrainingJob,
    optimisation_of,
    steps_of,
    train,
)
from trilemma.training.order import LengthGroupedOrder


@dataclass(frozen=True)
class Fitted:
    """A trained model in memory, and how it was trained."""

    model: PreTrainedModel
    tokenizer: Any
    data: EncodedExamples
    training: Training
    optimisation: Optimisation
    trainable_parameters: int
    notes: tuple[str, ...] = ()


def fit(
    job: AdaptJob,
    rows: Examples,
    *,
    learning_rate: float,
    work: Path,
    progress: Progress,
    held_out: Examples | None = None,
    checkpoints: bool = True,
) -> Fitted:
    """Load the model, train it on exactly ``rows``, and return the plain classifier.

    Args:
        job: what is adapted to what; its settings' ``learning_rate`` and ``rows`` are not read.
        rows: training rows.
        learning_rate: the peak rate.
        work: folder for checkpoints; after a kill the same call resumes from the last one.
        progress: counts examples.
        held_out: rows by which early stopping chooses the checkpoint.
        checkpoints: whether to write any but those by time where early stopping does not need them.
    """
    settings, task = job.settings, job.task
    tokenizer = load_tokenizer(job.source, trust_remote_code=job.trust_remote_code)
    model = load_classifier(
        job.source,
        task.outputs,
        trust_remote_code=job.trust_remote_code,
        allow_pickle=job.allow_pickle,
        dtype=torch.float32,
        seed=job.seed,
    )
    limit = describe(model).max_length
    if limit is not None and limit < settings.max_length:
        raise ModelError(
            f"{job.source} takes at most {limit} tokens; set adapt.max_length to {limit} or less"
        )
    notes = tuple(model.loading_notes)
    if task.labels is not None:
        notes += _match_head(model, task.labels)
        model.config.id2label = dict(enumerate(task.labels))
        model.config.label2id = {label: index for index, label in enumerate(task.labels)}
    reading = settle(model, tokenizer)
    plugin = ADAPTATIONS.get(settings.method)()
    rows = plugin.examples(rows, settings, job.seed)
    data = EncodedExamples(rows, tokenizer, model, reading, settings.max_length)
    set_seed(job.seed)
    prepared = plugin.prepare(model, settings)
    task_loss = TaskLoss(_class_weights(task, rows) if settings.class_weights else None)
    selection = None
    if held_out is not None and settings.early_stopping is not None:
        selection = Selection(
            dataset=EncodedExamples(held_out, tokenizer, model, reading, settings.max_length),
            score=scorer(task),
            every=steps_of(len(data), settings.batch, settings.early_stopping.every),
            callback=EarlyStoppingCallback(settings.early_stopping.patience),
        )
    training_job = TrainingJob(
        dataset=data,
        order=LengthGroupedOrder(data.lengths, settings.batch, job.seed),
        objective=lambda model, batch: plugin.loss(model, batch, task_loss),
        optimisation=optimisation_of(
            settings,
            steps=steps_of(len(data), settings.batch, settings.epochs),
            learning_rate=learning_rate,
            seed=job.seed,
            checkpoint_steps=settings.checkpoint_steps if checkpoints else None,
        ),
        unit="examples",
        units_per_step=settings.batch,
        selection=selection,
        weight=lambda batch: task_loss.weight(batch["labels"]),
    )
    training = train(prepared, training_job, work=work, progress=progress)
    trainable = sum(p.numel() for p in prepared.parameters() if p.requires_grad)
    model = plugin.finish(prepared)
    model.eval()
    return Fitted(
        model, tokenizer, data, training, training_job.optimisation, trainable, (*notes, *plugin.notes)
    )


def scorer(task: Task) -> Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]:
    """Outputs ``[n, outputs]`` and labels ``[n]`` to the primary metric; an undefined one is the worst."""

    def score(outputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
        answers = outputs[:, 0] if task.labels is None else outputs.argmax(axis=1)
        value = compute(task.metrics[0], labels.astype(float).tolist(), answers.astype(float).tolist())
        return -1.0 if np.isnan(value) else value

    return score


def _match_head(model: PreTrainedModel, labels: Sequence[str]) -> tuple[str, ...]:
    """Bring a head that comes from the checkpoint into the order of the task's classes, and say so."""
    if not model.keeps_head:
        return ()
    names = ", ".join(map(str, model.config.id2label.values()))
    try:
        order = torch.from_numpy(class_order(model.config, labels))
    except ModelError:
        return (f"training starts from the checkpoint's own head for the classes {names}, in that order",)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(f"{model.base_model_prefix}.") and len(parameter) == len(labels):
                parameter.copy_(parameter[order])
    return (f"training starts from the checkpoint's own head for the classes {names}",)


def _class_weights(task: Task, train: Examples) -> torch.Tensor:
    """Inverse class frequencies with mean 1 over the rows, ``[outputs]``."""
    if task.labels is None:
        raise DataError(f"{task.name} is a regression and has no classes to weigh; remove class_weights")
    counts = np.bincount(np.asarray(train.labels, dtype=np.int64), minlength=task.outputs)
    if not counts.all():
        absent = ", ".join(task.labels[i] for i in np.flatnonzero(counts == 0))
        raise DataError(f"{train.task} {train.split} has no row of class {absent}; remove class_weights")
    return torch.from_numpy(len(train) / (task.outputs * counts)).float()
