"""Recipes by name, with the papers' settings; each says where it comes from and where it deviates."""

from trilemma.attacks import resources
from trilemma.attacks.attack import Attack
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.constraints.edits import (
    EditDistance,
    MostChanged,
    NoStopWords,
    UnchangedWords,
    protected,
)
from trilemma.attacks.constraints.language import GrammarDrop, PartOfSpeech, PerplexityRatio
from trilemma.attacks.goals import ConfidenceDrop, Goal, Targeted, Untargeted
from trilemma.attacks.recipe import NamedRecipe, Recipe
from trilemma.attacks.search.greedy import GreedyWordImportance, WeightedSaliency
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations.characters import DEEPWORDBUG, INVISIBLE, TEXTBUGGER, Misspelling
from trilemma.attacks.transformations.synonyms import Synonyms
from trilemma.errors import AttackError
from trilemma.tasks.task import Task


def goal(settings: AttackSettings, default: Goal = Untargeted()) -> Goal:  # noqa: B008  it is immutable
    """The goal function that the settings name.

    Raises:
        AttackError: if a target is named without the goal ``targeted``, or the other way round.
    """
    if (settings.goal == "targeted") != (settings.target is not None):
        raise AttackError("the goal `targeted` and `target`, the index of a class, belong together")
    if settings.target is not None:
        return Targeted(settings.target)
    if settings.goal == "confidence-drop":
        return ConfidenceDrop()
    return default if settings.goal is None else Untargeted()


def constraints(
    settings: AttackSettings,
    *own: Constraint,
    words_changed: float | None = None,
    similarity: float | None = None,
    edit_distance: int | None = None,
    part_of_speech: bool = False,
) -> tuple[Constraint, ...]:
    """A recipe's own constraints and those that the settings set, cheap ones first.

    Args:
        settings: the user's thresholds, before the recipe's.
        own: constraints without a threshold.
        words_changed: the recipe's largest share of words changed.
        similarity: the recipe's least similarity.
        edit_distance: the recipe's most characters changed.
        part_of_speech: whether the recipe keeps parts of speech.
    """
    chosen = list(own)
    if settings.protect:
        chosen.append(protected(settings.protect))
    share = settings.words_changed or words_changed
    if share is not None:
        chosen.append(MostChanged(share))
    most = settings.edit_distance or edit_distance
    if most is not None:
        chosen.append(EditDistance(most))
    if part_of_speech if settings.part_of_speech is None else settings.part_of_speech:
        chosen.append(PartOfSpeech(resources.tagger()))
    least = similarity if settings.similarity is None else settings.similarity
    if least is not None:
        from trilemma.attacks.constraints.similarity import SentenceSimilarity

        encoder = resources.sentence_encoder(settings.encoder)
        chosen.append(SentenceSimilarity(encoder, least, getattr(encoder, "rough", None)))
    if settings.grammar_drop is not None:
        chosen.append(GrammarDrop(resources.acceptability(settings.acceptability), settings.grammar_drop))
    if settings.perplexity_ratio is not None:
        perplexity = resources.perplexity(settings.language_model)
        chosen.append(PerplexityRatio(perplexity, settings.perplexity_ratio))
    return tuple(chosen)


def deepwordbug(settings: AttackSettings, task: Task | None) -> Recipe:
    """DeepWordBug: Gao et al. 2018, arXiv 1801.04354.

    Swap, substitution, deletion or insertion of a character in the most important words, edit distance at
    most 30. Words are ranked by an unknown word in their place; the paper's temporal scores read a recurrent
    model's prefixes, which a victim here does not show.
    """
    return Recipe(
        "word",
        GreedyWordImportance("unknown"),
        Misspelling(DEEPWORDBUG),
        constraints(settings, UnchangedWords(), NoStopWords(), edit_distance=30),
        goal(settings),
        settings.field,
    )


def textbugger(settings: AttackSettings, task: Task | None) -> Recipe:
    """TextBugger, black box: Li et al. 2019, arXiv 1812.05271.

    Space, deletion, swap, look-alike letters and neighbouring keys in the most important words; sentences
    at least 0.8 similar. The paper's neighbours of word vectors are ``textfooler``'s here; its ranking of
    sentences first is left out, since the tasks have one or two; its similarity is by the Universal Sentence
    Encoder, here by the settings' encoder.
    """
    return Recipe(
        "word",
        GreedyWordImportance("delete"),
        Misspelling(TEXTBUGGER),
        constraints(settings, UnchangedWords(), NoStopWords(), similarity=0.8),
        goal(settings),
        settings.field,
    )


def bad_characters(settings: AttackSettings, task: Task | None) -> Recipe:
    """Bad characters: Boucher et al. 2021, arXiv 2106.09898.

    Characters that take no room inside a word, or all its letters replaced by those of other scripts that
    look the same: a person sees no change at all. The paper also reorders and deletes by control characters,
    and searches by differential evolution; here the most important words change first.
    """
    return Recipe(
        "word",
        GreedyWordImportance("unknown"),
        Misspelling(INVISIBLE),
        constraints(settings, UnchangedWords()),
        goal(settings),
        settings.field,
    )


def pwws(settings: AttackSettings, task: Task | None) -> Recipe:
    """Probability-weighted word saliency: Ren et al. 2019, ACL P19-1103.

    WordNet's synonyms, in the order of saliency times gain. Synonyms are of any part of speech, since no
    tagger is assumed, and named entities are not swapped for others of their kind.
    """
    return Recipe(
        "word",
        WeightedSaliency(),
        Synonyms(resources.synonyms(settings.wordnet)),
        constraints(settings, UnchangedWords(), NoStopWords()),
        goal(settings),
        settings.field,
    )


def advglue(settings: AttackSettings, task: Task | None) -> Attack:
    """AdvGLUE's ensemble: Wang et al. 2021, arXiv 2111.02840, section 3.

    For every item the strongest example of several attacks at word level (at most 15% of the words changed)
    and sentence level. ``textbugger``, ``compattack``, ``advfever``, ``stresstest`` and ``checklist`` always
    take part; ``textfooler`` where ``vectors`` is set, ``bert-attack`` where ``masked_model`` is, ``pso``
    where ``sememes`` is, ``scpn`` where ``paraphraser`` is. T3 needs a trained tree auto-encoder that was not
    published, and is not here. Curation by people is ``trilemma annotate``.
    """
    from trilemma.attacks.building import build
    from trilemma.attacks.ensemble import Ensemble

    wanted = {"textfooler": settings.vectors, "bert-attack": settings.masked_model, "pso": settings.sememes}
    words = ["textbugger", "compattack", *(name for name, resource in wanted.items() if resource)]
    sentences = ["advfever", "stresstest", "checklist", *(["scpn"] if settings.paraphraser else [])]
    few = settings.model_copy(update={"words_changed": settings.words_changed or 0.15})
    members = {name: build(name, few, task) for name in words}
    return Ensemble(members | {name: build(name, settings, task) for name in sentences})


DEEPWORDBUG_RECIPE = NamedRecipe("word", deepwordbug)
TEXTBUGGER_RECIPE = NamedRecipe("word", textbugger, ("encoder",))
PWWS_RECIPE = NamedRecipe("word", pwws, ("wordnet",))
BAD_CHARACTERS_RECIPE = NamedRecipe("word", bad_characters)
ADVGLUE_RECIPE = NamedRecipe("unknown", advglue, ("wordnet", "encoder"))
