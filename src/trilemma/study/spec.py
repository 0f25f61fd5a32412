"""A study file, read and checked before any work: YAML to typed, validated settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from trilemma.adapt.settings import AdaptSettings
from trilemma.architectures import ARCHITECTURES, SIZES
from trilemma.errors import StudyError
from trilemma.profile.grid import EfficiencyGrid

_MAXIMUM_BYTES = 1_000_000
_SUFFIXES = {"k": 1_000, "M": 1_000_000, "B": 1_000_000_000}


def parse_count(value: object) -> object:
    """``10M`` to 10,000,000 (suffixes k, M, B); anything else is left to the validator."""
    if isinstance(value, str) and value[-1:] in _SUFFIXES:
        try:
            return round(float(value[:-1]) * _SUFFIXES[value[-1]])
        except ValueError:
            return value
    return value


Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$")]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(_Block):
    """One candidate: ``{arch, size}`` from scratch, or ``path``, ``id`` or ``package`` of a model folder."""

    name: Name | None = Field(
        None, description="what the report calls it; default: from arch and size, or id"
    )
    arch: str | None = Field(None, description="transformer-pp, gla, matmul-free, or a plug-in's name")
    size: str | None = Field(None, description=f"shape: {', '.join(SIZES)}, or one that a plug-in has")
    id: str | None = Field(
        None, description="a Hugging Face Hub id; with arch and size: the shape it must have"
    )
    path: str | None = Field(None, description="a Hugging Face model folder, relative to the study file")
    package: str | None = Field(None, description="a model folder inside a Python package: module/folder")
    pretrain: bool = Field(False, description="pretrain it first, as the study's `pretrain` block says")
    transforms: tuple[str, ...] = Field((), description="transforms applied before adaptation, in order")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    allow_pickle: bool = Field(False, description="load weights that are not safetensors")
    note: str = Field("", description="what a reader of the report must know of this candidate")
    adapt: dict[str, Any] = Field(default_factory=dict, description="adapt settings for this model alone")

    @field_validator("arch")
    @classmethod
    def _known_architecture(cls, arch: str | None) -> str | None:
        if arch is not None and arch not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {arch!r}; known: {', '.join(ARCHITECTURES.names())}")
        return arch

    @model_validator(mode="after")
    def _known_size(self) -> "ModelSpec":
        if self.arch in ("transformer-pp", "gla", "matmul-free") and self.size not in (None, *SIZES):
            raise ValueError(f"unknown size {self.size!r}; known: {', '.join(SIZES)}")
        return self

    @model_validator(mode="after")
    def _one_origin(self) -> "ModelSpec":
        origins = [name for name in ("id", "path", "package") if getattr(self, name)]
        if len(origins) > 1:
            raise ValueError(f"give one of id, path, package, not {' and '.join(origins)}")
        if not origins and not (self.arch and self.size):
            raise ValueError("give arch and size (from scratch), or one of id, path, package")
        if self.pretrain and origins:
            raise ValueError(
                "pretrain is for models from scratch: give arch and size without id, path or package"
            )
        if not origins and (self.trust_remote_code or self.allow_pickle):
            raise ValueError("trust_remote_code and allow_pickle are for models by id, path or package")
        if bool(self.arch) != bool(self.size):
            raise ValueError("arch and size go together")
        return self

    @property
    def from_scratch(self) -> bool:
        """Whether the model is created here rather than loaded."""
        return not (self.id or self.path or self.package)

    @property
    def label(self) -> str:
        """The candidate's name in tables and report."""
        if self.name:
            return self.name
        if self.from_scratch:
            base = f"{self.arch}-{self.size}" + ("-pretrained" if self.pretrain else "")
        else:
            base = Path(self.id or self.path or self.package or "").name
        return "+".join((base, *self.transforms))


