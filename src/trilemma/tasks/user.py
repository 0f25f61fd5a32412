"""The user's own tasks and adversarial sets, as a study's YAML names them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from trilemma.errors import DataError, StudyError
from trilemma.tasks import advglue
from trilemma.tasks.columns import adversarial, examples
from trilemma.tasks.official_metrics import CLASSIFICATION, REGRESSION, refused
from trilemma.tasks.raw_table import read_file
from trilemma.tasks.task import AdversarialExamples, Examples, Task

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value,
        json_schema_input_type=str | tuple[str, ...],
    ),
]
"""One name or a list of names."""

ClassNames = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda value: [str(x) if type(x) is int else x for x in value] if isinstance(value, list) else value,
        json_schema_input_type=tuple[str | int, ...],
    ),
]
"""Names as YAML gives them: ``[1, 2, 3]`` means the names 1, 2 and 3."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UserTask(_Block):
    """Your own task: what it asks and where its files are."""

    name: str = Field(min_length=1, description="what records and report call it")
    fields: Names = Field(min_length=1, max_length=2, description="column(s) of the text, one or two")
    label: str = Field("label", description="column of the label")
    labels: ClassNames | None = Field(
        None, min_length=2, description="class names in the order of their index; none: a regression"
    )
    metric: Names = Field(
        (),
        description="one or more metrics, the primary one first: accuracy (default), f1 (of class 1 of two "
        "classes), macro_f1, matthews; of a regression pearson (default), spearman",
    )
    id: str | None = Field(None, description="column of a unique id; default: row numbers")
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$")], Path] = Field(
        description="split to CSV, JSONL or Parquet file: train, and at least one to evaluate on"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "UserTask":
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: expected different names")
        for metric in self.metric:
            if why := refused(metric, len(self.labels or ())):
                raise ValueError(f"metric: {why}")
        if "train" not in self.files or len(self.files) < 2:
            raise ValueError("files: expected train and at least one more, e.g. validation")
        return self


class UserSet(_Block):
    """Your own adversarial set for a task, or AdvGLUE's annotated JSON by path or URL."""

    name: str = Field(min_length=1, description="what records and report call it")
    advglue: str | None = Field(
        None, description="path or URL of dev_ann.json or test_ann.json; excludes all below"
    )
    task: str | None = Field(None, description="the task it attacks")
    file: Path | None = Field(
        None,
        description="CSV, JSONL or Parquet, text columns named as the task's fields; in AdvGLUE's columns "
        "(`data_construction`, `original_*`), as `trilemma attack` writes them, nothing else is needed",
    )
    label: str = Field("label", description="column of the label")
    id: str | None = Field(None, description="column of a unique id; default: row numbers")
    level: str | None = Field(None, description="column of the level: word, sentence, human or unknown")
    method: str | None = Field(None, description="column of the attack's name")
    original: dict[str, str] = Field(
        default_factory=dict, description="field to the column of its clean text"
    )
    origin: str | None = Field(
        None, description="column of the clean source's id; default: from the original"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "UserSet":
        if self.advglue is not None and self.model_fields_set - {"name", "advglue"}:
            raise ValueError("expected `advglue` alone, or `task` and `file`")
        if self.advglue is None and (self.task is None or self.file is None):
            raise ValueError(
                "expected `task` and `file`, or `advglue` with the path or URL of its annotated JSON"
            )
        return self


@dataclass(frozen=True)
class UserSource:
    """The files of one of the user's tasks."""

    block: UserTask
    base: Path

    @property
    def description(self) -> str:
        """Where the examples came from."""
        return f"the user's files for {self.block.name}"

    def load(self, task: Task, split: str) -> Examples:
        """One split, of those that the block names."""
        if task.name != self.block.name or split not in self.block.files:
            raise DataError(
                f"no {split!r} of {task.name} in {self.description}; it has {', '.join(self.block.files)}"
            )
        identifier = [self.block.id] if self.block.id else []
        table = read_file(self.base / self.block.files[split], [*task.fields, self.block.label, *identifier])
        return examples(task, split, table, label=self.block.label, identifier=self.block.id)

    def adversarial(self, task: Task, name: str) -> list[AdversarialExamples]:
        """Nothing, since published sets are not for a user's task."""
        return []


def from_user(block: Mapping[str, Any], base: Path) -> tuple[Task, UserSource]:
    """The user's task and where its examples come from.

    Args:
        block: the fields of :class:`UserTask`.
        base: the folder that relative file names start from: the study file's.

    Raises:
        StudyError: naming the field and what would be right.
    """
    given = _parse(UserTask, block, "task")
    source = UserSource(given, base)
    task = Task(
        name=given.name,
        fields=given.fields,
        labels=given.labels,
        metrics=given.metric or ((REGRESSION if given.labels is None else CLASSIFICATION)[0],),
        evaluation_splits=tuple(split for split in given.files if split != "train"),
        source="user",
        data=source,
    )
    return task, source


def adversarial_from_user(block: Mapping[str, Any], base: Path, task: Task) -> list[AdversarialExamples]:
    """The user's own adversarial set for ``task``: the fields of :class:`UserSet`.

    Returns:
        The set, or an empty list where it is for another task.

    Raises:
        StudyError: naming the field and what would be right.
        DataError: naming file, row and expectation.
    """
    given = _parse(UserSet, block, "adversarial set")
    if given.advglue is not None:
        url = given.advglue.startswith(("http://", "https://"))
        return advglue.read_annotated(given.advglue if url else base / given.advglue, task)
    if given.task != task.name or given.file is None:
        return []
    for name in given.original:
        if name not in task.fields:
            raise StudyError(
                f"adversarial set {given.name}: original: {name!r} is not a field of {task.name}; expected "
                f"{' or '.join(task.fields)}"
            )
    named = [given.id, given.level, given.method, given.origin, *given.original.values()]
    if not any(named) and given.label == "label":
        found = read_file(base / given.file, *advglue.columns(task))
        if "data_construction" in found.columns:
            return [_named(given, advglue.from_table(task, "", found, None))]
    table = read_file(base / given.file, [*task.fields, given.label, *(name for name in named if name)])
    examples = adversarial(
        task,
        "",
        table,
        label=given.label,
        identifier=given.id,
        level=given.level,
        method=given.method,
        originals=given.original,
        origin=given.origin,
    )
    return [_named(given, examples)]


def _named(given: UserSet, examples: AdversarialExamples) -> AdversarialExamples:
    """A set under the user's name, which is no part of its fingerprint: renaming it asks no model again.

    Items without an original are clusters by themselves, in this set alone.
    """
    own = examples.fingerprint[:16]
    origins = [
        f"{own}{origin}" if clean is None and given.origin is None else origin
        for clean, origin in zip(examples.originals, examples.origins, strict=True)
    ]
    return replace(examples, split=given.name, origins=origins)


_Kind = TypeVar("_Kind", bound=_Block)


def _parse(kind: type[_Kind], block: Mapping[str, Any], noun: str) -> _Kind:
    try:
        return kind.model_validate(dict(block))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        name = block.get("name", "without a name")
        raise StudyError(f"{noun} {name}: {f'{field}: ' if field else ''}{message}") from error
