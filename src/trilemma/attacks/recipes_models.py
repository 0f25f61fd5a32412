"""Recipes that read word vectors, language models and dictionaries; each says where it comes from."""

from trilemma.attacks import resources
from trilemma.attacks.constraints.edits import STOP_WORDS, NoStopWords, UnchangedWords
from trilemma.attacks.recipe import NamedRecipe, Recipe
from trilemma.attacks.recipes import constraints, goal
from trilemma.attacks.search.greedy import GreedyWordImportance
from trilemma.attacks.search.whole import TryAll
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.transformations.characters import TEXTBUGGER, Misspelling
from trilemma.attacks.transformations.embeddings import Neighbours
from trilemma.attacks.transformations.inflections import inflections
from trilemma.attacks.transformations.masked import MaskedSubstitutes, Place
from trilemma.attacks.transformations.paraphrase import Paraphrase
from trilemma.attacks.transformations.synonyms import Synonyms
from trilemma.attacks.transformations.union import Union
from trilemma.tasks.task import Task

NEIGHBOURS = 50
NEIGHBOUR_COSINE = 0.5
"""TextFooler's neighbours: so many, at least so near (its released code; the paper's text has 0.7)."""


def textfooler(settings: AttackSettings, task: Task | None) -> Recipe:
    """TextFooler: Jin et al. 2020, arXiv 1907.11932.

    50 nearest neighbours of cosine at least 0.5 in word vectors (the paper's are counter-fitted: Mrkšić et
    al. 2016), of the same part of speech, in the most important words by deletion; of several that succeed
    the most similar sentence. Vectors that are not counter-fitted put antonyms near each other, and then
    labels do not hold. Deviations: sentences are compared whole, and short ones too, by the cosine of
    the settings' encoder, at least 0.84. The released code compares 15 words around the change by the
    Universal Sentence Encoder, wants 1 - angle to be at least 0.5 (angular similarity 0.84, cosine 0.88),
    and lets sentences of fewer words pass. It also lets nouns and verbs replace each other, which the paper
    does not say, and adds the new class's gain to a word's importance where deletion changes the answer.
    """
    return Recipe(
        "word",
        GreedyWordImportance("delete"),
        Neighbours(resources.word_vectors(settings.vectors, NEIGHBOURS, NEIGHBOUR_COSINE)),
        constraints(settings, UnchangedWords(), NoStopWords(), similarity=0.84, part_of_speech=True),
        goal(settings),
        settings.field,
    )


def bert_attack(settings: AttackSettings, task: Task | None) -> Recipe:
    """BERT-Attack: Li et al. 2020, arXiv 2004.09984.

    The 48 words that a masked language model finds most probable in the place of each word, which it reads
    unmasked; at most 40% of the words changed; words ranked by the mask in their place, here an unknown
    word, since a victim need not know the mask. Words of several sub-word tokens get combinations, ranked by
    the product of the tokens' probabilities instead of a second pass's perplexity, and none where a word has
    more than six tokens. Candidates that are function words are left out as in the paper; antonyms are not
    filtered.
    """
    model = resources.masked_language_model(settings.masked_model, 48)
    return Recipe(
        "word",
        GreedyWordImportance("unknown"),
        MaskedSubstitutes(model, None, without=STOP_WORDS),
        constraints(settings, UnchangedWords(), NoStopWords(), words_changed=0.4),
        goal(settings),
        settings.field,
    )


def bae(settings: AttackSettings, task: Task | None) -> Recipe:
    """BAE-R: Garg & Ramakrishnan 2020, arXiv 2004.01970.

    The 50 most probable words of a masked language model in the place of a masked word, of the same part of
    speech, in the most important words by deletion; sentences at least 0.8 similar. Similarity is of whole
    sentences to the original, by the settings' encoder; the paper's is of 15 words around the change, by the
    Universal Sentence Encoder.
    """
    return _bae(settings, ("replace",), part_of_speech=True)


def bae_insert(settings: AttackSettings, task: Task | None) -> Recipe:
    """BAE-I: Garg & Ramakrishnan 2020, arXiv 2004.01970.

    As ``bae``, but the words are inserted left or right of the important ones, of any part of speech.
    """
    return _bae(settings, ("left", "right"), part_of_speech=False)


