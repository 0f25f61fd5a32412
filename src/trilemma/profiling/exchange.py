"""A profile as objects and as a JSON file; ``docs/profile.md`` documents the fields for readers.

The file is the object, field by field: ``read(path)`` after ``write(profile, path)`` gives an equal one.
Numbers are in base units unless the name of a metric says otherwise; what has no value says why, in a note
that begins with ``not measured: ``.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trilemma.errors import DataError
from trilemma.files import write_text
from trilemma.hardware.roofline import Roofline
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.profiling.stability import Verdict

VERSION: Literal[1] = 1
"""Of the file; raised when a field changes its meaning or goes away."""

LARGEST_FILE = 64 << 20
"""Bytes; a profile of a thousand points has two million."""

ABSENT = "not measured: "


def _of_a_machine(number: float) -> float:
    if number and not 1e-30 <= abs(number) <= 1e30:
        raise ValueError("no machine gives such a number")
    return number


Number = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_of_a_machine)]
Name = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Fixed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Value(_Fixed):
    """One number.

    Attributes:
        value: None where it was not measured, with the reason in the note.
        unit: ``ms``, ``bytes``, ``tokens/s``, ``examples/s``, ``FLOPs``, ``J``, ``W`` or ``fraction``.
        low, high: 95% interval of the median, distribution-free; None for what is counted, and for fewer than
            six repetitions.
        n: repetitions; None for what is counted.
        verdict: ``steady``, ``noisy``, ``drifting``, ``undecided``, or "" for what is not timed; see
            :mod:`trilemma.profiling.stability`.
        drift: change of the time from the first repetition to the last, as a share of the median.
        drift_p: p-value of that trend.
        note: what a reader must know.
    """

    value: Number | None
    unit: Name
    low: Number | None = None
    high: Number | None = None
    n: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    verdict: Verdict = ""
    drift: Number | None = None
    drift_p: Annotated[float, Field(ge=0, le=1)] | None = None
    note: Name = ""

    @model_validator(mode="after")
    def _consistent(self) -> "Value":
        if (self.value is None) != self.note.startswith(ABSENT):
            raise ValueError(
                f"a number or a note that begins with {ABSENT.strip()!r} is needed, and not both"
            )
        if self.value is None and not self.low is self.high is None:
            raise ValueError("an interval needs a number")
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        if None not in (self.value, self.low, self.high) and not self.low <= self.value <= self.high:  # type: ignore[operator]
            raise ValueError("the number lies outside its interval")
        return self


class PointProfile(_Fixed):
    """Everything measured of one model at one point.

    Attributes:
        phase: ``inference`` or ``training``.
        batch: sequences, or examples of a training step.
        length: tokens of each; the prompt's, in generation.
        decode: tokens generated after the prompt, the first one included; 0 for none.
        adaptation: method that was trained by; "" in inference.
        values: by metric.
    """

    phase: Literal["inference", "training"]
    batch: Annotated[int, Field(ge=1, le=2**63 - 1)]
    length: Annotated[int, Field(ge=1, le=2**63 - 1)]
    decode: Count = 0
    adaptation: Name = ""
    values: dict[Name, Value]


class ModelProfile(_Fixed):
    """One model in one form, and its points.

    Attributes:
        name: unique in the profile: what was asked for, with what tells it from its other forms.
        source: folder, hub id or ``ARCH:SIZE`` as it was asked for.
        arch: Hugging Face model type.
        dtype: ``float32``, ``bfloat16``, ``float16``, ``int8`` or ``packed``.
        attention: implementation that was asked for, "" for the model's default.
        compiled: whether by ``torch.compile``.
        kernel: path that mixes tokens.
        causal: whether it generates.
        parameters: weights, shared ones once.
        max_length: most positions; None for no limit.
        points: of inference, then of training, each smallest first.
    """

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    source: Name
    arch: Name
    dtype: Annotated[str, Field(pattern="^(float32|bfloat16|float16|int8|packed)$")]
    attention: Name = ""
    compiled: bool = False
    kernel: Name
    causal: bool
    parameters: Count
    max_length: Count | None
    points: tuple[PointProfile, ...]


class Profile(_Fixed):
    """What a machine was measured to do with some models.

    Attributes:
        version: :data:`VERSION`.
        device: torch device.
        hardware: processor, cores, threads, clock, memory; the GPU if used.
        versions: of trilemma, torch, transformers and Python.
        grid: what was asked for.
        roofline: the machine's own rates.
        notes: what a reader must know of the whole.
        models: in the order asked for.
    """

    version: Literal[1] = VERSION
    device: Name
    hardware: Name
    versions: Name
    grid: EfficiencyGrid
    roofline: Roofline
    notes: tuple[Name, ...] = ()
    models: tuple[ModelProfile, ...]

    @model_validator(mode="after")
    def _distinct(self) -> "Profile":
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError("two models have the same name")
        return self


def write(profile: Profile, path: Path) -> None:
    """Write a profile as JSON, whole or not at all.

    Raises:
        StoreError: where that place cannot be written.
    """
    write_text(path, profile.model_dump_json(indent=1) + "\n")


def read(path: Path) -> Profile:
    """Read a profile that :func:`write` wrote.

    Raises:
        DataError: where the file is absent, no profile, damaged, or of another version.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path} is no file; name the JSON file that `trilemma profile --out` wrote")
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(
                f"{path} is larger than any profile ({LARGEST_FILE >> 20} MiB); name another file"
            )
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name another file") from error
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DataError(f"{path} is no JSON ({reason}); name a file of `trilemma profile --out`") from error
    if not isinstance(content, dict) or "models" not in content:
        raise DataError(f"{path} holds no profile; name a file of `trilemma profile --out`")
    if content.get("version") != VERSION:
        raise DataError(
            f"{path} is a profile of version {str(content.get('version'))[:20]}, this program reads version "
            f"{VERSION}; measure again"
        )
    try:
        return Profile.model_validate_json(json.dumps(content), strict=True)
    except (ValidationError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {_first(error)}; measure again") from error


def _first(error: Exception) -> str:
    """Field and message of what is wrong first."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0][:200]
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:200] or 'the whole'}: {first['msg'][:200]}"
