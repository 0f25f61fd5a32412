"""What fine-tuning and pretraining share on top of the Hugging Face Trainer.

The Trainer brings accelerate, mixed precision, gradient accumulation, several devices and checkpoints.
Added here: batches that are a function of seed and epoch, so that a resumed run sees the same ones; an end
as soon as the loss is no number; progress in the caller's terms; and none of the Trainer's avoidable cost
per step, which for models of a few million weights would be a good part of the time.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from trilemma.errors import DivergedError, StoreError, TrilemmaError
from trilemma.progress import Progress

Batch = dict[str, Tensor]
Objective = Callable[[nn.Module, Batch], tuple[Tensor, Any]]
"""Model and batch to the mean loss of the batch and the model's output."""

_LOSS_POINTS = 100
"""About so many points of the loss curve are kept."""

_POOL = 50
"""Batches whose examples are sorted by length together: more means less padding, less random batches."""


class Precision(NamedTuple):
    """Number format of matrix products in training, and why it was chosen."""

    name: Literal["float32", "bfloat16"]
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose_precision(wanted: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """Resolve ``auto``: bfloat16 autocast where the hardware multiplies it natively, else float32."""
    if wanted != "auto":
        return Precision(wanted, "as asked")
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bfloat16", "auto: the GPU multiplies bfloat16")
        return Precision("float32", "auto: the GPU does not multiply bfloat16")
    # Native instructions are of use only through oneDNN; without either bfloat16 is many times slower.
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if onednn and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        for name in ("amx_bf16", "avx512_bf16", "sve_bf16"):
            if capabilities.get(name):
                return Precision("bfloat16", f"auto: the CPU has {name}")
    return Precision("float32", "auto: the CPU is not known to multiply bfloat16")


@dataclass(frozen=True)
class Recipe:
    """How a training is optimised.

    Attributes:
        steps: optimiser steps in all.
        batch: items of one step, on all devices and accumulation parts together.
        learning_rate: the peak.
        warmup: fraction of the steps in which the rate rises.
        schedule: ``linear``, ``cosine`` or ``constant`` after the warm-up.
        weight_decay: on matrices only.
        betas: of AdamW.
        max_gradient_norm: gradients are clipped to it.
        gradient_accumulation: equal parts that a batch is computed in.
        precision: of matrix products.
        seed: of batches and dropout.
        checkpoint_steps: steps between checkpoints; None for none (a short training is simply repeated).
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


@dataclass(frozen=True)
class Selection:
    """Which checkpoint is the result, and when to stop looking for a better one.

    Attributes:
        dataset: what checkpoints are evaluated on.
        score: model outputs ``[n, outputs]`` and labels ``[n]`` to a number, higher is better.
        every: steps between evaluations.
        callback: ends the training.
    """

    dataset: Dataset[Any]
    score: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]
    every: int
    callback: TrainerCallback


@dataclass(frozen=True)
class Training:
    """What a finished training says of itself.

    Attributes:
        steps: optimiser steps that were taken.
        seconds: spent training, over all runs where it was resumed.
        loss_curve: (step, mean loss since the point before).
        best_score: of the selected checkpoint; None without selection.
    """

    steps: int
    seconds: float
    loss_curve: list[tuple[int, float]]
    best_score: float | None


class LengthGroupedOrder(Sampler[int]):
    """Random batches of items of about one length; a function of seed and epoch alone.

    Args:
        lengths: one an item.
        batch: items a batch.
        seed: with the epoch it determines the order.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray[Any, Any], batch: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next (the Trainer calls this)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(len(self._lengths))
        pool = self._batch * _POOL
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            order[start : start + pool] = part[np.argsort(-self._lengths[part], kind="stable")]
        whole = len(order) // self._batch * self._batch
        batches = order[:whole].reshape(-1, self._batch)
        rng.shuffle(batches)  # else lengths would fall along every pool
        yield from order.tolist()


def train(
    model: nn.Module,
    dataset: Dataset[Any],
    order: Sampler[int],
    objective: Objective,
    recipe: Recipe,
    *,
    work: Path,
    progress: Progress,
    unit: str,
    per_step: float,
    selection: Selection | None = None,
) -> Training:
    """Train ``model`` in place, going on from the last checkpoint in ``work`` where there is one.

    Args:
        model: weights with ``requires_grad`` train.
        dataset: gives whole batches (``__getitems__``), so nothing is left to collate.
        order: the order of items in each epoch.
        objective: the loss.
        recipe: how it is optimised.
        work: folder for checkpoints; a resumed run ends with the weights of an undisturbed one.
        progress: told of ``unit`` done and in total after each step.
        unit: what ``progress`` counts.
        per_step: ``unit`` of one step.
        selection: evaluate along the way and end with the best checkpoint.

    Raises:
        DivergedError: as soon as the loss is no number, naming step and rate.
        StoreError: when a checkpoint cannot be written.
    """
    config = getattr(model, "config", None)
    use_cache = getattr(config, "use_cache", None)
    trainer = _StudyTrainer(model, recipe, dataset, order, objective, selection, work)
    trainer.add_callback(_Reporter(progress, unit, per_step))
    checkpoint = last_checkpoint(work)
    try:
        with _deterministic():
            trainer.finish_or_train(checkpoint)
    except OSError as error:
        raise StoreError(
            f"cannot write a checkpoint to {work} ({error}); free space or choose another folder"
        ) from error
    finally:
        # Take accelerate's autocast off the model again, and give back what the Trainer set.
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
        best_score=trainer.state.best_metric if selection else None,
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


def _arguments(recipe: Recipe, selection: Selection | None, work: Path) -> TrainingArguments:
    saves: dict[str, Any] = {"save_strategy": "no"}
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
    elif recipe.checkpoint_steps is not None:
        saves = {"save_strategy": "steps", "save_steps": recipe.checkpoint_steps, "save_total_limit": 1}
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=recipe.steps,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(recipe.schedule, recipe.schedule),
        warmup_steps=round(recipe.warmup * recipe.steps),
        optim="adamw_torch_fused",
        adam_beta1=recipe.betas[0],
        adam_beta2=recipe.betas[1],
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_gradient_norm,
        bf16=recipe.precision.name == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        logging_steps=max(1, recipe.steps // _LOSS_POINTS),
        logging_nan_inf_filter=False,  # would hide what we look for, at the price of a device sync a step
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        **saves,
    )
    devices = recipe.gradient_accumulation * arguments.world_size * max(1, arguments.n_gpu)
    if recipe.batch % devices:
        raise TrilemmaError(
            f"a batch of {recipe.batch} cannot be cut into {devices} equal parts (devices times gradient "
            "accumulation); choose a batch that they divide"
        )
    arguments.per_device_train_batch_size = recipe.batch // devices
    arguments.per_device_eval_batch_size = arguments.per_device_train_batch_size
    return arguments


class _StudyTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with our loss, our order, an early end on divergence, and less work a step."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        dataset: Dataset[Any],
        order: Sampler[int],
        objective: Objective,
        selection: Selection | None,
        work: Path,
    ) -> None:
        super().__init__(
            model=model,
            args=_arguments(recipe, selection, work),
            data_collator=lambda batch: batch,
            train_dataset=dataset,
            eval_dataset=selection.dataset if selection else None,
            compute_metrics=(lambda p: {"score": selection.score(p.predictions, p.label_ids)})
            if selection
            else None,
            callbacks=[selection.callback] if selection else None,
        )
        self.remove_callback(PrinterCallback)
        # The objective returns the mean over its batch, whatever the model's own loss would do.
        self.model_accepts_loss_kwargs = False
        self._recipe = recipe
        self._order = order
        self._objective = objective
        self._unchecked: list[Tensor] = []
        # Looking at a loss makes a GPU wait for us; the CPU has it at once.
        self._check_every = 1 if self.args.device.type == "cpu" else 10
        self._seconds_before = 0.0
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a kill (to its last logged step) included."""
        return self._seconds_before + time.perf_counter() - self._began

    @property
    def divergence(self) -> str:
        return (
            f"at learning rate {self._recipe.learning_rate:g} with batch {self._recipe.batch}; "
            "choose a lower rate or a longer warm-up"
        )

    def finish_or_train(self, checkpoint: Path | None) -> None:
        """Train from ``checkpoint`` on, or only load it where its training was over."""
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
            ignore_keys_for_eval=["past_key_values", "hidden_states", "attentions"],
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        del train_dataset
        return self._order

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective's loss."""
        del num_items_in_batch
        loss, outputs = self._objective(model, inputs)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass; ends the training where the loss is no number."""
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
        """None: the count would walk over all modules every step, and nothing here reads it."""
        del inputs
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep the training time with every logged step, so that a resumed run knows it."""
        super().log({**logs, "seconds": self.seconds}, start_time)


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Tells the caller how far the training is."""

    def __init__(self, progress: Progress, unit: str, per_step: float) -> None:
        self._progress = progress
        self._unit = unit
        self._per_step = per_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report after every optimiser step."""
        del args, control, kwargs
        done, total = state.global_step * self._per_step, state.max_steps * self._per_step
        self._progress(done, total, self._unit)


def steps_of(items: int, batch: int, epochs: float) -> int:
    """Optimiser steps of ``epochs`` passes over ``items`` items, at least one."""
    return max(1, round(epochs * math.ceil(items / batch)))
