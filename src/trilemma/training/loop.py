"""What fine-tuning and pretraining share on top of the Hugging Face Trainer.

The Trainer brings accelerate, mixed precision, gradient accumulation, several devices and checkpoints.
Added here: batches that are a function of seed and epoch, so that a resumed run sees the same ones;
checkpoints by time, and one before a user's interrupt ends the training; an end as soon as the loss is not
a number; progress in the caller's units; and none of the Trainer's avoidable cost per step, which would be a
good part of the time for small models.
"""

import json
import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from trilemma.errors import DivergedError, StoreError, TrilemmaError
from trilemma.models.checkpoints import without_bars
from trilemma.progress import Progress
from trilemma.training.precision import Precision, choose_precision

Batch = dict[str, Tensor]
Objective = Callable[[nn.Module, Batch], tuple[Tensor, Any]]
"""Model and batch to the mean loss of the batch and the model's output."""

_NOISE = "mtime may not be reliable"
"""A warning of transformers on file systems with coarse times; checkpoints are then sorted by number."""

_SAVING_SHARE = 0.05
"""Most of the time of a training that checkpoints by time may take."""

_LOSS_POINTS = 100
"""Number of points of the loss curve that are kept, about."""


@dataclass(frozen=True)
class Optimisation:
    """How a training is optimised.

    Attributes:
        steps: optimiser steps in all.
        batch: items per step, on all devices and in all accumulation parts together.
        learning_rate: the peak rate.
        seed: seed of batches and dropout.
        precision: number format of matrix products.
        warmup: fraction of the steps in which the rate rises.
        schedule: ``linear``, ``cosine`` or ``constant`` after the warm-up.
        weight_decay: decay of matrices; vectors have none.
        betas: AdamW's.
        max_gradient_norm: the norm to which gradients are clipped.
        gradient_accumulation: equal parts that a batch is computed in.
        checkpoint_steps: steps between checkpoints; None for those by time alone.
        checkpoint_seconds: seconds after which a checkpoint is written.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int
    precision: Precision
    warmup: float = 0.06
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    max_gradient_norm: float = 1.0
    gradient_accumulation: int = 1
    checkpoint_steps: int | None = None
    checkpoint_seconds: float = 60.0


def optimisation_of(
    settings: Any, *, steps: int, learning_rate: float, seed: int, **others: Any
) -> Optimisation:
    """How the settings of a pretraining or an adaptation want it; ``others`` are further fields."""
    own = ("batch", "warmup", "schedule", "weight_decay", "max_gradient_norm", "gradient_accumulation")
    return Optimisation(
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        precision=choose_precision(settings.precision),
        **{name: getattr(settings, name) for name in own},
        **others,
    )


def steps_of(items: int, batch: int, epochs: float) -> int:
    """Optimiser steps of ``epochs`` passes over ``items`` items, at least one."""
    return max(1, round(epochs * math.ceil(items / batch)))


@dataclass(frozen=True)
class Selection:
    """How the best checkpoint is found, and when to stop looking for a better one.

    Attributes:
        dataset: what checkpoints are evaluated on.
        score: model outputs ``[n, outputs]`` and labels ``[n]`` to a number; higher is better.
        every: steps between evaluations.
        callback: ends the training.
    """

    dataset: Dataset[Any]
    score: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]
    every: int
    callback: TrainerCallback


@dataclass(frozen=True)
class TrainingJob:
    """What is trained on, and how.

    Attributes:
        dataset: gives whole batches (``__getitems__``), so that nothing needs to be collated.
        order: the order of items in each epoch.
        objective: the loss.
        optimisation: how the loss is minimised.
        unit: what progress counts, e.g. ``examples``.
        units_per_step: how many of those an optimiser step takes.
        selection: evaluate along the way and end with the best checkpoint; None for the last weights.
        weight: what the objective's mean over a batch is a mean over: the rows, or the sum of their weights.
    """

    dataset: Dataset[Any]
    order: Sampler[int]
    objective: Objective
    optimisation: Optimisation
    unit: str
    units_per_step: float
    selection: Selection | None = None
    weight: Callable[[Batch], float] = lambda batch: float(len(next(iter(batch.values()))))


@dataclass(frozen=True)
class Training:
    """What a finished training reports.

    Attributes:
        steps: optimiser steps that were taken.
        seconds: spent on training, over all runs where it was resumed.
        loss_curve: (step, mean loss since the point before).
        best_score: score of the selected checkpoint; None without selection.
    """

    steps: int
    seconds: float
    loss_curve: list[tuple[int, float]]
    best_score: float | None


def train(model: nn.Module, job: TrainingJob, *, work: Path, progress: Progress) -> Training:
    """Train ``model`` in place, from the last checkpoint in ``work`` where there is one.

    Args:
        model: weights with ``requires_grad`` train.
        job: what is trained on, and how.
        work: folder for checkpoints; a resumed run ends with the weights of an undisturbed one.
        progress: counts the job's units after each step.

    Raises:
        DivergedError: as soon as the loss is not a number, naming step and rate.
        StoreError: when a checkpoint cannot be written.
        KeyboardInterrupt: at the end of the step in which the user interrupts, after a checkpoint; a second
            interrupt does not wait for it.
    """
    logging.getLogger("transformers.trainer_utils").addFilter(_is_no_noise)
    config = getattr(model, "config", None)
    use_cache = getattr(config, "use_cache", None)
    trainer = _JobTrainer(model, job, work)
    trainer.add_callback(_Reporter(progress, job))
    keeper = _Keeper(job.optimisation.checkpoint_seconds)
    trainer.add_callback(keeper)
    checkpoint = last_checkpoint(work)
    try:
        with _deterministic(), without_bars(), keeper.hearing_interrupts():
            trainer.finish_or_train(checkpoint)
    except OSError as error:
        raise StoreError(
            f"cannot write a checkpoint to {work} ({error}); free space or choose another folder"
        ) from error
    finally:
        # Remove accelerate's autocast from the model, and restore what the Trainer set.
        trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
        if config is not None and use_cache is not None:
            config.use_cache = use_cache
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise DivergedError(f"weights are no longer numbers at the last step, {trainer.divergence}")
    history = trainer.state.log_history
    return Training(
        steps=trainer.state.global_step,
        seconds=trainer.seconds,
        loss_curve=[(entry["step"], entry["loss"]) for entry in history if "loss" in entry],
        best_score=trainer.state.best_metric if job.selection else None,
    )


def last_checkpoint(work: Path) -> Path | None:
    """The newest whole checkpoint in ``work``; one that was being written at a kill is removed.

    The Trainer writes ``trainer_state.json`` last.
    """
    found = [
        (int(path.name.split("-")[1]), path) for path in work.glob("checkpoint-*") if path.name[11:].isdigit()
    ]
    for _, path in sorted(found, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(path)
        else:
            return path
    return None


@contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic GPU kernels where there are some; the CPU's are."""
    if not torch.cuda.is_available():
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _is_no_noise(record: logging.LogRecord) -> bool:
    return _NOISE not in str(record.msg)


