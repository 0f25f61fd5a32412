"""Word level: misspelled words, other words in their place, words that are taken out."""

from trilemma.attacks.constraints.edits import NoStopWords, UnchangedWords
from trilemma.attacks.goals import FewestWords
from trilemma.attacks.recipes.recipe import recipe, word_attack
from trilemma.attacks.resources import load
from trilemma.attacks.resources.sememes import sememe_synonyms
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.beam import Beam
from trilemma.attacks.search.genetic import Genetic
from trilemma.attacks.search.greedy import GreedyWordImportance, WeightedSaliency
from trilemma.attacks.search.swarm import ParticleSwarm
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.transformations.characters import DEEPWORDBUG, INVISIBLE, TEXTBUGGER, Misspelling
from trilemma.attacks.transformations.masked import MaskedSubstitutes, Side
from trilemma.attacks.transformations.substitutes import Deletion, Neighbours, Synonyms, Union
from trilemma.attacks.words import stop_words
from trilemma.errors import AttackError
from trilemma.tasks.task import Task

NEIGHBOURS = 50
"""Number of TextFooler's neighbours of a word."""

NEIGHBOUR_COSINE = 0.5
"""Their least cosine, as in TextFooler's released code; the paper's text has 0.7."""

DRAWN_FROM = 8
"""Substitutes for a word that the genetic algorithm draws from: the paper's N."""

NEAREST = 0.875
"""Their least cosine: of unit vectors it is the paper's largest distance, 0.5 = sqrt(2 - 2 * 0.875)."""

WORDS_CHANGED = 0.15
"""AdvGLUE's largest share of words changed at word level (Wang et al. 2021, section 3.3)."""


