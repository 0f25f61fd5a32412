"""What other packages bring to a study: listed for ``trilemma doctor``, imported before any work."""

from collections.abc import Iterator
from typing import Any

from trilemma.adapt import ADAPTATIONS
from trilemma.architectures import ARCHITECTURES
from trilemma.attacks import ATTACKS
from trilemma.profiling import MEASUREMENTS
from trilemma.registry import Registry
from trilemma.study.spec import Study
from trilemma.tasks import TASKS
from trilemma.transforms import TRANSFORMS

ALL: tuple[Registry[Any], ...] = (TASKS, ARCHITECTURES, ADAPTATIONS, ATTACKS, TRANSFORMS, MEASUREMENTS)


def installed() -> Iterator[tuple[str, str]]:
    """Every plug-in of an installed package, and the package; none is imported."""
    for registry in ALL:
        for name, package in registry.plugins().items():
            yield f"{registry.kind} {name}", f"from {package}"


def require_importable(study: Study) -> None:
    """Import the plug-ins that a study names, so that a broken package is found before any work.

    Raises:
        TrilemmaError: naming the plug-in and its package.
    """
    methods = {
        study.settings_for(adaptation, task, model).method
        for adaptation in study.adapt
        for task in study.tasks
        for model in study.models
    }
    used: tuple[tuple[Registry[Any], set[str]], ...] = (
        (ADAPTATIONS, methods),
        (ATTACKS, {attack.recipe for attack in study.robustness.attacks}),
        (TRANSFORMS, {name for model in study.models for name in model.transforms}),
        (MEASUREMENTS, set(MEASUREMENTS.plugins()) if study.efficiency else set()),
    )
    for registry, names in used:
        for name in sorted(names):
            registry.get(name)
