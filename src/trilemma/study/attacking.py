"""The part of a study's graph that attacks: one stage an adapted model and attack, one a pair of models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.adapt.settings import AdaptSettings
from trilemma.attacks.settings import EMBEDDED, MODELS, PATHS, AttackSettings
from trilemma.errors import AttackError
from trilemma.study import estimate
from trilemma.study.data import StudyData
from trilemma.study.origin import Origin
from trilemma.study.spec import AttackSpec, Study
from trilemma.study.stage import Stage
from trilemma.tasks.reading import expanded

if TYPE_CHECKING:
    from trilemma.study.graph import Cell


@dataclass(frozen=True)
class Transfer:
    """Examples made on one model, shown to another.

    Attributes:
        source: the cell whose model they were made on.
        target: the cell whose model answers them.
        attack: the attack's name.
        stage: answers them.
    """

    source: "Cell"
    target: "Cell"
    attack: str
    stage: Stage


def resolved(settings: AttackSettings, base: Path) -> AttackSettings:
    """The settings with paths relative to the study file made absolute; names of models are left alone."""
    found = {name: getattr(settings, name) for name in settings.model_fields_set}
    for name in PATHS & found.keys():
        if found[name] not in (None, EMBEDDED):
            found[name] = str((base / expanded(found[name])).resolve())
    for name in MODELS & found.keys():
        if (found[name] or "").startswith((".", "~")):
            found[name] = str((base / expanded(found[name])).resolve())
    return AttackSettings(**found)


def adversarial_resources(settings: AdaptSettings, base: Path) -> tuple[AdaptSettings, dict[str, str]]:
    """Settings of an adaptation with its attack's paths made absolute, and the hashes of what that reads."""
    if not attacks_training(settings):
        return settings, {}
    from trilemma.attacks import fingerprint

    own = settings.adversarial
    absolute = resolved(own.settings, base)
    chosen = settings.model_copy(update={"adversarial": own.model_copy(update={"settings": absolute})})
    return chosen, fingerprint(own.recipe, absolute)


def attacks_training(settings: AdaptSettings) -> bool:
    """Whether an adaptation attacks its training split."""
    return settings.method == "adversarial-training"


def require_attacks(study: Study, data: StudyData) -> None:
    """Build every attack once, those of adversarial training too: what is missing is found before any work.

    Raises:
        AttackError: naming what is missing and how to get it.
    """
    from trilemma.attacks import build, require_errors

    for spec in study.tasks:
        task = data.task(spec.name)
        if task.labels is not None and not task.hidden_labels:
            for attack in study.robustness.attacks:
                require_errors(attack.recipe)
                build(attack.recipe, resolved(study.robustness.settings_for(attack), study.base), task)
        for model in study.models:
            for adaptation in study.adapt:
                chosen = study.settings_for(adaptation, spec, model)
                if not attacks_training(chosen):
                    continue
                if task.labels is None:
                    raise AttackError(
                        f"{task.name} is a regression, whose answers no attack can turn; "
                        "adversarial-training is for classes"
                    )
                require_errors(chosen.adversarial.recipe)
                build(chosen.adversarial.recipe, resolved(chosen.adversarial.settings, study.base), task)


def attack_stages(
    study: Study, data: StudyData, name: str, task: str, adapt: Stage, origin: Origin, max_length: int
) -> Iterator[tuple[str, Stage]]:
    """The attacks on one adapted model, by name; none on a regression or a split without labels."""
    from trilemma.attacks import fingerprint

    known, robustness = data.task(task), study.robustness
    if known.labels is None or known.hidden_labels:
        return
    clean = data.evaluation(task)[0]
    for attack in robustness.attacks:
        settings = resolved(robustness.settings_for(attack), study.base)
        chosen = settings.model_dump(mode="json", exclude_unset=True)
        queries = robustness.items * robustness.budget * estimate.tokens(clean, max_length)
        yield (
            attack.label,
            Stage(
                "attack",
                f"{name}: {attack.label}",
                {
                    **_base(adapt, task, attack, max_length),
                    "options": {key: value for key, value in chosen.items() if key not in PATHS},
                    "resources": fingerprint(attack.recipe, settings),
                    "budget": robustness.budget,
                    "items": robustness.items,
                    "examples": clean.fingerprint,
                    "seed": adapt.settings["seed"],
                },
                {"model": adapt},
                {"options": chosen},
                *estimate.answering(origin, queries),
            ),
        )


def transfers(
    study: Study, data: StudyData, cells: Sequence["Cell"], origins: dict[str, Origin]
) -> Iterator[Transfer]:
    """Every pair of models, adapted by one entry of the study to one task with one seed, and every attack."""
    if not study.robustness.transfer:
        return
    for target in cells:
        for source in cells:
            if source.model == target.model or _adapted_as(source) != _adapted_as(target):
                continue
            for attack, stage in source.attacks.items():
                name = f"{target.model} on {target.task}, seed {target.seed}: {attack} made on {source.model}"
                clean = data.evaluation(target.task)[0]
                tokens = study.robustness.items * estimate.tokens(clean, target.max_length)
                yield Transfer(
                    source,
                    target,
                    attack,
                    Stage(
                        "transfer",
                        name,
                        {
                            "task": target.task,
                            "max_length": target.max_length,
                            "load": target.adapt.settings["load"],
                        },
                        {"model": target.adapt, "examples": stage},
                        {},
                        *estimate.answering(origins[target.model], 2 * tokens),
                    ),
                )


def _adapted_as(cell: "Cell") -> tuple[int, str, int]:
    return cell.place, cell.task, cell.seed


def _base(adapt: Stage, task: str, attack: AttackSpec, max_length: int) -> dict[str, Any]:
    return {
        "task": task,
        "attack": attack.recipe,
        "name": attack.label,
        "max_length": max_length,
        "load": adapt.settings["load"],
    }