class _JobTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with a job's loss and order, an early end on divergence, and less work per step."""

    def __init__(self, model: nn.Module, job: TrainingJob, work: Path) -> None:
        selection = job.selection
        super().__init__(
            model=model,
            args=_arguments(model, job.optimisation, selection, work),
            data_collator=lambda batch: batch,
            train_dataset=job.dataset,
            eval_dataset=selection.dataset if selection else None,
            compute_metrics=(lambda p: {"score": selection.score(p.predictions, p.label_ids)})
            if selection
            else None,
            callbacks=[selection.callback] if selection else None,
        )
        self.remove_callback(PrinterCallback)
        # The objective returns the mean over its batch, whatever the model's own loss would do.
        self.model_accepts_loss_kwargs = False
        self._job = job
        self._parts, self._weight = 1, 1.0
        self._unchecked: list[Tensor] = []
        # Reading a loss makes a GPU wait; the CPU has it at once.
        self._check_every = 1 if self.args.device.type == "cpu" else 10
        self._seconds_before = 0.0
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before a kill (up to its last logged step)."""
        return self._seconds_before + time.perf_counter() - self._began

    @property
    def divergence(self) -> str:
        """How the message about a diverged training ends."""
        rate, batch = self._job.optimisation.learning_rate, self._job.optimisation.batch
        return f"at learning rate {rate:g} with batch {batch}; choose a lower rate or a longer warm-up"

    def finish_or_train(self, checkpoint: Path | None) -> None:
        """Continue from ``checkpoint``, or only load it where its training had finished."""
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            self._seconds_before = max(
                (entry.get("seconds", 0.0) for entry in state.log_history), default=0.0
            )
            control = state.stateful_callbacks.get("TrainerControl", {}).get("args", {})
            if state.global_step >= self.args.max_steps or control.get("should_training_stop"):
                self.state = state
                self._load_from_checkpoint(str(checkpoint))
                if state.best_model_checkpoint is not None:
                    self._load_best_model()
                return
        self._began = time.perf_counter()
        self.train(
            resume_from_checkpoint=str(checkpoint) if checkpoint else None,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        del train_dataset
        return self._job.order

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The parts of the next step, with the weight of them all."""
        parts, count = super().get_batch_samples(*args, **kwargs)
        self._parts = len(parts)
        if self._parts > 1:  # counting on a GPU would make it wait
            self._weight = sum(map(self._job.weight, parts))
        return parts, count

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective's loss; of a part, so that the mean over all parts is that of the whole batch."""
        del num_items_in_batch
        loss, outputs = self._job.objective(model, inputs)
        if not return_outputs:
            return loss * (self._parts * self._job.weight(inputs) / self._weight) if self._parts > 1 else loss
        # The Trainer would also gather what else models return (mems, an encoder's states).
        return loss, {"logits": outputs.logits}

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass; ends the training where the loss is not a number."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._unchecked.append(loss)
        if len(self._unchecked) >= self._check_every:
            finite = torch.stack(self._unchecked).isfinite()
            self._unchecked.clear()
            if not bool(finite.all()):
                raise DivergedError(
                    f"the loss is no longer a number at step {self.state.global_step + 1} of "
                    f"{self.state.max_steps}, {self.divergence}"
                )
        return loss

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices decay; norms, biases and other vectors do not."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def floating_point_ops(self, inputs: Batch) -> int:
        """Zero: counting would walk over all modules in every step, and nothing here reads the count."""
        del inputs
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep the training time with every logged step, so that a resumed run knows it."""
        super().log({**logs, "seconds": self.seconds}, start_time)


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Reports to the caller how far the training is."""

    def __init__(self, progress: Progress, job: TrainingJob) -> None:
        self._progress, self._job = progress, job

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report after every optimiser step."""
        del args, control, kwargs
        each = self._job.units_per_step
        self._progress(state.global_step * each, state.max_steps * each, self._job.unit)


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Has a checkpoint written by time, and one before an interrupt ends the training."""

    def __init__(self, every: float) -> None:
        self._every, self._interrupted = every, False
        self._saved = self._step_ended = time.monotonic()

    @contextmanager
    def hearing_interrupts(self) -> Iterator[None]:
        """Let the first Ctrl-C wait for the end of the step, where nobody else handles it."""
        own = threading.current_thread() is threading.main_thread()
        if not own or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return

        def note(*_: object) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._interrupted = True

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._interrupted:  # after the last step
            raise KeyboardInterrupt

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint where one is due."""
        del args, state, kwargs
        self._step_ended = time.monotonic()
        if self._interrupted or self._step_ended - self._saved >= self._every:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End an interrupted training; space checkpoints so that they stay cheap."""
        del args, state, control, kwargs
        if self._interrupted:
            raise KeyboardInterrupt
        self._saved = time.monotonic()
        self._every = max(self._every, (self._saved - self._step_ended) / _SAVING_SHARE)


