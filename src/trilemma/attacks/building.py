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
    if isinstance(found, NamedRecipe):
        return found.build(settings, task)
    if settings.model_fields_set:
        raise AttackError(
            f"the attack {name} takes no settings; leave out {', '.join(sorted(settings.model_fields_set))}"
        )
    return found


def fingerprint(name: str, settings: AttackSettings) -> dict[str, str]:
    """Hashes of the resources that the attack reads.

    Raises:
        AttackError: if one is missing.
    """
    from trilemma.attacks.recipe import NamedRecipe
    from trilemma.attacks.resources import fingerprint

    found = ATTACKS.get(name)
    return fingerprint(settings, found.reads) if isinstance(found, NamedRecipe) else {}
