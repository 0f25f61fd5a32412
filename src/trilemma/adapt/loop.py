"""Adapting a pretrained model to a task."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, PreTrainedModel, set_seed

from trilemma.adapt import ADAPTATIONS
from trilemma.adapt.adaptation import TaskLoss
from trilemma.adapt.encoding import EncodedExamples
from trilemma.adapt.settings import AdaptSettings
from trilemma.adapt.slices import capped, labelled, split_off
from trilemma.errors import DataError, ModelError
from trilemma.models.loading import describe, load_classifier, load_tokenizer, save
from trilemma.progress import Progress, silent
from trilemma.tasks.metrics import compute
from trilemma.tasks.task import Examples, Task
from trilemma.training.loop import (
    LengthGroupedOrder,
    Recipe,
    Selection,
    Training,
    choose_precision,
    steps_of,
    train,
)


@dataclass(frozen=True)
class AdaptFacts:
    """What was done, and at what cost; JSON-able.

    Attributes:
        method: the adaptation's name.
        task: task name.
        rows: training rows.
        epochs: passes over them that were made (fewer than asked after early stopping).
        steps: optimiser steps.
        batch: examples a step.
        learning_rate: the peak rate.
        seed: training seed.
        precision: number format and why.
        device: ``cpu`` or ``cuda``.
        trainable_parameters: weights that were trained.
        truncated: fraction of the training rows that were cut at the maximum length.
        max_length: that length, in tokens.
        seconds: of all training and of what was made between two, checkpoints included, loading and
            tokenising not.
        examples_per_second: of the last training.
        loss_curve: (step, mean loss since the point before).
        held_out_metric: name of the metric that chose the checkpoint; None without early stopping.
        held_out_value: its best value.
        held_out_rows: rows of the held-out slice.
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