def _arguments(
    model: nn.Module, chosen: Optimisation, selection: Selection | None, work: Path
) -> TrainingArguments:
    saves: dict[str, Any] = {"save_strategy": "no", "save_total_limit": 1}
    if selection is not None:
        saves = {
            "save_strategy": "steps",
            "save_steps": selection.every,
            "eval_strategy": "steps",
            "eval_steps": selection.every,
            "load_best_model_at_end": True,
            "metric_for_best_model": "score",
            "greater_is_better": True,
            "save_total_limit": 2,  # the best and the last
        }
    elif chosen.checkpoint_steps is not None:
        saves = {"save_strategy": "steps", "save_steps": chosen.checkpoint_steps, "save_total_limit": 1}
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=chosen.steps,
        gradient_accumulation_steps=chosen.gradient_accumulation,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(chosen.schedule, chosen.schedule),
        warmup_steps=round(chosen.warmup * chosen.steps),
        optim="adamw_torch_fused",
        adam_beta1=chosen.betas[0],
        adam_beta2=chosen.betas[1],
        weight_decay=chosen.weight_decay,
        max_grad_norm=chosen.max_gradient_norm,
        bf16=chosen.precision.name == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        seed=chosen.seed,
        logging_steps=max(1, chosen.steps // _LOSS_POINTS),
        logging_nan_inf_filter=False,  # it would hide a diverged loss, and cost a device sync per step
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        **saves,
    )
    if arguments.n_gpu > 1 and any(hasattr(module.forward, "in_groups") for module in model.modules()):
        # DataParallel copies a module to each device, but the forward pass that computes a batch in parts of
        # one length stays that of the first.
        arguments._n_gpu = 1
    devices = chosen.gradient_accumulation * arguments.world_size * max(1, arguments.n_gpu)
    if chosen.batch % devices:
        raise TrilemmaError(
            f"a batch of {chosen.batch} cannot be cut into {devices} equal parts (devices times gradient "
            "accumulation); choose a batch that they divide"
        )
    arguments.per_device_train_batch_size = chosen.batch // devices
    arguments.per_device_eval_batch_size = arguments.per_device_train_batch_size
    return arguments
