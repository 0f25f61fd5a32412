"""Adapting a pretrained model to a task."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trilemma.adapt.fitting import Fitted, fit
from trilemma.adapt.settings import ADAPTATIONS, AdaptJob
from trilemma.adapt.slices import capped, labelled, split_off
from trilemma.models.loading import save
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Examples
from trilemma.training.loop import steps_of


@dataclass(frozen=True)
class AdaptFacts:
    """What was done, and at what cost; JSON-able.

    Attributes:
        method: the adaptation's name.
        task: task name.
        rows: training rows.
        epochs: passes over them that were made (fewer than asked after early stopping).
        steps: optimiser steps.
        batch: examples per step.
        learning_rate: the peak rate.
        seed: training seed.
        precision: number format, and why it was chosen.
        device: ``cpu`` or ``cuda``.
        trainable_parameters: weights that were trained.
        truncated: fraction of the training rows that were cut at the maximum length.
        max_length: that length, in tokens.
        seconds: time of all trainings and of making further examples between them, checkpoints included,
            loading and tokenising not.
        examples_per_second: speed of the last training.
        loss_curve: (step, mean loss since the point before).
        held_out_metric: name of the metric that chose the checkpoint; None without early stopping.
        held_out_value: its best value.
        held_out_rows: rows of the held-out slice.
        notes: sentences on the model and the method that a reader must know.
    """

    method: str
    task: str
    rows: int
    epochs: float
    steps: int
    batch: int
    learning_rate: float
    seed: int
    precision: str
    device: str
    trainable_parameters: int
    truncated: float
    max_length: int
    seconds: float
    examples_per_second: float
    loss_curve: list[tuple[int, float]]
    held_out_metric: str | None
    held_out_value: float | None
    held_out_rows: int
    notes: tuple[str, ...]


def adapt(
    job: AdaptJob,
    train: Examples,
    *,
    learning_rate: float,
    out: Path,
    work: Path,
    progress: Progress = silent,
) -> AdaptFacts:
    """Adapt a model to a task and write the classifier to ``out``.

    Args:
        job: what is adapted to what; the settings' own ``learning_rate`` is not read.
        train: the training split. Without early stopping all of it trains (up to ``settings.rows``).
        learning_rate: the peak rate, given or chosen by :func:`trilemma.adapt.sweep`.
        out: folder that is written at the end: weights (safetensors), configuration, tokenizer.
        work: folder for checkpoints; after a kill the same call resumes from the last one.
        progress: counts examples.

    Raises:
        DivergedError: when the loss is no longer a number.
        DataError: when the split cannot be trained on.
        ModelError: when the model cannot be loaded or does not fit the method.
    """
    settings = job.settings
    train = labelled(job.task, train)
    held_out = None
    if settings.early_stopping is not None:
        train, held_out = split_off(job.task, train, settings.held_out_rows(len(train)), job.seed)
    train = capped(job.task, train, settings.rows, job.seed)
    training = partial(fit, job, learning_rate=learning_rate, held_out=held_out, progress=progress)
    fitted = training(train, work=work)
    seconds = fitted.training.seconds
    further = ADAPTATIONS.get(settings.method)().further_examples(
        fitted.model, fitted.tokenizer, job, train, work=work, progress=progress
    )
    if further is not None:
        more, making = further
        both = replace(
            train,
            ids=[*train.ids, *more.ids],
            texts=[*train.texts, *more.texts],
            labels=[*train.labels, *more.labels],
        )
        fitted = training(both, work=work / "second")
        seconds += making + fitted.training.seconds
    fitted.tokenizer.model_max_length = settings.max_length  # whoever loads it reads as much of a text
    save(fitted.model, fitted.tokenizer, out)
    return _facts(job, fitted, learning_rate, held_out, seconds)


def _facts(
    job: AdaptJob, fitted: Fitted, learning_rate: float, held_out: Examples | None, seconds: float
) -> AdaptFacts:
    training, rows, settings = fitted.training, len(fitted.data), job.settings
    epochs = training.steps / steps_of(rows, settings.batch, 1.0)
    return AdaptFacts(
        method=settings.method,
        task=job.task.name,
        rows=rows,
        epochs=epochs,
        steps=training.steps,
        batch=settings.batch,
        learning_rate=learning_rate,
        seed=job.seed,
        precision=str(fitted.optimisation.precision),
        device=fitted.model.device.type,
        trainable_parameters=fitted.trainable_parameters,
        truncated=fitted.data.truncated,
        max_length=settings.max_length,
        seconds=seconds,
        examples_per_second=rows * epochs / training.seconds,
        loss_curve=training.loss_curve,
        held_out_metric=job.task.metrics[0] if held_out is not None else None,
        held_out_value=training.best_score,
        held_out_rows=len(held_out) if held_out is not None else 0,
        notes=fitted.notes,
    )
