"""The blocks of a study, each valid by itself."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from trilemma.adapt.settings import AdaptSettings, Rate
from trilemma.analysis.goals import Goals
from trilemma.architectures import ARCHITECTURES, DEFAULT_VOCABULARY, SIZES, parse_new_model, unknown_size
from trilemma.attacks import ATTACKS
from trilemma.attacks.settings import EMBEDDED, MODELS, PATHS, AttackSettings
from trilemma.errors import DataError, ModelError, TrilemmaError
from trilemma.files import expanded
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.registry import Registry
from trilemma.tasks import TASKS
from trilemma.tasks.user import UserSet, UserTask
from trilemma.transforms import TRANSFORMS
from trilemma.units import parse_count

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$"
"""Form of the names of models, tasks and sets in tables and files."""

MOST_MODELS, MOST_SEEDS = 5_000, 1_000
"""More of them in a study are a mistake: laying out their trainings would take minutes."""

MOST_STAGES = 500_000
"""What can be laid out in a minute or two."""

RESERVED = ("all", "average", "clean")
"""Names under which the records keep aggregates: no task or set may have one of them."""

RESERVED_SET_STARTS = ("adv_", "advglue", "anli", "test", "train", "validation")
"""Beginnings of the names of published sets and of splits: a user's set would be counted with them."""


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


def fault(location: tuple[int | str, ...], message: str) -> ValidationError:
    """An error at a place inside the block whose validator raises it."""
    kind = PydanticCustomError("fault", "{message}", {"message": message})
    return ValidationError.from_exception_data("study", [{"type": kind, "loc": location, "input": None}])


