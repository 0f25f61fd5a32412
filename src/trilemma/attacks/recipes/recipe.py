"""What a recipe is: a paper's attack by its name, built for a task under a user's settings."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

from trilemma.attacks.attack import ATTACKS, Attack, Attacked, AttackRun, Victim
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.constraints.edits import (
    EditDistance,
    MostChanged,
    NoStopWords,
    UnchangedWords,
    protected,
)
from trilemma.attacks.constraints.language import (
    GrammarDrop,
    PartOfSpeech,
    PerplexityRatio,
    SentenceSimilarity,
)
from trilemma.attacks.goals import ConfidenceDrop, Goal, Targeted, Untargeted
from trilemma.attacks.resources import load
from trilemma.attacks.resources.fingerprints import Resource, fingerprint
from trilemma.attacks.search import Search
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.beam import Beam
from trilemma.attacks.search.genetic import Genetic
from trilemma.attacks.search.greedy import GreedyWordImportance
from trilemma.attacks.search.sampling import Exhaustive, RandomSearch
from trilemma.attacks.search.swarm import ParticleSwarm
from trilemma.attacks.search.whole import TryAll
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations import Rewriting, Transformation
from trilemma.errors import AttackError
from trilemma.tasks.task import Level, Task, Text

Builder = Callable[[AttackSettings, Task | None], Attack]

Default = tuple[Resource, Resource]
"""A resource that is read where the user sets it, and the one that is read otherwise."""

SEARCHES: Mapping[str, Search] = {
    "greedy": GreedyWordImportance(),
    "beam": Beam(),
    "genetic": Genetic(),
    "particle-swarm": ParticleSwarm(),
    "random": RandomSearch(),
    "exhaustive": Exhaustive(),
}
"""Searches that the setting ``search`` names."""


@dataclass(frozen=True)
class AttackRecipe(Attack):
    """An attack of a paper.

    Attributes:
        builder: makes the attack; its docstring gives source and deviations.
        reads: resources that it reads by default.
    """

    level: Level
    builder: Builder
    reads: tuple[Resource | Default, ...] = ()
    white_box: bool = False
    misclassifies: bool = True
    configurable = True

    @property
    def source(self) -> str:
        """The paper, and where the attack deviates from it."""
        return inspect.cleandoc(self.builder.__doc__ or "")

    def configured(self, settings: AttackSettings, task: Task | None = None) -> Attack:
        """As :class:`Attack` has it; recipes that write whole sentences need to know the task."""
        attack = self.builder(settings, task)
        if settings.search is None:
            return attack
        if not isinstance(attack, SearchAttack) or attack.transformation is None or self.white_box:
            raise AttackError("this recipe does not search among changes of words; leave out `search`")
        return replace(attack, search=SEARCHES[settings.search])

    def fingerprint(self, settings: AttackSettings) -> dict[str, str]:
        """As :class:`Attack` has it."""
        pairs = [(one, one) if isinstance(one, str) else one for one in self.reads]
        return fingerprint(settings, [one if getattr(settings, one) else other for one, other in pairs])

    def __call__(
        self, victim: Victim, texts: Sequence[Text], labels: Sequence[int], run: AttackRun
    ) -> list[Attacked]:
        """Attack with the paper's settings, as :class:`trilemma.attacks.Attack` has it."""
        return self.configured(AttackSettings(), None)(victim, texts, labels, run)


def recipe(
    name: str,
    *,
    level: Level,
    reads: tuple[Resource | Default, ...] = (),
    white_box: bool = False,
    misclassifies: bool = True,
) -> Callable[[Builder], AttackRecipe]:
    """Make a builder the recipe of that name; the other arguments are attributes of the recipe."""

    def registered(builder: Builder) -> AttackRecipe:
        found = AttackRecipe(level, builder, reads, white_box, misclassifies)
        ATTACKS.add(name, found)
        return found

    return registered


def goal_of(settings: AttackSettings) -> Goal:
    """The goal function that the settings name.

    Raises:
        AttackError: if a target is named without the goal ``targeted``, or the other way round.
    """
    if (settings.goal == "targeted") != (settings.target is not None):
        raise AttackError("the goal `targeted` and `target`, the index of a class, belong together; set both")
    if settings.target is not None:
        return Targeted(settings.target)
    return ConfidenceDrop() if settings.goal == "confidence-drop" else Untargeted()


class Thresholds(TypedDict, total=False):
    """A paper's thresholds, by the names of the settings."""

    words_changed: float
    edit_distance: int
    part_of_speech: bool
    similarity: float


def word_attack(
    settings: AttackSettings,
    search: Search,
    transformation: Transformation,
    *,
    own: tuple[Constraint, ...] = (UnchangedWords(), NoStopWords()),
    goal: Goal | None = None,
    white_box: bool = False,
    **thresholds: Unpack[Thresholds],
) -> SearchAttack:
    """An attack that changes words.

    Args:
        settings: the user's.
        search: in which order candidates are tried.
        transformation: what may be changed.
        own: the recipe's constraints without a threshold.
        goal: the recipe's; by default that of the settings.
        white_box: whether the search needs the victim's gradients.
        thresholds: the paper's, used where the user sets none.
    """
    kept = (*own, *constraints_of(settings, **thresholds))
    return SearchAttack(
        "word", search, transformation, kept, goal or goal_of(settings), settings.field, white_box
    )


def rewriting_attack(
    settings: AttackSettings, level: Level, rewriting: Rewriting, **thresholds: Unpack[Thresholds]
) -> SearchAttack:
    """An attack that tries whole rewritten texts; arguments as of :func:`word_attack`."""
    kept = constraints_of(settings, **thresholds)
    return SearchAttack(level, TryAll(rewriting), None, kept, goal_of(settings), settings.field)


def constraints_of(settings: AttackSettings, **thresholds: Unpack[Thresholds]) -> tuple[Constraint, ...]:
    """The constraints that the settings set, or else a paper's thresholds, cheap ones first.

    Raises:
        AttackError: if a resource of one is missing.
    """
    unset = {name: value for name, value in thresholds.items() if getattr(settings, name) is None}
    settings = settings.model_copy(update=unset)
    chosen: list[Constraint] = []
    if settings.protect:
        chosen.append(protected(settings.protect))
    if settings.words_changed is not None:
        chosen.append(MostChanged(settings.words_changed))
    if settings.edit_distance is not None:
        chosen.append(EditDistance(settings.edit_distance))
    if settings.part_of_speech:
        chosen.append(PartOfSpeech(load.tagger()))
    if settings.similarity is not None:
        encoder = load.sentence_encoder(settings.encoder)
        chosen.append(SentenceSimilarity(encoder, settings.similarity, encoder.rough))
    if settings.grammar_drop is not None:
        chosen.append(GrammarDrop(load.acceptability(settings.acceptability), settings.grammar_drop))
    if settings.perplexity_ratio is not None:
        chosen.append(PerplexityRatio(load.perplexity(settings.language_model), settings.perplexity_ratio))
    return tuple(chosen)
