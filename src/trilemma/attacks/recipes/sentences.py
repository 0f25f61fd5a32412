"""Sentence level and human level: words around a text, the same said in another form, people's templates.

CheckList and StressTest have two recipes each, as they have two levels in AdvGLUE: ``checklist`` and
``stresstest`` distract and take any task; ``checklist-templates`` and ``stresstest-templates`` are sets of
templates for the GLUE tasks.
"""

from collections.abc import Sequence
from functools import partial

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps, ask
from trilemma.attacks.recipes.recipe import recipe, rewriting_attack
from trilemma.attacks.resources import load
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.sentences.distraction import links_and_handles, tautologies
from trilemma.attacks.sentences.rules import by_rules
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.templates import templates_of
from trilemma.attacks.templates.reader import read_templates
from trilemma.attacks.templates.template import Template, by_templates
from trilemma.errors import AttackError
from trilemma.tasks import glue
from trilemma.tasks.task import Task


@recipe("checklist", level="sentence")
def checklist(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """CheckList's distraction: Ribeiro et al. 2020, ACL 2020.acl-main.442; at sentence level in AdvGLUE.

    A random link or handle at the front or the end, 16 per item. The paper draws one; typos and contractions,
    which it tests too, are those of ``deepwordbug`` and ``checklist-templates``.
    """
    return rewriting_attack(settings, "sentence", links_and_handles)


@recipe("stresstest", level="sentence")
def stresstest(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """StressTest's distraction: Naik et al. 2018, COLING C18-1198; at sentence level in AdvGLUE.

    Clauses that are always true, with a negation or without, or one five times. The paper's are the first one
    of each kind here; it lengthens premises and adds the others to hypotheses, where here all go to the
    attacked text. They stand before a question instead of in it, and before every text of CoLA, where a
    clause that is joined could change whether a sentence is acceptable. Its misspellings are those of
    ``deepwordbug``.
    """
    return rewriting_attack(settings, "sentence", partial(tautologies, apart=_is_cola(task)))


@recipe("advfever", level="sentence")
def advfever(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """AdvFever's rules: Thorne et al. 2019, EMNLP D19-1292.

    Only rules that keep the meaning, rewritten for statements and, beyond the paper, for questions; its
    rules that turn a claim are left out, since they turn the label. Two openings at the end of the list take
    any text. CoLA's texts get the openings alone: another form of a sentence may be acceptable where the
    sentence is not.
    """
    return rewriting_attack(settings, "sentence", partial(by_rules, openings=_is_cola(task)))


@recipe("scpn", level="sentence", reads=("encoder", "paraphraser"))
def scpn(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """Paraphrases that a model writes, in the place of SCPN: Iyyer et al. 2018, arXiv 1804.06059.

    Ten paraphrases by beam search of any sequence-to-sequence model, sentences at least 0.8 similar. The
    paper's own model writes one paraphrase for each of ten syntactic templates; its weights are not in the
    Hugging Face format. Whether the model translates back and forth or follows a prompt is left to it; the
    setting ``paraphrase_prefix`` is put before the text.
    """
    model = load.paraphraser(settings.paraphraser, settings.paraphrase_prefix)

    def paraphrases(item: Item) -> Steps[Sequence[str]]:
        text = item.original.text
        [found] = (yield from ask(model, [text])) if text.strip() else [()]
        return list(found)

    return rewriting_attack(settings, "sentence", paraphrases, similarity=0.8)


def _is_cola(task: Task | None) -> bool:
    return task is not None and task.name == glue.COLA.name


@recipe("checklist-templates", level="human")
def checklist_templates(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """CheckList's templates: Ribeiro et al. 2020, ACL 2020.acl-main.442; at human level in AdvGLUE.

    Names, places and numbers swapped, contractions, earlier and others' opinions, texts in the other order,
    neutral sentences: a set written here for each GLUE task with classes, each with the reason why its label
    holds. The paper's templates make new items; these rewrite the given ones, so that each has its original.
    A template may change both texts of a pair, whatever the setting ``field`` names.
    """
    return _templates(settings, task, templates_of(task, "checklist"))


@recipe("stresstest-templates", level="human")
def stresstest_templates(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """StressTest's templates: Naik et al. 2018, COLING C18-1198; at human level in AdvGLUE.

    Numerical reasoning and negation: a set written here for each GLUE task with classes, each with the reason
    why its label holds. The paper makes new pairs with new labels from word problems; these keep the item's
    label. A template may change both texts of a pair, whatever the setting ``field`` names.
    """
    return _templates(settings, task, templates_of(task, "stresstest"))


@recipe("custom-templates", level="human", reads=("templates",))
def custom_templates(settings: AttackSettings, task: Task | None) -> SearchAttack:
    """The user's templates, from the file that the setting ``templates`` names.

    Its form is that of :mod:`trilemma.attacks.templates.reader`.

    Raises:
        AttackError: if no file is named, or it is not one of templates for the task.
    """
    if settings.templates is None:
        raise AttackError(
            "the recipe `custom-templates` needs the setting `templates`; name a YAML or JSON file"
        )
    return _templates(settings, task, read_templates(settings.templates, task))


def _templates(settings: AttackSettings, task: Task | None, templates: Sequence[Template]) -> SearchAttack:
    labels = () if task is None or task.labels is None else task.labels
    rewriting = partial(by_templates, templates=templates, labels=labels)
    return rewriting_attack(settings, "human", rewriting)