class TaskSpec(_Block):
    """A named task, with settings of its own, or (with ``files``) the user's own task."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name
    adapt: dict[str, Any] = Field(default_factory=dict, description="adapt settings for this task alone")
    files: dict[str, Any] | None = Field(None, description="split to file(s): makes this the user's own task")

    @model_validator(mode="after")
    def _own_or_known(self) -> "TaskSpec":
        if self.files is None and self.model_extra:
            unknown = ", ".join(self.model_extra)
            raise ValueError(f"unknown field(s) {unknown}; a task of your own also needs `files`")
        return self

    @property
    def block(self) -> dict[str, Any]:
        """The user's own task as it was written, without what belongs to the study."""
        return self.model_dump(exclude={"adapt"}, exclude_none=True)


class SetSpec(_Block):
    """The user's own adversarial set, or a published one read from a file (AdvGLUE's annotated JSON)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name

    @property
    def block(self) -> dict[str, Any]:
        """The set as it was written."""
        return self.model_dump()


class RobustnessSpec(_Block):
    """What attacks the adapted models: fixed sets and attacks that run on the model itself."""

    sets: tuple[SetSpec | Name, ...] = Field((), description="advglue, anli, or sets of one's own")
    attacks: tuple[Name, ...] = Field((), description="attacks run on the adapted model")
    budget: int = Field(200, gt=0, description="model queries an item that an attack may use")
    items: int = Field(100, gt=0, description="items of the evaluation split that are attacked")


class PretrainSpec(_Block):
    """Next-token pretraining, shared by every model with ``pretrain: true``: corpus, tokens, tokenizer."""

    corpus: tuple[str, ...] = Field(
        min_length=1, description="text or Parquet files, in the data folder or by path"
    )
    tokens: Count = Field(description="tokens each model is trained on, e.g. 10M")
    vocabulary: Count = Field(8192, description="size of the byte-level BPE tokenizer trained on the corpus")
    length: int = Field(256, ge=8, description="tokens a packed sequence")
    batch: int = Field(32, gt=0, description="sequences a step")
    learning_rate: dict[str, float] = Field(
        default_factory=dict, description="peak rate by architecture; default: the architecture's own"
    )
    seed: int = Field(0, ge=0)


class Study(_Block):
    """A study: which candidates, on which tasks, with which seeds, under which attacks, at what cost."""

    name: Name = Field(description="also the run folder's name")
    data: str = Field("embedded", description="embedded, folder:PATH, or hub")
    models: tuple[ModelSpec, ...] = Field(min_length=1)
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)
    adapt: tuple[AdaptSettings, ...] = Field(default=(AdaptSettings(),), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    robustness: RobustnessSpec = RobustnessSpec()
    efficiency: EfficiencyGrid | None = Field(
        None, description="what is timed; leave out to measure sizes only"
    )
    pretrain: PretrainSpec | None = None
    base: Path = Field(Path("."), exclude=True, description="folder that relative paths start from")

    @field_validator("models", mode="before")
    @classmethod
    def _model_ids(cls, value: Any) -> Any:
        return (
            [{"id": item} if isinstance(item, str) else item for item in value]
            if isinstance(value, list | tuple)
            else value
        )

    @field_validator("tasks", mode="before")
    @classmethod
    def _task_names(cls, value: Any) -> Any:
        return (
            [{"name": item} if isinstance(item, str) else item for item in value]
            if isinstance(value, list | tuple)
            else value
        )

    @field_validator("adapt", mode="before")
    @classmethod
    def _one_adaptation(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping | AdaptSettings) else value

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        for what, names in (
            ("models", [model.label for model in self.models]),
            ("tasks", [task.name for task in self.tasks]),
            ("seeds", [str(seed) for seed in self.seeds]),
            ("adapt", [settings.method for settings in self.adapt]),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what} names {', '.join(twice)} twice; give each a name of its own")
        if any(model.pretrain for model in self.models) and self.pretrain is None:
            raise ValueError(
                "a model says `pretrain: true`, so the study needs a `pretrain` block with corpus and tokens"
            )
        for settings in self.adapt:
            for task in self.tasks:
                trials = {m.label: self.settings_for(settings, task, m).trials for m in self.models}
                if len(set(trials.values())) > 1:
                    raise ValueError(
                        "learning rates are swept with an equal number of trials a model, but here they are "
                        + ", ".join(f"{name}: {count}" for name, count in trials.items())
                    )
        return self

    def settings_for(self, adaptation: AdaptSettings, task: TaskSpec, model: ModelSpec) -> AdaptSettings:
        """Adapt settings of one cell: the study's, overridden by the task's, then by the model's."""
        merged = {**adaptation.model_dump(exclude_unset=True), **task.adapt, **model.adapt}
        try:
            return AdaptSettings.model_validate(merged)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"adapt settings of {model.label} on {task.name}: {where}: {first['msg']}"
            ) from error


