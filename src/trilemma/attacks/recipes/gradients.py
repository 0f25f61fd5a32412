"""Attacks that follow the victim's own gradients: HotFlip and universal triggers."""

from trilemma.attacks.recipes.recipe import constraints_of, goal_of, recipe, word_attack
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.hotflip import HotFlip
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations.characters import Misspelling, delete, insert, substitute
from trilemma.attacks.transformations.substitutes import Union
from trilemma.attacks.universal_trigger import GradientFit, UniversalTrigger
from trilemma.tasks.task import Task

DRAWS = 8
"""Places and letters that are drawn for each kind of character flip in a word."""


@recipe("hotflip", level="word", reads=("encoder",), white_box=True)
def hotflip(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """HotFlip: Ebrahimi et al. 2018, ACL P18-2006.

    Flips of a character (another letter, one more, one less) and flips of a word to another of the victim's
    vocabulary, ranked by the gradient of the loss, in a beam; no function words, no word twice, sentences at
    least 0.8 similar.

    The paper's character model reads characters; the victims here read pieces of words, so a character flip
    counts by the pieces that its word is cut into, and of all places and letters 8 are drawn per word and
    kind. The paper's beam is ordered by estimates, this one by the victim's answers. The paper flips words
    only to those of the same part of speech whose word vectors have a cosine of 0.8; a model that is trained
    from scratch has no such vectors, so here the sentences are compared by the settings' encoder. That lets
    some opposites through, as word vectors do: ``protect`` the words that bear the label.
    """
    flips = Union({f"draw {n}": Misspelling((substitute, insert, delete), n) for n in range(DRAWS)})
    return word_attack(settings, HotFlip(), flips, similarity=0.8, white_box=True)


@recipe("universal-trigger", level="sentence", white_box=True)
def universal_trigger(settings: AttackSettings, task: Task | None) -> UniversalTrigger:
    """Universal adversarial triggers: Wallace et al. 2019, arXiv 1908.07125.

    Three words before the attacked text, fitted by gradient (eq. 2) on items of one class and shown to
    others of that class.

    Fitted on one half of the attacked items and shown to the other, and the other way round: a victim brings
    no further items. Words are whole tokens of the victim's vocabulary, so that the text alone gives
    the trigger again; words of ``protect`` are left out of it, as the paper leaves out words of sentiment.
    One word is replaced at a time by the best of 10 candidates, where the paper keeps a beam of triggers;
    fitting ends when no word can be improved, after 5 rounds, or with the budget.
    """
    return UniversalTrigger(
        fit=GradientFit(excluded=frozenset(word.lower() for word in settings.protect)),
        constraints=constraints_of(settings),
        goal=goal_of(settings),
        attacked=settings.field,
    )