@recipe("deepwordbug", level="word")
def deepwordbug(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """DeepWordBug: Gao et al. 2018, arXiv 1801.04354.

    Swap, substitution, deletion or insertion of a character in the most important words, edit distance at
    most 30. Words are ranked by an unknown word in their place; the paper's temporal scores read a recurrent
    model's prefixes, which a victim here does not show.
    """
    return word_attack(settings, GreedyWordImportance("unknown"), Misspelling(DEEPWORDBUG), edit_distance=30)


@recipe("textbugger", level="word", reads=("encoder",))
def textbugger(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """TextBugger, black box: Li et al. 2019, arXiv 1812.05271.

    Space, deletion, swap, look-alike letters and neighbouring keys in the most important words; sentences
    at least 0.8 similar. The paper's neighbours of word vectors are those of ``textfooler`` here; its ranking
    of sentences first is left out, since the tasks have one or two; its similarity is by the Universal
    Sentence Encoder, here by the settings' encoder.
    """
    return word_attack(settings, GreedyWordImportance("delete"), Misspelling(TEXTBUGGER), similarity=0.8)


@recipe("bad-characters", level="word")
def bad_characters(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """Bad characters: Boucher et al. 2021, arXiv 2106.09898.

    Characters without width inside a word, or all its letters replaced by those of other scripts that look
    the same: a person sees no change at all. The paper also reorders and deletes by control characters, and
    searches by differential evolution; here the most important words change first.
    """
    return word_attack(
        settings, GreedyWordImportance("unknown"), Misspelling(INVISIBLE), own=(UnchangedWords(),)
    )


@recipe("pwws", level="word", reads=("wordnet",))
def pwws(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """Probability-weighted word saliency: Ren et al. 2019, ACL P19-1103.

    WordNet's synonyms, in the order of saliency times gain. Synonyms are of any part of speech, since no
    tagger is assumed, and named entities are not swapped for others of their kind.
    """
    return word_attack(settings, WeightedSaliency(), Synonyms(load.synonyms(settings.wordnet)))


@recipe("textfooler", level="word", reads=("encoder", "vectors", "part_of_speech"))
def textfooler(settings: AttackSettings, task: Task | None) -> SearchAttack:
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
    return word_attack(
        settings,
        GreedyWordImportance("delete"),
        Neighbours(load.word_vectors(settings.vectors, NEIGHBOURS, NEIGHBOUR_COSINE)),
        similarity=0.84,
        part_of_speech=True,
    )


@recipe("morpheus", level="word", reads=("wordnet",))
def morpheus(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """Morpheus: Tan et al. 2020, ACL 2020.acl-main.263.

    Every noun, verb and adjective by the inflection of it that hurts most. The most important words are
    tried first, by deletion, where the paper goes from left to right; inflections are of every part of
    speech that the word may have.
    """
    return word_attack(settings, GreedyWordImportance("delete"), Synonyms(load.inflections(settings.wordnet)))


@recipe("bert-attack", level="word", reads=("masked_model",))
def bert_attack(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """BERT-Attack: Li et al. 2020, arXiv 2004.09984.

    The 48 words that a masked language model finds most probable in the place of each word, which it reads
    unmasked; at most 40% of the words changed; words ranked by the mask in their place, here an unknown
    word, since a victim need not know the mask. Words of several sub-word tokens get combinations, ranked by
    the product of the tokens' probabilities instead of a second pass's perplexity, and none where a word has
    more than six tokens. Candidates that are function words are left out as in the paper; antonyms are not
    filtered.
    """
    return word_attack(
        settings, GreedyWordImportance("unknown"), unmasked_substitutes(settings), words_changed=0.4
    )


@recipe("bae", level="word", reads=("encoder", "masked_model", "part_of_speech"))
def bae(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """BAE-R: Garg & Ramakrishnan 2020, arXiv 2004.01970.

    The 50 most probable words of a masked language model in the place of a masked word, of the same part of
    speech, in the most important words by deletion; sentences at least 0.8 similar. Similarity is of whole
    sentences to the original, by the settings' encoder; the paper's is of 15 words around the change, by the
    Universal Sentence Encoder.
    """
    return _bae(settings, ("replace",), part_of_speech=True)


@recipe("bae-insert", level="word", reads=("encoder", "masked_model", "part_of_speech"))
def bae_insert(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """BAE-I: Garg & Ramakrishnan 2020, arXiv 2004.01970.

    As ``bae``, but the words are inserted left or right of the important ones, of any part of speech.
    """
    return _bae(settings, ("left", "right"), part_of_speech=False)


def unmasked_substitutes(settings: AttackSettings) -> MaskedSubstitutes:
    """BERT-Attack's candidates: what the model writes for a word that it reads.

    Raises:
        AttackError: if no model is set.
    """
    return MaskedSubstitutes(
        load.masked_language_model(settings.masked_model, 48), None, without=stop_words()
    )


def _bae(settings: AttackSettings, sides: tuple[Side, ...], *, part_of_speech: bool) -> SearchAttack:
    model = load.masked_language_model(settings.masked_model, 50)
    return word_attack(
        settings,
        GreedyWordImportance("delete"),
        MaskedSubstitutes(model, model.mask, sides),
        similarity=0.8,
        part_of_speech=part_of_speech,
    )


@recipe("genetic", level="word", reads=(("vectors", "wordnet"),))
def genetic(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """Genetic algorithm: Alzantot et al. 2018, arXiv 1804.07998.

    Population 60, 20 generations, at most 20% of the words changed, 25% in pairs, function words left alone.
    With ``vectors``, which should be counter-fitted, substitutes are the paper's: the 8 nearest neighbours at
    a distance of at most 0.5. Without, they are a word's first 8 WordNet synonyms. The paper's language
    model, which leaves 4 of the 8, is not used; the setting ``perplexity_ratio`` bounds the whole text
    instead.
    """
    transformation: Transformation
    if settings.vectors is not None:
        transformation = Neighbours(load.word_vectors(settings.vectors, DRAWN_FROM, NEAREST))
    else:
        transformation = Synonyms(load.synonyms(settings.wordnet), most=DRAWN_FROM)
    pair = task is not None and len(task.fields) == 2
    return word_attack(
        settings, Genetic(population=60, generations=20), transformation, words_changed=0.25 if pair else 0.2
    )


@recipe("pso", level="word", reads=("sememes", "part_of_speech"))
def pso(settings: AttackSettings, task: Task | None) -> SearchAttack:
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
    return word_attack(
        settings,
        ParticleSwarm(particles=60, iterations=20),
        Synonyms(sememe_synonyms(settings.sememes)),
        own=(NoStopWords(),),
        part_of_speech=True,
    )


@recipe("compattack", level="word", reads=("wordnet",))
def compattack(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """CompAttack, AdvGLUE's composition: Wang et al. 2021, arXiv 2111.02840.

    Four kinds of candidates for every word, tried together: typos (TextBugger's edits) and knowledge
    (WordNet's synonyms) always; embedding (neighbours as those of ``textfooler``) where the setting
    ``vectors`` is given; context (as in ``bert-attack``) where ``masked_model`` is given.
    ``transformation.parts`` of the attack names those in use. The original searches by the gradients of a
    surrogate; this one is greedy and asks the victim alone. At most 15% of the words change, as in AdvGLUE's
    filter.
    """
    parts: dict[str, Transformation] = {
        "typo": Misspelling(TEXTBUGGER),
        "knowledge": Synonyms(load.synonyms(settings.wordnet)),
    }
    if settings.vectors is not None:
        parts["embedding"] = Neighbours(load.word_vectors(settings.vectors, NEIGHBOURS, NEIGHBOUR_COSINE))
    if settings.masked_model is not None:
        parts["context"] = unmasked_substitutes(settings)
    return word_attack(settings, GreedyWordImportance("delete"), Union(parts), words_changed=WORDS_CHANGED)


@recipe("input-reduction", level="word", misclassifies=False)
def input_reduction(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """Input reduction: Feng et al. 2018, arXiv 1804.07781.

    Words are taken out while the answer stays, by a beam of 5; at least one word is left. The paper estimates
    a word's importance (how much less sure the victim is without it, eq. 1) by the gradient; a victim here
    shows none, so every word is taken out to see, again after every removal, and n words cost up to 5 n^2
    queries: where the budget ends, the shortest text until then is the result.

    A success keeps the answer and loses the sense, so it counts texts that the model should be unsure about,
    not errors.

    Raises:
        AttackError: if another goal is set: this attack is its goal.
    """
    if settings.goal is not None or settings.target is not None:
        raise AttackError("the recipe input-reduction has its own goal; leave out `goal` and `target`")
    search = Beam(width=5, successes_only=True)
    return word_attack(settings, search, Deletion(), own=(), goal=FewestWords())
