"""At which points efficiency is measured, and how much time that may take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Counts = Annotated[list[Annotated[int, Field(ge=1, le=10_000_000)]], Field(min_length=1)]


class TrainingGrid(BaseModel):
    """Points at which training speed and training memory are measured."""

    model_config = ConfigDict(extra="forbid")

    batch: Counts = Field(default=[16], description="examples a training batch")
    length: Counts = Field(default=[32, 128, 512], description="tokens an example")


class EfficiencyGrid(BaseModel):
    """Points at which efficiency is measured; every batch size is measured at every length."""

    model_config = ConfigDict(extra="forbid")

    batch: Counts = Field(default=[1, 16], description="items a batch, in inference")
    length: Counts = Field(default=[32, 128, 512], description="tokens an item; the prompt, in generation")
    decode: int = Field(
        default=32,
        ge=0,
        le=1_000_000,
        description="tokens generated after the prompt, at least 2; 0: no generation",
        json_schema_extra={"not": {"const": 1}},
    )
    training: TrainingGrid = Field(
        default_factory=TrainingGrid, description="points of fine-tuning, by each of the study's adaptations"
    )
    rounds: int = Field(default=50, ge=6, description="most repetitions a point")
    seconds: float = Field(
        default=1.0, gt=0, le=1e6, description="time a model's repetitions at one point aim at"
    )
    time_limit: float = Field(
        default=30.0,
        gt=0,
        le=1e6,
        description="seconds; a single repetition that takes longer is not measured",
    )
    watts: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="the device's power under load, e.g. its TDP: gives estimates of energy, marked as such",
    )

    @field_validator("decode")
    @classmethod
    def _tells_first_from_further(cls, decode: int) -> int:
        if decode == 1:
            raise ValueError(
                "one token shows no time per further token; give at least 2, or 0 for no generation"
            )
        return decode
