"""A study file, read and checked before any work: YAML to typed, validated settings."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from trilemma.adapt.settings import AdaptSettings, Rate
from trilemma.architectures import ARCHITECTURES, SIZES
from trilemma.attacks import ATTACKS
from trilemma.attacks.settings import AttackSettings
from trilemma.errors import DataError, StudyError
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.registry import Registry
from trilemma.study import consistency
from trilemma.study.consistency import NAME, fault, require_free_set_name
from trilemma.study.reading import explain, place, read_yaml
from trilemma.tasks import TASKS
from trilemma.tasks.reading import expanded
from trilemma.tasks.user import OwnSet, OwnTask
from trilemma.transforms import TRANSFORMS

_SUFFIXES = {"k": 1_000, "M": 1_000_000, "B": 1_000_000_000}


def parse_count(value: object) -> object:
    """``10M`` to 10,000,000 (suffixes k, M, B); anything else is left to the validator."""
    if isinstance(value, str) and value[-1:] in _SUFFIXES:
        try:
            return round(float(value[:-1]) * _SUFFIXES[value[-1]])
        except (ValueError, OverflowError):
            return value
    return value


_Whole = Annotated[int, Field(gt=0, lt=10**15)]
Count = Annotated[
    _Whole,
    BeforeValidator(
        parse_count, json_schema_input_type=_Whole | Annotated[str, Field(pattern=r"^[0-9.]+[kMB]$")]
    ),
]
Name = Annotated[str, Field(pattern=NAME)]
_Entry = TypeVar("_Entry")
_Some = Annotated[tuple[_Entry, ...], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _by_recipe(value: object) -> object:
    return {"recipe": value} if isinstance(value, str) else value


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _require_known(registry: Registry[Any], names: Sequence[str]) -> None:
    for name in names:
        if name not in registry:
            raise ValueError(registry.unknown(name))


def _means_a_folder(text: str, base: Path) -> bool:
    """Whether a plain text among the models is no hub id (``name`` or ``owner/name``) but a folder."""
    return text.startswith((".", "/", "~")) or text.count("/") > 1 or os.path.isdir(base / text)


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
        _require_known(ARCHITECTURES, [arch] if arch else [])
        return arch

    @field_validator("transforms")
    @classmethod
    def _known_transforms(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        _require_known(TRANSFORMS, names)
        return names

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
    """A task that is known by name, with settings of its own."""

    name: Name = Field(description="of GLUE, or a plug-in's name")
    adapt: dict[str, Any] = Field(default_factory=dict, description="adapt settings for this task alone")

    @model_validator(mode="after")
    def _known(self) -> "TaskSpec":
        _require_known(TASKS, [self.name])
        return self


class OwnTaskSpec(OwnTask):
    """The user's own task, with settings of its own: it names `files`."""

    name: Name = Field(description="what records and report call it")
    adapt: dict[str, Any] = Field(default_factory=dict, description="adapt settings for this task alone")

    @field_validator("name")
    @classmethod
    def _new(cls, name: str) -> str:
        if name in TASKS:
            raise ValueError(f"a task called {name!r} exists already; give your own another name")
        return name

    @property
    def block(self) -> dict[str, Any]:
        """The task as it was written, without what belongs to the study."""
        return self.model_dump(exclude={"adapt"}, exclude_unset=True)


AnyTask = TaskSpec | OwnTaskSpec


def _kind_of_task(value: Any) -> str:
    own = "files" in value if isinstance(value, Mapping) else isinstance(value, OwnTaskSpec)
    return "OwnTaskSpec" if own else "TaskSpec"


class SetSpec(OwnSet):
    """The user's own adversarial set, or a published one read from a file (AdvGLUE's annotated JSON)."""

    name: Name = Field(description="what records and report call it")

    @model_validator(mode="after")
    def _free_name(self) -> "SetSpec":
        if self.advglue is None:  # AdvGLUE's own file brings the names of its sets
            require_free_set_name(self.name)
        return self

    @property
    def block(self) -> dict[str, Any]:
        """The set as it was written."""
        return self.model_dump(exclude_unset=True)


class AttackSpec(AttackSettings):
    """An attack of the study: a recipe's name, or ``{recipe: ..., and settings of its own}``."""

    recipe: Name = Field(description="a recipe's name")
    name: Name | None = Field(None, description="what records call it; default: the recipe's name")

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, name: str) -> str:
        _require_known(ATTACKS, [name])
        return name

    @property
    def label(self) -> str:
        """What records call it."""
        return self.name or self.recipe


