"""From a recipe's name and settings to the attack that runs."""

from trilemma.attacks.attack import ATTACKS, Attack
from trilemma.attacks.settings import AttackSettings
from trilemma.errors import AttackError
from trilemma.tasks.task import Task


def build(name: str, settings: AttackSettings, task: Task | None) -> Attack:
    """The attack of that name.

    Args:
        name: of a recipe or a plug-in.
        settings: thresholds and resources; a plug-in takes none.
        task: whose items are attacked.

    Raises:
        AttackError: if a resource is missing, or settings are given to a plug-in that has none.
    """
    from trilemma.attacks.recipe import NamedRecipe

    found = ATTACKS.get(name)
    if task is not None and settings.target is not None and settings.target >= task.outputs:
        raise AttackError(
            f"{task.name} has {task.outputs} classes, so `target` is at most {task.outputs - 1}"
        )
    if isinstance(found, NamedRecipe):
        return found.build(settings, task)
    if settings.model_fields_set:
        raise AttackError(
            f"the attack {name} takes no settings; leave out {', '.join(sorted(settings.model_fields_set))}"
        )
    return found


def require_errors(name: str) -> None:
    """Refuse an attack whose successes are no wrong answers where wrong answers are counted.

    Raises:
        AttackError: naming what to do instead.
    """
    if not getattr(ATTACKS.get(name), "makes_errors", True):
        raise AttackError(
            f"{name} makes no wrong answers, so it says nothing of robust accuracy; run it from Python: "
            "`trilemma.attacks.build`"
        )


def fingerprint(name: str, settings: AttackSettings) -> dict[str, str]:
    """Hashes of the resources that the attack reads.

    Raises:
        AttackError: if one is missing.
    """
    from trilemma.attacks.recipe import NamedRecipe
    from trilemma.attacks.resources import fingerprint

    found = ATTACKS.get(name)
    if not isinstance(found, NamedRecipe):
        return {}
    entries = [entry.partition(" unless ") for entry in found.reads]
    return fingerprint(
        settings, [name for name, _, other in entries if not (other and getattr(settings, other))]
    )
