"""A recipe: transformation, constraints, goal function and search, put together and run on many items."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from trilemma.attacks.attack import Attack, Attacked, Victim
from trilemma.attacks.attempt import Attempt, SpentError
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.goals import Goal, Untargeted
from trilemma.attacks.lockstep import Steps, run_in_lockstep
from trilemma.attacks.search import Search, named_search
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.victims import checked
from trilemma.attacks.white_box import WhiteBox
from trilemma.errors import AttackError
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Level, Task, Text

SHARD = 256
"""Items whose searches advance together: batches are full, and what is kept of them fits anywhere."""


@dataclass(frozen=True)
class Recipe:
    """An attack that can be run.

    Attributes:
        level: of what it changes.
        search: in which order candidates are tried.
        transformation: what may be changed; None for a search that brings its own texts.
        constraints: what every candidate must keep.
        goal: when it is won.
        attacked: which text of a pair.
    """

    level: Level
    search: Search
    transformation: Transformation | None = None
    constraints: tuple[Constraint, ...] = ()
    goal: Goal = field(default_factory=Untargeted)
    attacked: int = -1

    def __call__(  # noqa: D417  the others are those of Attack
        self,
        victim: Victim,
        texts: Sequence[Text],
        labels: Sequence[int],
        *,
        budget: int,
        seed: int,
        progress: Progress = silent,
        finished: Callable[[int, Attacked], None] | None = None,
    ) -> list[Attacked]:
        """Attack items; arguments and result as in :class:`trilemma.attacks.Attack`.

        Args:
            finished: told of each item as it ends, so that a caller can keep what a failing victim would
                lose.

        Raises:
            AttackError: if the victim does not answer with one distribution a text.
        """
        results: dict[int, Attacked] = {}

        def end(index: int, attacked: Attacked) -> None:
            results[index] = attacked
            if finished is not None:
                finished(index, attacked)
            progress(len(results), len(texts), "items")

        asked, white_box = checked(victim), WhiteBox.of(victim)
        for start in range(0, len(texts), SHARD):
            attempts = [
                Attempt(
                    text,
                    label,
                    field=self.attacked,
                    victim=asked,
                    transformation=self.transformation,
                    constraints=self.constraints,
                    goal=self.goal,
                    budget=budget,
                    seed=seed,
                    white_box=white_box,
                )
                for text, label in zip(
                    texts[start : start + SHARD], labels[start : start + SHARD], strict=True
                )
            ]

            def ended(index: int, attacked: Attacked, start: int = start) -> None:
                end(start + index, attacked)

            run_in_lockstep([self._attacked(attempt) for attempt in attempts], ended)
        return [results[index] for index in range(len(texts))]

    def _attacked(self, attempt: Attempt) -> Steps[Attacked]:
        """One item's search, from its first question to its result."""
        try:
            yield from attempt.begin()
            if int(attempt.first.probabilities.argmax()) == attempt.label:
                yield from self.search(attempt)
        except SpentError:
            pass  # what was found until then stands
        best = attempt.best
        text = best.text if best.success else attempt.text
        return Attacked(text, attempt.queries, best.success, best.score)


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe of a paper, by name, to be built for a task.

    Attributes:
        level: of what it changes.
        builder: makes the attack; its docstring gives source and deviations.
        reads: settings that name resources which it reads by default; ``a unless b`` where another is set.
        white_box: whether it needs the victim's gradients.
        makes_errors: whether a success is a wrong answer; only such attacks say how robust a model is.
    """

    level: Level
    builder: Callable[[AttackSettings, Task | None], Attack]
    reads: tuple[str, ...] = ()
    white_box: bool = False
    makes_errors: bool = True

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        """Source and deviations."""
        return self.builder.__doc__

    def build(self, settings: AttackSettings | None = None, task: Task | None = None) -> Attack:
        """The attack under these settings.

        Args:
            settings: thresholds and resources; by default the paper's.
            task: whose items are attacked; recipes that write whole sentences need to know it.

        Raises:
            AttackError: if a resource is missing: what, and how to get it.
        """
        settings = settings or AttackSettings()
        attack = self.builder(settings, task)
        if settings.search is None:
            return attack
        if not isinstance(attack, Recipe) or attack.transformation is None or self.white_box:
            raise AttackError("this recipe does not search among changes of words; leave out `search`")
        return replace(attack, search=named_search(settings.search))

    def __call__(
        self,
        victim: Victim,
        texts: Sequence[Text],
        labels: Sequence[int],
        *,
        budget: int,
        seed: int,
        progress: Progress = silent,
    ) -> list[Attacked]:
        """The attack with its default settings, as :class:`trilemma.attacks.Attack` has it."""
        return self.build()(victim, texts, labels, budget=budget, seed=seed, progress=progress)
