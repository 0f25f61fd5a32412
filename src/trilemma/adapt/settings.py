"""What is adapted to what, and how, as a study writes it; imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trilemma.attacks import ATTACKS, AttackSettings
from trilemma.registry import Registry
from trilemma.tasks.task import Task

# Subclasses of trilemma.adapt.adaptation.Adaptation, which needs torch; settings are checked without it.
ADAPTATIONS: Registry[type[Any]] = Registry("adaptation", files="trilemma.adapt.methods")
"""Adaptations by name: built-in ones, and those that other packages bring by an entry point."""

Rate = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RateSweep(_Block):
    """Learning rates that are tried on a slice of the training split before the real training."""

    sweep: tuple[Rate, ...] = Field(min_length=2, description="rates to try, the same number for every model")
    rows: int = Field(4000, gt=0, description="most training rows of a trial, the same rows in every trial")
    epochs: Positive = Field(1.0, description="epochs of a trial")

    @field_validator("sweep")
    @classmethod
    def _distinct(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(rates)) < len(rates):
            raise ValueError("a learning rate is given twice; give each rate once")
        return rates


class EarlyStopping(_Block):
    """When to stop before ``epochs`` are over; the best checkpoint is the result."""

    patience: int = Field(2, gt=0, description="evaluations without a gain before the end")
    every: Positive = Field(1.0, description="epochs between two evaluations on the held-out slice of train")


class LoraSettings(_Block):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(16, gt=0)
    alpha: Positive = Field(32.0, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")
    target: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="names of the layers that get an adapter, or all linear layers but the head"
    )


class AdversarialSettings(_Block):
    """What adversarial training attacks with, and how much."""

    recipe: str = Field("deepwordbug", description="a recipe's name")
    rows: int = Field(1000, gt=0, description="training rows that are attacked")
    budget: int = Field(100, gt=0, description="queries allowed per row")
    settings: AttackSettings = Field(AttackSettings(), description="settings of the recipe")

    @field_validator("recipe")
    @classmethod
    def _known(cls, recipe: str) -> str:
        if recipe not in ATTACKS:
            raise ValueError(ATTACKS.unknown(recipe))
        return recipe


_USER_OF = {"lora": "lora", "adversarial": "adversarial-training"}
"""Which built-in adaptation a block of settings is of; those of plug-ins may use any."""


class AdaptSettings(_Block):
    """All settings of an adaptation.

    ``batch`` counts the examples of one optimiser step, on all devices together; gradient accumulation
    cuts it into that many equal parts, so it changes memory but not the mathematics.
    """

    method: str = Field("full", description="an adaptation's name, a built-in or a plug-in's")
    epochs: Positive = Field(3.0, description="passes over the training rows; may be fractional")
    learning_rate: Rate | RateSweep = Field(
        RateSweep(sweep=(1e-4, 3e-4, 1e-3)), description="peak rate, or {sweep: [...]} to choose it on train"
    )
    batch: int = Field(32, gt=0, description="examples per optimiser step")
    gradient_accumulation: int = Field(1, gt=0, description="equal parts that a step's batch is computed in")
    max_length: int = Field(128, ge=2, description="tokens per example; longer ones are cut")
    rows: int | None = Field(None, gt=0, description="most training rows, drawn by label; null: all")
    optimizer: Literal["adamw"] = "adamw"
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="after warm-up")
    warmup: float = Field(0.06, ge=0, lt=1, description="fraction of the steps in which the rate rises")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="on matrices; norms and biases are exempt")
    max_gradient_norm: Positive = 1.0
    class_weights: Literal["balanced"] | None = Field(None, description="weigh classes by inverse frequency")
    early_stopping: EarlyStopping | None = Field(None, description="null: train all epochs on all rows")
    held_out: Positive = Field(
        1000.0,
        description="slice of train for sweep and early stopping: a fraction of the rows below 1, else rows; "
        "never more than a fifth of the split",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast where the hardware multiplies it natively"
    )
    checkpoint_steps: int = Field(
        500,
        gt=0,
        description="steps between checkpoints to resume from; one is also written each minute and on Ctrl-C",
    )
    lora: LoraSettings = LoraSettings()
    adversarial: AdversarialSettings = AdversarialSettings()

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in ADAPTATIONS:
            raise ValueError(f"unknown adaptation {method!r}; known: {', '.join(ADAPTATIONS.names())}")
        return method

    @model_validator(mode="after")
    def _consistent(self) -> "AdaptSettings":
        if self.batch % self.gradient_accumulation:
            raise ValueError(
                f"batch {self.batch} cannot be cut into {self.gradient_accumulation} equal parts; "
                "choose a batch that gradient_accumulation divides"
            )
        if self.held_out >= 1 and self.held_out != int(self.held_out):
            raise ValueError(f"held_out is a fraction below 1 or a whole number of rows, not {self.held_out}")
        others = (name for name in ADAPTATIONS.built_in() if name == self.method)
        for method, block in ((one, name) for one in others for name in _USER_OF if _USER_OF[name] != one):
            if getattr(self, block) != type(self).model_fields[block].default:
                raise ValueError(
                    f"{block} settings are not used by method {method}; write method: {_USER_OF[block]}"
                )
        return self

    @property
    def trials(self) -> int:
        """Trainings that the learning rate is chosen from; 1 where it is given."""
        return len(self.learning_rate.sweep) if isinstance(self.learning_rate, RateSweep) else 1

    def held_out_rows(self, rows: int) -> int:
        """Size of the held-out slice of a training split of ``rows`` rows."""
        wanted = self.held_out * rows if self.held_out < 1 else self.held_out
        return max(1, min(int(wanted), rows // 5))

    def sweep_examples(self, rows: int) -> float:
        """Examples that all trials train on, on a split of ``rows`` rows; 0 where the rate is given."""
        rates = self.learning_rate
        if not isinstance(rates, RateSweep):
            return 0.0
        return len(rates.sweep) * min(rates.rows, rows - self.held_out_rows(rows)) * rates.epochs


@dataclass(frozen=True)
class AdaptJob:
    """One model on one task.

    Attributes:
        source: folder or hub id of a Hugging Face model.
        task: what is asked; a regression where it has no labels.
        settings: how.
        seed: seed of slices, the new head, batches and dropout; fixes the result on one machine.
        trust_remote_code: whether Python code that comes with the model may run.
        allow_pickle: whether weights that are not safetensors may be opened.
    """

    source: str | Path
    task: Task
    settings: AdaptSettings
    seed: int
    trust_remote_code: bool = False
    allow_pickle: bool = False
