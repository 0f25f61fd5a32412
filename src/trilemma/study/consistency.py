"""What the parts of a study must agree on: checked with the whole study in view, told by place."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from trilemma.adapt.settings import AdaptSettings
    from trilemma.study.spec import AnyTask, ModelSpec, Study

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$"
"""What names a model, task or set in tables and files."""

RESERVED = ("all", "average", "clean")
"""Names under which the records keep aggregates: of no task and no set."""

RESERVED_SET_STARTS = ("adv_", "advglue", "anli", "test", "train", "validation")
"""How names of published sets and of splits begin: a set of one's own would enter their scores."""


def fault(location: tuple[int | str, ...], message: str) -> ValidationError:
    """An error at a place inside the block whose validator raises it."""
    kind = PydanticCustomError("fault", "{message}", {"message": message})
    return ValidationError.from_exception_data("study", [{"type": kind, "loc": location, "input": None}])


def require_free_set_name(name: str) -> None:
    """Refuse a name under which an adversarial set of one's own would count as another one.

    Raises:
        ValueError: naming what is taken.
    """
    if name in RESERVED or name.startswith(RESERVED_SET_STARTS):
        raise ValueError(
            f"a set of your own cannot be called {name!r}: {', '.join(RESERVED)} and names that begin "
            f"with {', '.join(RESERVED_SET_STARTS)} are taken by published sets, splits and aggregates"
        )


def check(study: "Study") -> None:
    """Refuse a study whose parts contradict one another.

    Raises:
        ValidationError: at the place that is to be changed.
    """
    for require in (_different_names, _usable_labels, _pretraining, _free_names, _fair_adaptation):
        require(study)


def _different_names(study: "Study") -> None:
    sets = [one if isinstance(one, str) else one.name for one in study.robustness.sets]
    for place, names, remedy in (
        (("models",), [model.label for model in study.models], "give each a `name` of its own"),
        (("tasks",), [task.name for task in study.tasks], "give each once"),
        (("seeds",), [str(seed) for seed in study.seeds], "give each once"),
        (("adapt",), [settings.method for settings in study.adapt], "give each method once"),
        (("robustness", "sets"), sets, "give each once, under a name of its own"),
        (
            ("robustness", "attacks"),
            [attack.label for attack in study.robustness.attacks],
            "give each once, or a `name` of its own",
        ),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                raise fault((*place, index), f"{place[-1]} names {name} twice; {remedy}")


def _usable_labels(study: "Study") -> None:
    for index, model in enumerate(study.models):
        if not re.match(NAME, model.label):
            raise fault(
                ("models", index),
                f"{model.label!r} cannot be its name in tables and files; give it a `name` of at most 80 "
                "letters, digits and ._+-",
            )


def _pretraining(study: "Study") -> None:
    for index, model in enumerate(study.models):
        if model.pretrain and study.pretrain is None:
            raise fault(
                ("models", index, "pretrain"),
                "`pretrain: true` needs a `pretrain` block with corpus and tokens in the study",
            )


def _free_names(study: "Study") -> None:
    for index, task in enumerate(study.tasks):
        if task.name in RESERVED:
            raise fault(
                ("tasks", index),
                f"a task cannot be called {task.name!r}: {', '.join(RESERVED)} name aggregates; "
                "give it another name",
            )
        for place, chosen in enumerate(study.robustness.sets):
            if not isinstance(chosen, str) and chosen.name in getattr(task, "files", {}):
                raise fault(
                    ("robustness", "sets", place),
                    f"{chosen.name} is also a split of task {task.name}; give the set another name",
                )


def _fair_adaptation(study: "Study") -> None:
    for task in study.tasks:
        for model in study.models:
            _require_different_methods(study, task, model)
        for adaptation in study.adapt:
            chosen = {model.label: study.settings_for(adaptation, task, model) for model in study.models}
            trials = {label: settings.trials for label, settings in chosen.items()}
            if len(set(trials.values())) > 1:
                raise fault(
                    ("adapt",),
                    "learning rates are swept with an equal number of trials a model, but here they are "
                    + ", ".join(f"{name}: {count}" for name, count in trials.items()),
                )
            _require_equal_training(study, study.settings_for(adaptation, task), chosen)


def _require_different_methods(study: "Study", task: "AnyTask", model: "ModelSpec") -> None:
    methods = [study.settings_for(adaptation, task, model).method for adaptation in study.adapt]
    for method in methods:
        if methods.count(method) > 1:
            block = ("tasks", study.tasks.index(task))
            if "method" in model.adapt:
                block = ("models", study.models.index(model))
            raise fault(
                (*block, "adapt", "method"),
                f"{model.label} on {task.name} would be adapted by {method} {methods.count(method)} times, "
                "since this replaces the method of every adaptation of the study; leave it out here, or give "
                "the study one adaptation",
            )


def _require_equal_training(
    study: "Study", common: "AdaptSettings", chosen: dict[str, "AdaptSettings"]
) -> None:
    """Rows and epochs are the same for all candidates, or the report is told why they are not."""
    usual = _amounts(common)
    for index, model in enumerate(study.models):
        if model.note:
            continue
        others = [_amounts(settings) for label, settings in chosen.items() if label != model.label]
        for name, amount in _amounts(chosen[model.label]).items():
            if amount == usual.get(name) or all(other[name] == amount for other in others):
                continue
            raise fault(
                ("models", index, "adapt", *name.split(".")),
                f"{model.label} would train with {name} {_shown(amount)} and others with "
                f"{_shown(usual.get(name))}: they could not be compared fairly; give all the same, or give "
                "this model a `note` that tells the reader why",
            )


def _amounts(settings: "AdaptSettings") -> dict[str, float | None]:
    """What gives one candidate more training than another, by the place where it is written."""
    amounts: dict[str, float | None] = {"epochs": settings.epochs, "rows": settings.rows}
    if not isinstance(settings.learning_rate, float):
        amounts["learning_rate.rows"] = settings.learning_rate.rows
        amounts["learning_rate.epochs"] = settings.learning_rate.epochs
    return amounts


def own_settings(study: "AdaptSettings", own: "AdaptSettings") -> Iterator[str]:
    """The settings in which a candidate's adaptation departs from the study's, as a reader sees them.

    Rows, epochs and a given learning rate are left out: the records hold them as numbers.
    """
    usual, chosen = study.model_dump(mode="json"), own.model_dump(mode="json")
    for name in chosen:
        if chosen[name] == usual[name] or name in ("epochs", "rows"):
            continue
        if name != "learning_rate":
            yield f"{name} {_shown(chosen[name])} (study: {_shown(usual[name])})"
        elif not isinstance(own.learning_rate, float):
            rates = ", ".join(f"{rate:g}" for rate in own.learning_rate.sweep)
            yield f"swept over {rates} on {own.learning_rate.rows:,} rows"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return f"{value:,g}" if isinstance(value, float) else f"{value:,}"
    return "all" if value is None else str(value)
