"""Recipes whose search goes beyond one pass over the words, with the papers' settings."""

from trilemma.attacks import resources
from trilemma.attacks.constraints.edits import NoStopWords, UnchangedWords
from trilemma.attacks.goals import InputReduction
from trilemma.attacks.recipe import NamedRecipe, Recipe
from trilemma.attacks.recipes import constraints, goal
from trilemma.attacks.search.genetic import Genetic
from trilemma.attacks.search.reduction import InputReduction as ReductionSearch
from trilemma.attacks.search.swarm import ParticleSwarm
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.transformations.edits import Deletion
from trilemma.attacks.transformations.embeddings import Neighbours
from trilemma.attacks.transformations.synonyms import Synonyms
from trilemma.errors import AttackError
from trilemma.tasks.task import Task

NEIGHBOURS = 8
"""Substitutes a word that the genetic algorithm draws from: the paper's N."""

NEAREST = 0.875
"""Their least cosine: of unit vectors it is the paper's largest distance, 0.5 = sqrt(2 - 2 * 0.875)."""


def genetic(settings: AttackSettings, task: Task | None) -> Recipe:
    """Genetic algorithm: Alzantot et al. 2018, arXiv 1804.07998.

    Population 60, 20 generations, at most 20% of the words changed, 25% in pairs, function words left alone.
    With ``vectors``, to be counter-fitted ones, substitutes are the paper's: the 8 nearest neighbours at a
    distance of at most 0.5. Without, they are a word's first 8 WordNet synonyms. The paper's language model,
    which leaves 4 of the 8, is not used; the setting ``perplexity_ratio`` bounds the whole text instead.
    """
    transformation: Transformation
    if settings.vectors is not None:
        transformation = Neighbours(resources.word_vectors(settings.vectors, NEIGHBOURS, NEAREST))
    else:
        transformation = Synonyms(resources.synonyms(settings.wordnet), most=NEIGHBOURS)
    pair = task is not None and len(task.fields) == 2
    return Recipe(
        "word",
        Genetic(population=60, generations=20),
        transformation,
        constraints(settings, UnchangedWords(), NoStopWords(), words_changed=0.25 if pair else 0.2),
        goal(settings),
        settings.field,
    )


def pso(settings: AttackSettings, task: Task | None) -> Recipe:
    """Sememes and a particle swarm: Zang et al. 2020, ACL 2020.acl-main.540.

    60 particles, 20 iterations, substitutes that share their sememes in the lexicon ``sememes`` and are of
    the same part of speech, function words left alone. The paper looks words up by their lemmas and inflects
    what it finds; here a word is looked up as it is written. The paper's code asks after the moves of an
    iteration and again after its mutations; here both make one question.

    Raises:
        AttackError: if no lexicon is given, or the tagger is not installed.
    """
    if settings.sememes is None:
        raise AttackError(
            "the recipe pso needs a lexicon of sememes, such as HowNet's; name it by `sememes`: "
            "a JSON object of words to lists of sememes"
        )
    from trilemma.attacks.transformations.sememes import sememe_synonyms

    return Recipe(
        "word",
        ParticleSwarm(particles=60, iterations=20),
        Synonyms(sememe_synonyms(settings.sememes)),
        constraints(settings, NoStopWords(), part_of_speech=True),
        goal(settings),
        settings.field,
    )


def input_reduction(settings: AttackSettings, task: Task | None) -> Recipe:
    """Input reduction: Feng et al. 2018, arXiv 1804.07781.

    Words are taken out while the answer stays, by a beam of 5; at least one word is left. The paper estimates
    a word's importance by the gradient; a victim here shows none, so every word is taken out to see, and
    n words cost up to 5 n^2 queries: where the budget ends, the shortest text until then stands.

    A success keeps the answer and loses the sense, so it counts texts that the model should be unsure of, not
    errors.

    Raises:
        AttackError: if another goal is set: this attack is its goal.
    """
    if settings.goal is not None or settings.target is not None:
        raise AttackError("the recipe input-reduction has a goal of its own; leave out `goal` and `target`")
    return Recipe(
        "word",
        ReductionSearch(width=5),
        Deletion(),
        constraints(settings),
        InputReduction(),
        settings.field,
    )


GENETIC_RECIPE = NamedRecipe("word", genetic, ("wordnet unless vectors",))
PSO_RECIPE = NamedRecipe("word", pso, ("sememes", "part_of_speech"))
INPUT_REDUCTION_RECIPE = NamedRecipe("word", input_reduction, makes_errors=False)