def _known_to(registry: Registry[Any]) -> AfterValidator:
    """Refuses a name, or any of several, that a registry does not have."""

    def check(names: Any) -> Any:
        for name in [names] if isinstance(names, str) else names:
            if name not in registry:
                raise ValueError(registry.unknown(name))
        return names

    return AfterValidator(check)


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(_Block):
    """One candidate: ``{arch, size}`` from scratch, or ``path``, ``id`` or ``package`` of a model's files."""

    name: Name | None = Field(
        None, description="what the report calls it; default: from arch and size, or id"
    )
    arch: Annotated[str, _known_to(ARCHITECTURES)] | None = Field(
        None, description="transformer-pp, gla, matmul-free, or a plug-in's name"
    )
    size: str | None = Field(None, description=f"one of {', '.join(SIZES)}, or a size that a plug-in has")
    id: str | None = Field(
        None, description="a Hugging Face Hub id; arch and size beside it are checked against it"
    )
    path: str | None = Field(
        None,
        description="a Hugging Face model folder or GGUF file (used in float32); relative to the study file",
    )
    package: str | None = Field(
        None, description="a model folder, or GGUF file, in a Python package: module/folder"
    )
    pretrain: bool = Field(False, description="pretrain it first, as the study's `pretrain` block says")
    transforms: Annotated[tuple[str, ...], _known_to(TRANSFORMS)] = Field(
        (), description="transforms applied before adaptation, in order"
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    allow_pickle: bool = Field(False, description="load weights that are not safetensors")
    note: str = Field("", description="what a reader of the report must know about this candidate")
    adapt: dict[str, Any] = Field(default_factory=dict, description="adapt settings for this model alone")

    @model_validator(mode="after")
    def _one_origin(self) -> "ModelSpec":
        if self.size and (message := unknown_size(self.arch, self.size)):
            raise ValueError(message)
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
    """A task that is known by name, with adapt settings for it."""

    name: Name = Field(description="of GLUE, or a plug-in's name")
    adapt: dict[str, Any] = Field(default_factory=dict, description="adapt settings for this task alone")

    @model_validator(mode="after")
    def _known(self) -> "TaskSpec":
        if self.name not in TASKS:
            raise ValueError(TASKS.unknown(self.name))
        return self


class UserTaskSpec(UserTask):
    """The user's task, which names its `files`, with adapt settings for it."""

    name: Name = Field(description="what records and report call it")
    adapt: dict[str, Any] = Field(default_factory=dict, description="adapt settings for this task alone")

    @field_validator("name")
    @classmethod
    def _new(cls, name: str) -> str:
        if name in TASKS:
            raise ValueError(f"a task called {name!r} exists already; give yours another name")
        return name


AnyTask = TaskSpec | UserTaskSpec


def _kind_of_task(value: Any) -> str:
    by_files = "files" in value if isinstance(value, Mapping) else isinstance(value, UserTaskSpec)
    return "UserTaskSpec" if by_files else "TaskSpec"


class SetSpec(UserSet):
    """The user's adversarial set, or a published one read from a file (AdvGLUE's annotated JSON)."""

    name: Name = Field(description="what records and report call it")

    @model_validator(mode="after")
    def _free_name(self) -> "SetSpec":
        taken = self.name in RESERVED or self.name.startswith(RESERVED_SET_STARTS)
        if taken and self.advglue is None:  # AdvGLUE's own file brings the names of its sets
            raise ValueError(
                f"your set cannot be called {self.name!r}: {', '.join(RESERVED)} and names that begin "
                f"with {', '.join(RESERVED_SET_STARTS)} are taken by published sets, splits and aggregates"
            )
        return self


class AttackSpec(AttackSettings):
    """An attack of the study: a recipe's name, or ``{recipe: ..., and settings for it}``."""

    recipe: Annotated[Name, _known_to(ATTACKS)] = Field(description="a recipe's name")
    name: Name | None = Field(None, description="what records call it; default: the recipe's name")

    @property
    def label(self) -> str:
        """What records call it."""
        return self.name or self.recipe


def _or_text(field: str, kind: Any) -> BeforeValidator:
    """Takes a plain text for a block that has nothing but this field."""

    def block(value: object) -> object:
        return {field: value} if isinstance(value, str) else value

    return BeforeValidator(block, json_schema_input_type=kind | Name)


class RobustnessSpec(_Block):
    """What attacks the adapted models: fixed sets, and attacks that run on the model itself."""

    sets: tuple[SetSpec | Name, ...] = Field((), description="advglue, anli, or sets from your files")
    attacks: tuple[Annotated[AttackSpec, _or_text("recipe", AttackSpec)], ...] = Field(
        (), description="attacks run on the adapted model: names of recipes, or recipes with settings"
    )
    attack_settings: AttackSettings = Field(
        AttackSettings(),
        description="settings of all recipes, e.g. similarity; those given with a recipe come first",
    )
    budget: int = Field(200, gt=0, description="model queries that an attack may use per item")
    items: int = Field(100, gt=0, description="items of the evaluation split that are attacked")
    transfer: bool = Field(True, description="show each model the examples made on the others")


class PretrainSpec(_Block):
    """Next-token pretraining, shared by every model with ``pretrain: true``: corpus, tokens, tokenizer."""

    corpus: tuple[str, ...] = Field(
        min_length=1, description="text or Parquet files, in the data folder or by path"
    )
    tokens: Count = Field(description="tokens each model is trained on, e.g. 10M")
    vocabulary: Count = Field(
        DEFAULT_VOCABULARY, description="size of the byte-level BPE tokenizer trained on the corpus"
    )
    length: int = Field(256, ge=8, description="tokens per packed sequence")
    batch: int = Field(32, gt=0, description="sequences per step")
    learning_rate: Annotated[dict[str, Rate], _known_to(ARCHITECTURES)] = Field(
        default_factory=dict, description="peak rate by architecture; default: the architecture's own"
    )
    seed: Seed = 0


class Blocks(_Block):
    """All blocks of a study, each valid by itself; what they must agree on is :mod:`.consistency`'s."""

    base: Path = Field(Path("."), exclude=True, description="folder that relative paths start from")
    name: Name = Field(description="also the run folder's name")
    data: str = Field(
        "embedded",
        pattern=r"^(embedded|hub|folder:.+)$",
        description="embedded, folder:PATH (from the study file's folder), or hub",
    )
    models: tuple[ModelSpec, ...] = Field(
        min_length=1,
        max_length=MOST_MODELS,
        description="candidates; a plain text is ARCH:SIZE (from scratch) or a hub id",
    )
    tasks: tuple[
        Annotated[
            Annotated[TaskSpec, Tag("TaskSpec")] | Annotated[UserTaskSpec, Tag("UserTaskSpec")],
            Discriminator(_kind_of_task),
            _or_text("name", TaskSpec | UserTaskSpec),
        ],
        ...,
    ] = Field(min_length=1, description="tasks by name, or from your files")
    adapt: tuple[AdaptSettings, ...] = Field(
        default=(AdaptSettings(),), min_length=1, description="one adaptation, or several methods to compare"
    )
    seeds: tuple[Seed, ...] = Field(
        (0, 1, 2),
        min_length=1,
        max_length=MOST_SEEDS,
        description="every model is adapted to every task once per seed",
    )
    robustness: RobustnessSpec = Field(RobustnessSpec(), description="what attacks the adapted models")
    efficiency: EfficiencyGrid | None = Field(
        None, description="what is timed; leave out to measure sizes only"
    )
    pretrain: PretrainSpec | None = Field(None, description="for the models with `pretrain: true`")
    limits: dict[str, str | float] = Field(
        {}, description="what a candidate must meet, e.g. `latency: 20ms`, `memory: 300MB`, `accuracy: 80%`"
    )
    margins: dict[str, str | float] = Field(
        {}, description="differences that are of no matter, e.g. `accuracy: 1pt`"
    )

    @field_validator("models", mode="before", json_schema_input_type=_Some[ModelSpec | str])
    @classmethod
    def _models_by_text(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list | tuple):
            return value
        found = []
        for index, item in enumerate(value):
            if isinstance(item, str):
                try:
                    new = parse_new_model(item)
                except ModelError as error:
                    raise fault((index,), str(error)) from error
                if new is None and _means_a_folder(item, info.data.get("base", Path("."))):
                    raise fault((index,), f"a plain text is a hub id; for the folder write {{path: {item}}}")
                item = new._asdict() if new else {"id": item}
            found.append(item)
        return found

    @field_validator("adapt", mode="before", json_schema_input_type=AdaptSettings | _Some[AdaptSettings])
    @classmethod
    def _one_adaptation(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping | AdaptSettings) else value

    @field_validator("limits", "margins")
    @classmethod
    def _known_goals(cls, value: dict[str, str | float], info: ValidationInfo) -> dict[str, str | float]:
        try:
            Goals.of(**{"limits": {}, "margins": {}, str(info.field_name): value})
        except TrilemmaError as error:
            raise ValueError(str(error)) from error
        return value

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
        """A folder that is written as `.` or `..` gets the name that it has on disk."""
        base = info.data.get("base", Path("."))
        named = []
        for model in models:
            if model.path and not model.name and Path(model.path).name in ("", ".."):
                name = "+".join(((base / model.path).resolve().name, *model.transforms))
                model = model.model_copy(update={"name": name})
            named.append(model)
        return tuple(named)

    def settings_for(
        self, adaptation: AdaptSettings, task: AnyTask, model: ModelSpec | None = None
    ) -> AdaptSettings:
        """Adapt settings for a task, and a model if given: the study's, then the task's, then the model's."""
        for_model = model.adapt if model else {}
        merged = {**adaptation.model_dump(exclude_unset=True), **task.adapt, **for_model}
        try:
            return AdaptSettings.model_validate(merged)
        except ValidationError as error:
            written = {("tasks", self.tasks.index(task), "adapt"): task.adapt}
            if model:
                written = {("models", self.models.index(model), "adapt"): for_model, **written}
            faults: list[InitErrorDetails] = []
            for detail in error.errors():
                field = detail["loc"][0] if detail["loc"] else None
                where = [place for place, block in written.items() if field in block or (block and not field)]
                place = where[0] if where else ("adapt", self.adapt.index(adaptation))
                kind: Any = PydanticCustomError("fault", "{message}", {"message": detail["msg"]})
                kind = "extra_forbidden" if detail["type"] == "extra_forbidden" else kind
                faults.append({"type": kind, "loc": place + detail["loc"], "input": None})
            raise ValidationError.from_exception_data("study", faults) from error

    def attack_settings(self, attack: AttackSpec) -> AttackSettings:
        """An attack's settings: the study's for all attacks, then those given with it; paths are absolute."""
        for_all = self.robustness.attack_settings.model_dump(exclude_unset=True)
        for_this = attack.model_dump(exclude_unset=True, exclude={"recipe", "name"})
        return self.with_absolute_paths(AttackSettings(**{**for_all, **for_this}))

    def with_absolute_paths(self, settings: AttackSettings) -> AttackSettings:
        """The settings with paths from the study file's folder; names of models are left alone."""
        found = {name: getattr(settings, name) for name in settings.model_fields_set}
        for name in (PATHS | MODELS) & found.keys():
            written = found[name]
            given = written not in (None, EMBEDDED)
            # Where a model's name may stand too, a path begins with one of these.
            if given and (name in PATHS or written.startswith((".", "~"))):
                found[name] = str((self.base / expanded(written)).resolve())
        return AttackSettings(**found)


def _means_a_folder(text: str, base: Path) -> bool:
    """Whether a plain text among the models is not a hub id (``name`` or ``owner/name``) but a folder."""
    return text.startswith((".", "/", "~")) or text.count("/") > 1 or os.path.isdir(base / text)