class RobustnessSpec(_Block):
    """What attacks the adapted models: fixed sets and attacks that run on the model itself."""

    sets: tuple[SetSpec | Name, ...] = Field((), description="advglue, anli, or sets of one's own")
    attacks: tuple[
        Annotated[AttackSpec, BeforeValidator(_by_recipe, json_schema_input_type=AttackSpec | Name)], ...
    ] = Field((), description="attacks run on the adapted model: names of recipes, or recipes with settings")
    attack_settings: AttackSettings = Field(
        AttackSettings(),
        description="settings of all recipes, e.g. similarity; a recipe's own come first",
    )
    budget: int = Field(200, gt=0, description="model queries an item that an attack may use")
    items: int = Field(100, gt=0, description="items of the evaluation split that are attacked")
    transfer: bool = Field(True, description="show each model the examples made on the others")

    def settings_for(self, attack: AttackSpec) -> AttackSettings:
        """The study's settings and the attack's own."""
        own = attack.model_dump(exclude_unset=True, exclude={"recipe", "name"})
        return AttackSettings(**{**self.attack_settings.model_dump(exclude_unset=True), **own})


class PretrainSpec(_Block):
    """Next-token pretraining, shared by every model with ``pretrain: true``: corpus, tokens, tokenizer."""

    corpus: tuple[str, ...] = Field(
        min_length=1, description="text or Parquet files, in the data folder or by path"
    )
    tokens: Count = Field(description="tokens each model is trained on, e.g. 10M")
    vocabulary: Count = Field(8192, description="size of the byte-level BPE tokenizer trained on the corpus")
    length: int = Field(256, ge=8, description="tokens a packed sequence")
    batch: int = Field(32, gt=0, description="sequences a step")
    learning_rate: dict[str, Rate] = Field(
        default_factory=dict, description="peak rate by architecture; default: the architecture's own"
    )
    seed: Seed = 0

    @field_validator("learning_rate")
    @classmethod
    def _of_known_architectures(cls, rates: dict[str, float]) -> dict[str, float]:
        _require_known(ARCHITECTURES, list(rates))
        return rates


