"""The part of a study's graph that attacks: one stage an adapted model and attack, one a pair of models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.attacks.settings import EMBEDDED, PATHS, AttackSettings
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
    for name in found.keys() - PATHS:
        value = found[name]
        if isinstance(value, str) and value.startswith((".", "~")):
            found[name] = str((base / expanded(value)).resolve())
    return AttackSettings(**found)


def require_attacks(study: Study, data: StudyData) -> None:
    """Build every attack once, so that a missing resource is found before any work.

    Raises:
        AttackError: naming what is missing and how to get it.
    """
    from trilemma.attacks import build

    for attack in study.robustness.attacks:
        settings = resolved(study.robustness.settings_for(attack), study.base)
        for task in study.tasks:
            if data.task(task.name).labels is not None and not data.task(task.name).hidden_labels:
                build(attack.recipe, settings, data.task(task.name))


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
    """Every pair of models, adapted in one way to one task with one seed, and every attack."""
    if not study.robustness.transfer:
        return
    for target in cells:
        for source in cells:
            if source.model == target.model or _adapted_as(source) != _adapted_as(target):
                continue
            for attack, stage in source.attacks.items():
                name = f"{target.model} on {target.task}, seed {target.seed}: {attack} made on {source.model}"
                length = data.evaluation(target.task)[0]
                tokens = study.robustness.items * estimate.tokens(length, 128)
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


def _adapted_as(cell: "Cell") -> tuple[str, str, int]:
    return cell.adaptation, cell.task, cell.seed


def _base(adapt: Stage, task: str, attack: AttackSpec, max_length: int) -> dict[str, Any]:
    return {
        "task": task,
        "attack": attack.recipe,
        "name": attack.label,
        "max_length": max_length,
        "load": adapt.settings["load"],
    }
