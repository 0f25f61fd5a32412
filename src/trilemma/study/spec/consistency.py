"""What the blocks of a study must agree on: checked with all of them in view, refused by place."""

import re
from collections import Counter
from collections.abc import Iterator

from trilemma.adapt.settings import AdaptSettings
from trilemma.study.spec.blocks import MOST_STAGES, NAME, RESERVED, AnyTask, Blocks, ModelSpec, fault


def check(study: Blocks) -> None:
    """Refuse a study whose parts contradict one another.

    Raises:
        ValidationError: at the place that is to be changed.
    """
    for require in (_sensible_size, _different_names, _usable_models, _free_names, _fair_adaptation):
        require(study)


def _sensible_size(study: Blocks) -> None:
    robustness, models = study.robustness, len(study.models)
    each = 1 + len(robustness.sets) + len(robustness.attacks) * (models if robustness.transfer else 1)
    stages = models * len(study.tasks) * len(study.adapt) * len(study.seeds) * (1 + each)
    if stages > MOST_STAGES:
        raise fault(
            ("models",),
            f"with tasks, seeds and attacks this makes about {stages:,} stages, and a study has at most "
            f"{MOST_STAGES:,}; name fewer, or set `transfer: false`",
        )


def _different_names(study: Blocks) -> None:
    sets = [one if isinstance(one, str) else one.name for one in study.robustness.sets]
    attacks = [attack.label for attack in study.robustness.attacks]
    for place, names, remedy in (
        (("models",), [model.label for model in study.models], "give each a different `name`"),
        (("tasks",), [task.name for task in study.tasks], "give each once"),
        (("seeds",), [str(seed) for seed in study.seeds], "give each once"),
        (("adapt",), [settings.method for settings in study.adapt], "give each method once"),
        (("robustness", "sets"), sets, "give each once, under a different name"),
        (("robustness", "attacks"), attacks, "give each once, or a different `name`"),
    ):
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                raise fault((*place, index), f"{place[-1]} names {name} twice; {remedy}")
            seen.add(name)


def _usable_models(study: Blocks) -> None:
    for index, model in enumerate(study.models):
        if not re.match(NAME, model.label):
            raise fault(
                ("models", index),
                f"{model.label!r} cannot be its name in tables and files; give it a `name` of at most 80 "
                "letters, digits and ._+-",
            )
        if model.pretrain and study.pretrain is None:
            raise fault(
                ("models", index, "pretrain"),
                "`pretrain: true` needs a `pretrain` block with corpus and tokens in the study",
            )


def _free_names(study: Blocks) -> None:
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


def _fair_adaptation(study: Blocks) -> None:
    for task in study.tasks:
        for model in study.models:
            _require_different_methods(study, task, model)
        for adaptation in study.adapt:
            chosen = {model.label: study.settings_for(adaptation, task, model) for model in study.models}
            trials = {label: settings.trials for label, settings in chosen.items()}
            if len(set(trials.values())) > 1:
                raise fault(
                    ("adapt",),
                    "learning rates are swept with an equal number of trials per model, but here they are "
                    + ", ".join(f"{name}: {count}" for name, count in trials.items()),
                )
            _require_equal_training(study, study.settings_for(adaptation, task), chosen)


def _require_different_methods(study: Blocks, task: AnyTask, model: ModelSpec) -> None:
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


def _require_equal_training(study: Blocks, common: AdaptSettings, chosen: dict[str, AdaptSettings]) -> None:
    """Rows and epochs are the same for all candidates, or the study says why they are not."""
    usual = _amounts(common)
    amounts = {label: _amounts(settings) for label, settings in chosen.items()}
    alike = Counter(entry for own in amounts.values() for entry in own.items())
    for index, model in enumerate(study.models):
        if model.note:
            continue
        for name, amount in amounts[model.label].items():
            if amount == usual.get(name) or alike[name, amount] == len(chosen):
                continue
            raise fault(
                ("models", index, "adapt", *name.split(".")),
                f"{model.label} would train with {name} {_shown(amount)} and others with "
                f"{_shown(usual.get(name))}: they could not be compared fairly; give all the same, or give "
                "this model a `note` that says why",
            )


def _amounts(settings: AdaptSettings) -> dict[str, float | None]:
    """What gives one candidate more training than another, by the place where it is written."""
    amounts: dict[str, float | None] = {"epochs": settings.epochs, "rows": settings.rows}
    if not isinstance(settings.learning_rate, float):
        amounts["learning_rate.rows"] = settings.learning_rate.rows
        amounts["learning_rate.epochs"] = settings.learning_rate.epochs
    return amounts


def different_settings(study: AdaptSettings, chosen: AdaptSettings) -> Iterator[str]:
    """The settings in which a candidate's adaptation differs from the study's, as a reader sees them.

    Rows, epochs and a given learning rate are left out: the records hold them as numbers.
    """
    usual = study.model_dump(mode="json")
    for name, value in chosen.model_dump(mode="json").items():
        if value == usual[name] or name in ("epochs", "rows"):
            continue
        if name != "learning_rate":
            yield f"{name} {_shown(value)} (study: {_shown(usual[name])})"
        elif not isinstance(chosen.learning_rate, float):
            rates = ", ".join(f"{rate:g}" for rate in chosen.learning_rate.sweep)
            yield f"swept over {rates} on {chosen.learning_rate.rows:,} rows"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return f"{value:,g}" if isinstance(value, float) else f"{value:,}"
    return "all" if value is None else str(value)
