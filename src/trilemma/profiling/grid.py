"""What is measured of a model, at which points, and how much time that may take."""

from collections.abc import Iterable
from itertools import product
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from trilemma.hardware.machine import Precision
from trilemma.metrics import Phase
from trilemma.operating_point import LARGEST, OperatingPoint

Counts = Annotated[list[Annotated[int, Field(ge=1, le=LARGEST)]], Field(min_length=1)]

Answer = Literal["classify", "generate"]
"""The phases in which a model answers: a classifier's forward pass; a prompt with the tokens after it."""

AUTO: Literal["auto"] = "auto"


def grid_points(batches: Iterable[int], lengths: Iterable[int], decode: int = 0) -> list[OperatingPoint]:
    """All combinations, smallest first."""
    points = {OperatingPoint(batch, length, decode) for batch, length in product(batches, lengths)}
    return sorted(points, key=lambda point: (point.tokens, point.batch))


class TrainingGrid(BaseModel):
    """Points at which training speed and training memory are measured."""

    model_config = ConfigDict(extra="forbid")

    batch: Counts = Field(default=[16], description="examples per training batch")
    length: Counts = Field(default=[32, 128, 512], description="tokens per example")


OptionalTraining = Annotated[
    TrainingGrid | None,
    BeforeValidator(
        lambda value: None if value is False else value,
        json_schema_input_type=TrainingGrid | Literal[False] | None,
    ),
]


class EfficiencyGrid(BaseModel):
    """Points at which efficiency is measured; every batch size is measured at every length."""

    model_config = ConfigDict(extra="forbid")

    batch: Counts = Field(default=[1, 16], description="sequences per batch, where the model answers")
    length: Counts = Field(
        default=[32, 128, 512], description="tokens per sequence; of the prompt, where tokens are generated"
    )
    phases: list[Answer] | Literal["auto"] = Field(
        default=["classify", "generate"],
        min_length=1,
        description="how models answer: `classify`, a classifier's pass; `generate`, by causal models alone; "
        "`auto`: `generate` for causal models, `classify` for others and where `decode` is 0",
    )
    decode: int = Field(
        default=32,
        ge=0,
        le=1_000_000,
        description="tokens generated after the prompt, at least 2; 0: no generation",
        json_schema_extra={"not": {"const": 1}},
    )
    training: OptionalTraining = Field(
        default=TrainingGrid(),
        description="points of fine-tuning, by each of the study's adaptations; `null` or `false`: no "
        "training cost is measured",
    )
    rounds: int = Field(default=50, ge=6, description="most repetitions per point")
    seconds: float = Field(
        default=1.0, gt=0, le=1e6, description="time that a model's repetitions at one point aim at"
    )
    time_limit: float = Field(
        default=30.0,
        gt=0,
        le=1e6,
        description="seconds; a single repetition that takes longer is not measured",
    )
    energy: bool = Field(
        default=True, description="whether energy is measured, where the machine has a meter"
    )
    watts: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="the device's power under load, e.g. its TDP: gives estimates of energy, marked as such",
    )

    @field_validator("decode")
    @classmethod
    def _decodes_enough(cls, decode: int) -> int:
        if decode == 1:
            raise ValueError(
                "one token has no time per further token; give at least 2, or 0 for no generation"
            )
        return decode

    @model_validator(mode="after")
    def _generates_tokens(self) -> "EfficiencyGrid":
        if self.phases == ["generate"] and not self.decode:
            raise ValueError("phases: nothing is generated where decode is 0; give decode at least 2")
        return self

    def points(self, phase: Phase = "classify") -> list[OperatingPoint]:
        """Where models answer, or are trained, smallest first."""
        if phase == "train":
            return [] if self.training is None else grid_points(self.training.batch, self.training.length)
        return grid_points(self.batch, self.length, self.decode if phase == "generate" else 0)


class ProfileGrid(EfficiencyGrid):
    """The same with the defaults of `trilemma profile`, which measures any models by themselves."""

    phases: list[Answer] | Literal["auto"] = Field(default=AUTO, min_length=1)
    decode: int = Field(default=64, ge=0, le=1_000_000, json_schema_extra={"not": {"const": 1}})
    training: OptionalTraining = None
    energy: bool = False


class ProfileSettings(BaseModel):
    """All that `trilemma profile` measures; its YAML file holds exactly these fields."""

    model_config = ConfigDict(extra="forbid")

    models: list[str] = Field(
        min_length=1, description="folders, hub ids, or `ARCH:SIZE` such as `gla:small`"
    )
    precisions: list[Precision] = Field(
        default=["float32"],
        min_length=1,
        description="`int8` is torch's dynamic quantisation, `packed` ternary weights at two bits each",
    )
    attention: list[str] = Field(
        default=[""], min_length=1, description="attention implementations by name; `''`: the model's default"
    )
    compiled: bool = Field(default=False, description="run by torch.compile")
    device: str | None = Field(
        default=None, description="`cpu`, `cuda` or `cuda:1`; by default the GPU if any"
    )
    trust_remote_code: bool = Field(default=False, description="run code that a checkpoint brings")
    allow_pickle: bool = Field(default=False, description="read weights that are not safetensors")
    efficiency: ProfileGrid = Field(
        default_factory=ProfileGrid, description="what is measured, as in a study's block of this name"
    )