def load_study(path: str | Path, **overrides: object) -> Study:
    """Read and check a study file.

    Args:
        path: a YAML file.
        overrides: top-level fields that replace those of the file, e.g. ``data="folder:data"``.

    Raises:
        StudyError: naming the line, the field and what would be right.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StudyError(f"cannot read study {path}: {error.strerror}") from error
    if len(raw) > _MAXIMUM_BYTES:
        raise StudyError(f"{path} has {len(raw):,} bytes; a study file has at most {_MAXIMUM_BYTES:,}")
    try:
        root = yaml.compose(raw.decode("utf-8"), Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise StudyError(
                f"{path} is not a study: its top level must be `field: value` lines (see `trilemma schema`)"
            )
        _refuse_duplicates(root, path)
        content = yaml.safe_load(raw)
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise StudyError(
            f"{path}{where} is not valid YAML: {getattr(error, 'problem', None) or error}"
        ) from error
    except RecursionError as error:
        raise StudyError(f"{path} is nested too deeply to be a study") from error
    try:
        return Study.model_validate({**content, "base": path.resolve().parent, **overrides})
    except ValidationError as error:
        raise StudyError(_explain(error, root, path)) from error


def _refuse_duplicates(root: yaml.Node, path: Path) -> None:
    """Refuse repeated keys (YAML would silently keep the last) and aliases (which can grow without bound)."""
    seen: set[int] = set()
    pending: list[yaml.Node] = [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            raise StudyError(
                f"{path}, line {node.start_mark.line + 1}: YAML aliases (*name) are not supported in a study"
            )
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if str(key.value) in keys:
                    raise StudyError(f"{path}, line {key.start_mark.line + 1}: `{key.value}` is given twice")
                keys.add(str(key.value))
                pending.append(value)


def _explain(error: ValidationError, root: yaml.Node, path: Path) -> str:
    problems = []
    for detail in error.errors():
        location = [part for part in detail["loc"] if not _is_union_tag(part)]
        line = _line(root, location)
        name = ".".join(str(part) for part in location) or "the study"
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(location[:-1])) or "see `trilemma schema`"
            message = f"is not a field here; known: {known}"
        problem = f"{path}, line {line}: {name}: {message}"
        if problem not in problems:
            problems.append(problem)
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "\n".join(problems[:3]) + more


def _is_union_tag(part: int | str) -> bool:
    return isinstance(part, str) and (
        part in ("SetSpec", "float", "constrained-str", "EfficiencyGrid") or "[" in part
    )


def _fields_at(location: list[int | str]) -> Iterator[str]:
    """Names of the fields of the block at ``location``, for the error about an unknown one."""
    block: Any = Study
    for part in location:
        if isinstance(part, int):
            continue
        annotation = (
            block.model_fields[part].annotation if part in getattr(block, "model_fields", {}) else None
        )
        block = next(_blocks_in(annotation), None)
        if block is None:
            return
    yield from (name for name in block.model_fields if name != "base")


def _blocks_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _blocks_in(inner)


def _line(root: yaml.Node, location: list[int | str]) -> int:
    """Line (from 1) of the deepest node of ``location`` that exists."""
    node = root
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        elif not (isinstance(node, yaml.MappingNode) and part == 0):
            break
    return line + 1


def schema() -> dict[str, Any]:
    """The study's JSON schema, for editors."""
    document = Study.model_json_schema()
    document["properties"].pop("base", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "trilemma study", **document}


__all__ = [
    "ModelSpec",
    "PretrainSpec",
    "RobustnessSpec",
    "Study",
    "TaskSpec",
    "load_study",
    "schema",
]