def _bae(settings: AttackSettings, places: tuple[Place, ...], *, part_of_speech: bool) -> Recipe:
    model = resources.masked_language_model(settings.masked_model, 50)
    return Recipe(
        "word",
        GreedyWordImportance("delete"),
        MaskedSubstitutes(model, model.mask, places),
        constraints(settings, UnchangedWords(), NoStopWords(), similarity=0.8, part_of_speech=part_of_speech),
        goal(settings),
        settings.field,
    )


def morpheus(settings: AttackSettings, task: Task | None) -> Recipe:
    """Morpheus: Tan et al. 2020, ACL 2020.acl-main.263.

    Every noun, verb and adjective by the inflection of it that hurts most. The most important words are
    tried first, by deletion, where the paper goes from left to right; inflections are of every part of
    speech that the word may have.
    """
    return Recipe(
        "word",
        GreedyWordImportance("delete"),
        Synonyms(inflections(resources.wordnet(settings.wordnet)).of),
        constraints(settings, UnchangedWords(), NoStopWords()),
        goal(settings),
        settings.field,
    )


def compattack(settings: AttackSettings, task: Task | None) -> Recipe:
    """CompAttack, AdvGLUE's composition: Wang et al. 2021, arXiv 2111.02840.

    Four kinds of candidates for every word, tried together: typos (TextBugger's edits) and knowledge
    (WordNet's synonyms) always; embedding (neighbours as ``textfooler``'s) where the setting ``vectors`` is
    given; context (as ``bert-attack``'s) where ``masked_model`` is given. ``transformation.parts`` of the
    recipe names those in play. The original searches by the gradients of a surrogate; this one is greedy and
    asks the victim alone. At most 15% of the words change, as AdvGLUE's filter has it.
    """
    parts: dict[str, Transformation] = {
        "typo": Misspelling(TEXTBUGGER),
        "knowledge": Synonyms(resources.synonyms(settings.wordnet)),
    }
    if settings.vectors is not None:
        parts["embedding"] = Neighbours(
            resources.word_vectors(settings.vectors, NEIGHBOURS, NEIGHBOUR_COSINE)
        )
    if settings.masked_model is not None:
        model = resources.masked_language_model(settings.masked_model, 48)
        parts["context"] = MaskedSubstitutes(model, None, without=STOP_WORDS)
    return Recipe(
        "word",
        GreedyWordImportance("delete"),
        Union(parts),
        constraints(settings, UnchangedWords(), NoStopWords(), words_changed=0.15),
        goal(settings),
        settings.field,
    )


def scpn(settings: AttackSettings, task: Task | None) -> Recipe:
    """SCPN's role, paraphrases that a model writes: Iyyer et al. 2018, arXiv 1804.06059.

    Ten paraphrases by beam search of any sequence-to-sequence model, sentences at least 0.8 similar. The
    paper's own model writes one paraphrase for each of ten syntactic templates; its weights are not in the
    Hugging Face format. Back-and-forth translation or prompting is the model's business; the setting
    ``paraphrase_prefix`` is put before the text.
    """
    model = resources.paraphraser(settings.paraphraser, settings.paraphrase_prefix)
    return Recipe(
        "sentence",
        TryAll(Paraphrase(model)),
        None,
        constraints(settings, similarity=0.8),
        goal(settings),
        settings.field,
    )


TEXTFOOLER_RECIPE = NamedRecipe("word", textfooler, ("encoder", "vectors", "part_of_speech"))
BERT_ATTACK_RECIPE = NamedRecipe("word", bert_attack, ("masked_model",))
BAE_RECIPE = NamedRecipe("word", bae, ("encoder", "masked_model", "part_of_speech"))
BAE_INSERT_RECIPE = NamedRecipe("word", bae_insert, ("encoder", "masked_model", "part_of_speech"))
MORPHEUS_RECIPE = NamedRecipe("word", morpheus, ("wordnet",))
COMPATTACK_RECIPE = NamedRecipe("word", compattack, ("wordnet",))
SCPN_RECIPE = NamedRecipe("sentence", scpn, ("encoder", "paraphraser"))
