"""What an attack is, what it is given and what it returns."""

import importlib
import itertools
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.settings import AttackSettings
from trilemma.errors import AttackError
from trilemma.inference import TextClassifier
from trilemma.progress import Progress, silent
from trilemma.registry import Registry
from trilemma.tasks.task import Level, Task, Text

Victim = TextClassifier
"""The model under attack."""


def checked(victim: Victim) -> Callable[[Sequence[Text]], NDArray[np.float32]]:
    """The victim as a service that answers with one distribution per text, or raises an error."""

    def answer(texts: Sequence[Text]) -> NDArray[np.float32]:
        probabilities = np.asarray(victim(texts), np.float32)
        if probabilities.ndim != 2 or len(probabilities) != len(texts):
            raise AttackError(
                f"the victim answered {len(texts)} texts with an array of shape {probabilities.shape}; "
                "it must return class probabilities [texts, classes]"
            )
        broken = ~np.isfinite(probabilities).all(axis=1)
        if broken.any():
            raise AttackError(
                f"the victim's answer to {texts[int(broken.argmax())]!r} is not a number; fix the victim and "
                "run again"
            )
        return probabilities

    return answer


@dataclass(frozen=True)
class Attacked:
    """The result of attacking one item.

    Attributes:
        text: the strongest adversarial input found; the original where there is none.
        queries: distinct texts that the victim was asked about for this item.
        success: whether the attack's goal was met; a plug-in may leave this to the victim's answers.
        score: the goal's score of ``text``, higher is stronger.
        by: which attack of an ensemble found it.
    """

    text: Text
    queries: int
    success: bool = False
    score: float = field(default=0.0, compare=False)
    by: str = ""


def ignored(index: int, result: Attacked) -> None:
    """A listener for finished items that does nothing."""


@dataclass(frozen=True)
class AttackRun:
    """How an attack is run.

    Attributes:
        budget: queries allowed per item.
        seed: the same seed gives the same examples.
        progress: called with the number of items that are finished.
        finished: called with the index and the result of each item as soon as it is finished, so that a
            caller can keep what a failing victim would lose. An attack that finishes all items at once
            need not call it.
    """

    budget: int
    seed: int = 0
    progress: Progress = silent
    finished: Callable[[int, Attacked], None] = ignored

    def counting(self, total: int) -> Callable[[int, Attacked], None]:
        """A listener that passes each finished item on, and reports how many of ``total`` there are."""
        done = itertools.count(1)

        def finish(index: int, result: Attacked) -> None:
            self.finished(index, result)
            self.progress(next(done), total, "items")

        return finish


class Attack(ABC):
    """Searches, within a budget of queries, for inputs that the victim gets wrong and people do not.

    Attributes:
        level: what it changes: ``word``, ``sentence``, ``human`` (written by people), or ``unknown``.
        white_box: whether it needs the victim's gradients.
        misclassifies: whether a success is a wrong answer; only such attacks measure robustness.
        configurable: whether :meth:`configured` uses its settings.
    """

    level: Level
    white_box: bool = False
    misclassifies: bool = True
    configurable: bool = False

    @abstractmethod
    def __call__(
        self, victim: Victim, texts: Sequence[Text], labels: Sequence[int], run: AttackRun
    ) -> list[Attacked]:
        """Attack clean items that the victim answers correctly; one result per item, in order.

        ``labels`` are the items' class indices.
        """

    def configured(self, settings: AttackSettings, task: Task | None = None) -> "Attack":
        """The attack under a user's settings, for a task.

        Raises:
            AttackError: if a resource is missing: which one, and how to get it.
        """
        return self

    def fingerprint(self, settings: AttackSettings) -> dict[str, str]:
        """Hashes of the resources that the attack reads under these settings, by name.

        Raises:
            AttackError: if one is missing.
        """
        return {}


class AttackRegistry(Registry[Attack]):
    """Attacks by name: the package's recipes, found in ``trilemma.attacks.recipes``, and plug-ins."""

    renamed = {"own-templates": "custom-templates"}  # noqa: RUF012  it is not a field
    """Former names of recipes."""

    def __init__(self) -> None:
        super().__init__("attack", {})
        self._searched = False
        self._recipes: set[str] = set()

    def names(self) -> list[str]:
        """All names, sorted."""
        self._find_recipes()
        return super().names()

    def built_in(self) -> list[str]:
        """Names of the recipes of the package, sorted."""
        self._find_recipes()
        return sorted(self._recipes)

    def get(self, name: str) -> Attack:
        """The attack called ``name``.

        Raises:
            TrilemmaError: if there is none, its package cannot be imported, or it is not an attack.
        """
        self._find_recipes()
        found = super().get(name)
        if not isinstance(found, Attack):
            raise AttackError(
                f"the attack {name!r} is not a trilemma.attacks.Attack; derive its class from that one and "
                "name an instance"
            )
        return found

    def unknown(self, name: str) -> str:
        """What to say about an unknown name: its new name, or the nearest one and all there are."""
        if name in self.renamed:
            return f"the attack {name!r} is called {self.renamed[name]} now; write that name"
        return super().unknown(name)

    def add_recipe(self, name: str, recipe: Attack) -> None:
        """Add a recipe of the package."""
        self._recipes.add(name)
        self._loaded[name] = recipe

    def _find_recipes(self) -> None:
        """Import the modules of recipes once; each adds its own."""
        if not self._searched:
            package = importlib.import_module("trilemma.attacks.recipes")
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
            self._searched = True


ATTACKS = AttackRegistry()


def build(name: str, settings: AttackSettings, task: Task | None) -> Attack:
    """The recipe or plug-in of that name; a plug-in takes no settings unless it is ``configurable``.

    Raises:
        AttackError: if a resource is missing, or the attack cannot use the settings.
    """
    attack = ATTACKS.get(name)
    if task is not None and settings.target is not None and settings.target >= task.outputs:
        raise AttackError(
            f"{task.name} has {task.outputs} classes, so `target` is at most {task.outputs - 1}"
        )
    if settings.model_fields_set and not attack.configurable:
        raise AttackError(
            f"the attack {name} takes no settings; leave out {', '.join(sorted(settings.model_fields_set))}"
        )
    return attack.configured(settings, task)


def require_misclassification(name: str) -> None:
    """Refuse an attack whose successes are not wrong answers where wrong answers are counted.

    Raises:
        AttackError: naming what to do instead.
    """
    if not ATTACKS.get(name).misclassifies:
        raise AttackError(
            f"a success of {name} is not a wrong answer, so it does not measure robust accuracy; run it from "
            "Python: `trilemma.attacks.build`"
        )


def fingerprint(name: str, settings: AttackSettings) -> dict[str, str]:
    """Hashes of the resources that the attack reads.

    Raises:
        AttackError: if one is missing.
    """
    return ATTACKS.get(name).fingerprint(settings)