def adapt(
    source: str | Path,
    task: Task,
    train: Examples,
    settings: AdaptSettings,
    *,
    learning_rate: float,
    seed: int,
    out: Path,
    work: Path,
    progress: Progress = silent,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> AdaptFacts:
    """Adapt the model at ``source`` to ``task`` and write the classifier to ``out``.

    Args:
        source: folder or hub id of a Hugging Face model.
        task: what is asked; a regression where it has no labels.
        train: the training split. Without early stopping all of it trains (up to ``settings.rows``).
        settings: how; its own ``learning_rate`` is not read.
        learning_rate: the peak rate, given or chosen by :func:`trilemma.adapt.sweep`.
        seed: of the new head, the batches and dropout; fixes the result on one machine.
        out: folder that is written at the end: weights (safetensors), configuration, tokenizer.
        work: folder for checkpoints; after a kill the same call goes on from the last one.
        progress: told of examples.
        trust_remote_code: whether Python code that comes with the model may run.
        allow_pickle: whether weights that are not safetensors may be opened.

    Raises:
        DivergedError: when the loss is no number any more.
        DataError: when the split cannot be trained on.
        ModelError: when the model cannot be loaded or does not fit the method.
    """
    train = labelled(task, train)
    held_out = None
    if settings.early_stopping is not None:
        train, held_out = split_off(task, train, settings.held_out_rows(len(train)), seed)
    train = capped(task, train, settings.rows, seed)
    training = partial(
        fit,
        source,
        task,
        settings=settings,
        learning_rate=learning_rate,
        epochs=settings.epochs,
        seed=seed,
        checkpoint_steps=settings.checkpoint_steps,
        held_out=held_out,
        progress=progress,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    fitted = training(train, work=work)
    before = fitted.training.seconds
    further = ADAPTATIONS.get(settings.method)().made_on(
        fitted.model, fitted.tokenizer, task, train, settings, seed=seed, work=work, progress=progress
    )
    if further is not None:
        fitted = training(_joined(train, further.examples), work=work / "anew")
        before += further.seconds + fitted.training.seconds
    save(fitted.model, fitted.tokenizer, out)
    return _facts(fitted, task, settings, learning_rate, seed, held_out, before)


@dataclass(frozen=True)
class Fitted:
    """A trained model in memory and how it came about."""

    model: PreTrainedModel
    tokenizer: Any
    data: EncodedExamples
    training: Training
    recipe: Recipe
    trainable_parameters: int
    max_length: int


def fit(
    source: str | Path,
    task: Task,
    train_rows: Examples,
    settings: AdaptSettings,
    *,
    learning_rate: float,
    epochs: float,
    seed: int,
    work: Path,
    checkpoint_steps: int | None,
    held_out: Examples | None = None,
    progress: Progress = silent,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Fitted:
    """Load, train on exactly ``train_rows``, and return the plain classifier; shared by adapt and sweep."""
    tokenizer = load_tokenizer(source, trust_remote_code=trust_remote_code)
    model = load_classifier(
        source,
        task.outputs,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        dtype=torch.float32,
        seed=seed,
    )
    limit = describe(model).max_length
    if limit is not None and limit < settings.max_length:
        raise ModelError(f"{source} takes at most {limit} tokens; set adapt.max_length to {limit} or less")
    _name_labels(model, task)
    plugin = ADAPTATIONS.get(settings.method)()
    train_rows = plugin.examples(train_rows, settings, seed)
    data = EncodedExamples(train_rows, tokenizer, model, settings.max_length)
    set_seed(seed)
    prepared = plugin.prepare(model, settings)
    task_loss = TaskLoss(_class_weights(task, train_rows) if settings.class_weights else None)
    recipe = Recipe(
        steps=steps_of(len(data), settings.batch, epochs),
        batch=settings.batch,
        learning_rate=learning_rate,
        seed=seed,
        precision=choose_precision(settings.precision),
        warmup=settings.warmup,
        schedule=settings.schedule,
        weight_decay=settings.weight_decay,
        max_gradient_norm=settings.max_gradient_norm,
        gradient_accumulation=settings.gradient_accumulation,
        checkpoint_steps=checkpoint_steps,
    )
    selection = None
    if held_out is not None and settings.early_stopping is not None:
        selection = Selection(
            dataset=EncodedExamples(held_out, tokenizer, model, settings.max_length),
            score=scorer(task),
            every=steps_of(len(data), settings.batch, settings.early_stopping.every),
            callback=EarlyStoppingCallback(settings.early_stopping.patience),
        )
    training = train(
        prepared,
        data,
        LengthGroupedOrder(data.lengths, settings.batch, seed),
        lambda model, batch: plugin.loss(model, batch, task_loss),
        recipe,
        work=work,
        progress=progress,
        unit="examples",
        per_step=settings.batch,
        selection=selection,
    )
    trainable = sum(p.numel() for p in prepared.parameters() if p.requires_grad)
    model = plugin.finish(prepared)
    model.eval()
    return Fitted(model, tokenizer, data, training, recipe, trainable, settings.max_length)


def scorer(task: Task) -> Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]:
    """Outputs ``[n, outputs]`` and labels ``[n]`` to the primary metric; an undefined one is the worst."""

    def score(outputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
        answers = outputs[:, 0] if task.labels is None else outputs.argmax(axis=1)
        value = compute(task.metrics[0], labels.astype(float).tolist(), answers.astype(float).tolist())
        return -1.0 if np.isnan(value) else value

    return score


def _joined(rows: Examples, further: Examples) -> Examples:
    return replace(
        rows,
        ids=[*rows.ids, *further.ids],
        texts=[*rows.texts, *further.texts],
        labels=[*rows.labels, *further.labels],
    )


def _name_labels(model: PreTrainedModel, task: Task) -> None:
    if task.labels is not None:
        model.config.id2label = dict(enumerate(task.labels))
        model.config.label2id = {label: index for index, label in enumerate(task.labels)}


def _class_weights(task: Task, train: Examples) -> torch.Tensor:
    """Inverse class frequencies with mean 1 over the rows, ``[outputs]``."""
    if task.labels is None:
        raise DataError(f"{task.name} is a regression and has no classes to weigh; remove class_weights")
    counts = np.bincount(np.asarray(train.labels, dtype=np.int64), minlength=task.outputs)
    if not counts.all():
        absent = ", ".join(task.labels[i] for i in np.flatnonzero(counts == 0))
        raise DataError(f"{train.task} {train.split} has no row of class {absent}; remove class_weights")
    return torch.from_numpy(len(train) / (task.outputs * counts)).float()


def _facts(
    fitted: Fitted,
    task: Task,
    settings: AdaptSettings,
    learning_rate: float,
    seed: int,
    held_out: Examples | None,
    seconds: float,
) -> AdaptFacts:
    training, rows = fitted.training, len(fitted.data)
    epochs = training.steps / steps_of(rows, settings.batch, 1.0)
    return AdaptFacts(
        method=settings.method,
        task=task.name,
        rows=rows,
        epochs=epochs,
        steps=training.steps,
        batch=settings.batch,
        learning_rate=learning_rate,
        seed=seed,
        precision=str(fitted.recipe.precision),
        device=fitted.model.device.type,
        trainable_parameters=fitted.trainable_parameters,
        truncated=fitted.data.truncated,
        max_length=fitted.max_length,
        seconds=seconds,
        examples_per_second=rows * epochs / training.seconds,
        loss_curve=training.loss_curve,
        held_out_metric=task.metrics[0] if held_out is not None else None,
        held_out_value=training.best_score,
        held_out_rows=len(held_out) if held_out is not None else 0,
    )