class Study(_Block):
    """A study: which candidates, on which tasks, with which seeds, under which attacks, at what cost."""

    base: Path = Field(Path("."), exclude=True, description="folder that relative paths start from")
    name: Name = Field(description="also the run folder's name")
    data: str = Field(
        "embedded",
        pattern=r"^(embedded|hub|folder:.+)$",
        description="embedded, folder:PATH (from the study file's folder), or hub",
    )
    models: tuple[ModelSpec, ...] = Field(min_length=1, description="candidates; a plain text is a hub id")
    tasks: tuple[
        Annotated[
            Annotated[TaskSpec, Tag("TaskSpec")] | Annotated[OwnTaskSpec, Tag("OwnTaskSpec")],
            Discriminator(_kind_of_task),
        ],
        ...,
    ] = Field(min_length=1, description="tasks by name, or tasks of one's own")
    adapt: tuple[AdaptSettings, ...] = Field(
        default=(AdaptSettings(),), min_length=1, description="one adaptation, or several methods to compare"
    )
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, description="every cell is trained once a seed")
    robustness: RobustnessSpec = Field(RobustnessSpec(), description="what attacks the adapted models")
    efficiency: EfficiencyGrid | None = Field(
        None, description="what is timed; leave out to measure sizes only"
    )
    pretrain: PretrainSpec | None = Field(None, description="for the models with `pretrain: true`")

    _written: tuple[yaml.Node, Path] | None = PrivateAttr(None)
    """The file's content and path."""

    @field_validator("models", mode="before", json_schema_input_type=_Some[ModelSpec | str])
    @classmethod
    def _model_ids(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list | tuple):
            return value
        for index, item in enumerate(value):
            if isinstance(item, str) and _means_a_folder(item, info.data.get("base", Path("."))):
                raise fault((index,), f"a plain text is a hub id; for the folder write {{path: {item}}}")
        return [{"id": item} if isinstance(item, str) else item for item in value]

    @field_validator("tasks", mode="before", json_schema_input_type=_Some[TaskSpec | OwnTaskSpec | Name])
    @classmethod
    def _task_names(cls, value: Any) -> Any:
        return (
            [{"name": item} if isinstance(item, str) else item for item in value]
            if isinstance(value, list | tuple)
            else value
        )

    @field_validator("adapt", mode="before", json_schema_input_type=AdaptSettings | _Some[AdaptSettings])
    @classmethod
    def _one_adaptation(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping | AdaptSettings) else value

    @field_validator("data")
    @classmethod
    def _known_home(cls, data: str) -> str:
        try:
            expanded(data.removeprefix("folder:"))
        except DataError as error:
            raise ValueError(str(error)) from error
        return data

    @field_validator("models")
    @classmethod
    def _named(cls, models: tuple[ModelSpec, ...], info: ValidationInfo) -> tuple[ModelSpec, ...]:
        """A folder that is written as `.` or `..` is called what it is called where it lies."""
        base = info.data.get("base", Path("."))
        named = []
        for model in models:
            if model.path and not model.name and Path(model.path).name in ("", ".."):
                name = "+".join(((base / model.path).resolve().name, *model.transforms))
                model = model.model_copy(update={"name": name})
            named.append(model)
        return tuple(named)

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        consistency.check(self)
        return self

    def at(self, *location: int | str) -> str:
        """File, line and field of a place, for the start of an error message; empty without a file."""
        return place(*self._written, location) if self._written else ""

    def settings_for(
        self, adaptation: AdaptSettings, task: AnyTask, model: ModelSpec | None = None
    ) -> AdaptSettings:
        """Adapt settings of one cell: the study's, overridden by the task's, then by the model's if given."""
        own = model.adapt if model else {}
        merged = {**adaptation.model_dump(exclude_unset=True), **task.adapt, **own}
        try:
            return AdaptSettings.model_validate(merged)
        except ValidationError as error:
            written = {("tasks", self.tasks.index(task), "adapt"): task.adapt}
            if model:
                written = {("models", self.models.index(model), "adapt"): own, **written}
            faults: list[InitErrorDetails] = []
            for detail in error.errors():
                field = detail["loc"][0] if detail["loc"] else None
                where = [place for place, block in written.items() if field in block or (block and not field)]
                place = where[0] if where else ("adapt", self.adapt.index(adaptation))
                kind = PydanticCustomError("fault", "{message}", {"message": detail["msg"]})
                if detail["type"] == "extra_forbidden":
                    faults.append({"type": "extra_forbidden", "loc": place + detail["loc"], "input": None})
                else:
                    faults.append({"type": kind, "loc": place + detail["loc"], "input": None})
            raise ValidationError.from_exception_data("study", faults) from error


def load_study(path: str | Path, **overrides: object) -> Study:
    """Read and check a study file.

    Args:
        path: a YAML file.
        overrides: top-level fields that replace those of the file, e.g. ``data="folder:data"``.

    Raises:
        StudyError: naming the line, the field and what would be right.
    """
    path = Path(path)
    content, root = read_yaml(path)
    if "base" in content:
        raise StudyError(f"{path}: base is not a field here; paths start from the study file's folder")
    base = path.resolve().parent
    data = content.get("data")
    if isinstance(data, str) and data.startswith("folder:") and data != "folder:" and "data" not in overrides:
        # Like every path in the file; one given beside the file starts from the working folder.
        with suppress(DataError):  # what is wrong with it is told by line below
            content["data"] = f"folder:{base / expanded(data.removeprefix('folder:'))}"
    try:
        study = Study.model_validate({**content, "base": base, **overrides})
    except ValidationError as error:
        raise StudyError(explain(error, Study, root, path, overrides)) from error
    study._written = root, path
    return study


def schema() -> dict[str, Any]:
    """The study's JSON schema, for editors."""
    document = Study.model_json_schema()
    document["properties"].pop("base", None)
    blocks = document["$defs"]
    for name in ("ModelSpec", "TaskSpec", "OwnTaskSpec"):
        blocks[name]["properties"]["adapt"] = {"$ref": "#/$defs/AdaptSettings"}
    origins = (["arch", "size"], ["id"], ["path"], ["package"])
    blocks["ModelSpec"]["anyOf"] = [{"required": names} for names in origins]
    return {**document, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "trilemma study"}


__all__ = [
    "AnyTask",
    "ModelSpec",
    "OwnTaskSpec",
    "PretrainSpec",
    "RobustnessSpec",
    "SetSpec",
    "Study",
    "TaskSpec",
    "load_study",
    "schema",
]
