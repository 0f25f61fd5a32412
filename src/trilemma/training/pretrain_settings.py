"""How a model is pretrained, as a study or a command says it; imports no torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from trilemma.errors import ModelError, TrilemmaError
from trilemma.units import parse_count

LEARNING_RATES = {"transformer-pp": 2e-3, "gla": 4e-3, "matmul-free": 3e-3}
"""Peak rates for models of a few million weights, by held-out perplexity after short runs of ``micro``.

Larger models need less: published rates for 340 M weights and batches of half a million tokens are 3e-4
(Transformer++ and GLA, arXiv 2312.06635); 4e-3 for MatMul-Free at 370 M (arXiv 2406.02528), where small
updates vanish in the rounding.
"""


class PretrainSettings(BaseModel):
    """How a model is pretrained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: Annotated[int, BeforeValidator(parse_count)] = Field(
        gt=0, description="tokens that are predicted in training, exactly; 10M is ten million"
    )
    length: int = Field(256, ge=8, description="tokens per packed sequence")
    batch: int = Field(32, gt=0, description="sequences per optimiser step")
    gradient_accumulation: int = Field(1, gt=0, description="equal parts that a step's batch is computed in")
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="peak rate; null: the architecture's own"
    )
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="fraction of the steps in which the rate rises")
    weight_decay: float = Field(0.01, ge=0, lt=1)
    max_gradient_norm: float = Field(1.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_steps: int = Field(
        200, gt=0, description="steps between checkpoints; one is also written each minute"
    )
    column: str = Field("text", description="column or field of the corpus files that holds the text")


def resolved(arch: str, settings: PretrainSettings) -> PretrainSettings:
    """The settings, with the architecture's own learning rate where none is given.

    Raises:
        ModelError: for an architecture that has none.
    """
    rate = settings.learning_rate or LEARNING_RATES.get(arch)
    if rate is None:
        raise ModelError(f"there is no usual pretraining rate for {arch}; set learning_rate")
    return settings.model_copy(update={"learning_rate": rate})


def read_settings(**options: Any) -> PretrainSettings:
    """Settings from options as a user gives them.

    Raises:
        TrilemmaError: naming the option that cannot be used, and why.
    """
    try:
        return PretrainSettings.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        option, given = str(first["loc"][0]).replace("_", "-"), first["input"]
        wrong = f"{first['msg'].removeprefix('Input ')}, not {given!r}"
        if option == "tokens" and not isinstance(given, int):
            wrong = f"{given!r} is not a count; give a whole number, or one with k, M or B: 10M"
        raise TrilemmaError(f"--{option}: {wrong}") from error
