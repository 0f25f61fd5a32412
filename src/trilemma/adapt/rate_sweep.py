"""Choosing the learning rate on a held-out slice of the training split, never on the evaluation split."""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from trilemma.adapt.adaptation import TaskLoss
from trilemma.adapt.fitting import fit, scorer
from trilemma.adapt.settings import AdaptJob, RateSweep
from trilemma.adapt.slices import capped, labelled, split_off
from trilemma.errors import DivergedError, StudyError
from trilemma.files import write_text
from trilemma.inference.classifier import Classifier
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Examples, Task


@dataclass(frozen=True)
class Trial:
    """One training with one rate.

    Attributes:
        learning_rate: the rate.
        value: the primary metric on the held-out slice; None where the training diverged.
        loss: mean loss on the held-out slice; None where the training diverged.
        diverged: the reason; "" where it did not.
        seconds: time of the trial.
    """

    learning_rate: float
    value: float | None
    loss: float | None
    diverged: str
    seconds: float


@dataclass(frozen=True)
class SweepFacts:
    """The chosen rate and what it was chosen from; JSON-able.

    Attributes:
        learning_rate: the chosen rate, see :func:`best_rate`.
        metric: the task's primary metric.
        trials: one per rate, in the order given.
        rows: training rows of each trial.
        epochs: epochs of each trial.
        held_out_rows: rows that every trial was scored on.
        seed: seed of slice, head and batches, the same in every trial.
    """

    learning_rate: float
    metric: str
    trials: list[Trial]
    rows: int
    epochs: float
    held_out_rows: int
    seed: int


def sweep(job: AdaptJob, train: Examples, *, work: Path, progress: Progress = silent) -> SweepFacts:
    """Train once per rate on a slice of ``train``, score each on another slice, and choose.

    Finished trials are kept in ``work`` and not repeated after a kill.

    Args:
        job: what is adapted to what; the settings' ``learning_rate`` holds the rates.
        train: the training split.
        work: folder for finished trials.
        progress: counts examples, over all trials.

    Raises:
        DivergedError: when every trial diverged.
        StudyError: when the settings hold no sweep.
    """
    settings, task, seed = job.settings, job.task, job.seed
    rates = settings.learning_rate
    if not isinstance(rates, RateSweep):
        raise StudyError(
            f"the learning rate is given ({rates:g}), so there is nothing to sweep; write {{sweep: [...]}}"
        )
    train = labelled(task, train)
    rest, held_out = split_off(task, train, settings.held_out_rows(len(train)), seed)
    rest = capped(task, rest, rates.rows, seed)
    of_trial = replace(job, settings=settings.model_copy(update={"epochs": rates.epochs}))
    trials: list[Trial] = []
    for index, rate in enumerate(rates.sweep):
        record = work / f"trial-{index}.json"
        if record.is_file():
            trials.append(Trial(**json.loads(record.read_text())))
            continue

        def of_all(done: float, total: float, unit: str, before: int = index) -> None:
            progress(before * total + done, len(rates.sweep) * total, unit)

        began = time.perf_counter()
        value = loss = None
        diverged = ""
        try:
            fitted = fit(
                of_trial,
                rest,
                learning_rate=rate,
                work=work / f"trial-{index}",
                progress=of_all,
                checkpoints=False,
            )
            classifier = Classifier(fitted.model, fitted.tokenizer, max_length=settings.max_length)
            value, loss = _score(classifier, task, held_out)
        except DivergedError as error:
            diverged = str(error)
        trials.append(Trial(rate, value, loss, diverged, time.perf_counter() - began))
        write_text(record, json.dumps(asdict(trials[-1])))
    return SweepFacts(
        best_rate(trials), task.metrics[0], trials, len(rest), rates.epochs, len(held_out), seed
    )


def _score(classifier: Classifier, task: Task, held_out: Examples) -> tuple[float, float]:
    """Primary metric and mean loss on the held-out slice."""
    logits = classifier.logits(held_out.texts)
    if not np.isfinite(logits).all():
        raise DivergedError("the trained model's answers are not numbers; choose a lower rate")
    labels = np.asarray(held_out.labels, dtype=np.float32)
    loss = TaskLoss()(torch.from_numpy(logits), torch.from_numpy(labels))
    return scorer(task)(logits, labels), float(loss)


def best_rate(trials: list[Trial]) -> float:
    """The rate with the best metric; of equal ones the one with the lower loss.

    Raises:
        DivergedError: when every trial diverged.
    """
    finished = [trial for trial in trials if trial.value is not None and trial.loss is not None]
    if not finished:
        raise DivergedError(f"every learning rate of the sweep diverged; the last: {trials[-1].diverged}")
    return max(finished, key=lambda trial: (trial.value or 0.0, -(trial.loss or 0.0))).learning_rate
