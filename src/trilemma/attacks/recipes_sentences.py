"""Recipes at sentence and at human level: words around a text, other forms of it, templates by people.

CheckList and StressTest have two recipes each, as they have two levels in AdvGLUE: ``checklist`` and
``stresstest`` distract and take any task; ``checklist-templates`` and ``stresstest-templates`` are sets of
templates for the GLUE tasks.
"""

from trilemma.attacks.recipe import NamedRecipe, Recipe
from trilemma.attacks.recipes import constraints, goal
from trilemma.attacks.search.whole import TryAll
from trilemma.attacks.sentences.distraction import LinksAndHandles, Tautologies
from trilemma.attacks.sentences.rules import ANNOUNCED, RULES, RuleRewrites
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.templates import FromTemplates, Template, templates_of
from trilemma.attacks.templates.own import read_templates
from trilemma.attacks.transformations import Rewriting
from trilemma.errors import AttackError
from trilemma.tasks import glue
from trilemma.tasks.task import Level, Task


def checklist(settings: AttackSettings, task: Task | None) -> Recipe:
    """CheckList's distraction: Ribeiro et al. 2020, ACL 2020.acl-main.442; at sentence level in AdvGLUE.

    A random link or handle at the front or the end, 16 an item. The paper draws one; typos and contractions,
    which it tests too, are ``deepwordbug``'s and ``checklist-templates``'.
    """
    return _recipe(settings, "sentence", LinksAndHandles())


def stresstest(settings: AttackSettings, task: Task | None) -> Recipe:
    """StressTest's distraction: Naik et al. 2018, COLING C18-1198; at sentence level in AdvGLUE.

    Clauses that are always true, with a negation or without, or one five times. The paper's are one of each
    kind, the first of ours; it lengthens premises and adds the others to hypotheses, where here all go to
    the attacked text. They stand before a question instead of in it, and before every text of CoLA, where a
    clause that is joined could change whether a sentence is acceptable. Its misspellings are
    ``deepwordbug``'s.
    """
    return _recipe(settings, "sentence", Tautologies(apart=task is not None and task.name == glue.COLA.name))


def advfever(settings: AttackSettings, task: Task | None) -> Recipe:
    """AdvFever's rules: Thorne et al. 2019, EMNLP D19-1292.

    Only rules that keep the meaning, written anew for statements and, beyond the paper, for questions; its
    rules that turn a claim are left out, since they turn the label. Two openings at the end of the list take
    any text. CoLA's texts get the openings alone: another form of a sentence may be acceptable where the
    sentence is not.
    """
    rules = ANNOUNCED if task is not None and task.name == glue.COLA.name else RULES
    return _recipe(settings, "sentence", RuleRewrites(rules))


def checklist_templates(settings: AttackSettings, task: Task | None) -> Recipe:
    """CheckList's templates: Ribeiro et al. 2020, ACL 2020.acl-main.442; at human level in AdvGLUE.

    Names, places and numbers swapped, contractions, earlier and others' opinions, texts in the other order,
    neutral sentences: a set of ours for each GLUE task with classes, each with the reason why its label
    holds. The paper's templates make new items; ours rewrite the given ones, so that each has its original.
    A template may change both texts of a pair, whatever the setting ``field`` names.
    """
    return _templates(settings, task, templates_of(task, "checklist"))


def stresstest_templates(settings: AttackSettings, task: Task | None) -> Recipe:
    """StressTest's templates: Naik et al. 2018, COLING C18-1198; at human level in AdvGLUE.

    Numerical reasoning and negation: a set of ours for each GLUE task with classes, each with the reason why
    its label holds. The paper makes new pairs with new labels from word problems; ours keep the item's label.
    A template may change both texts of a pair, whatever the setting ``field`` names.
    """
    return _templates(settings, task, templates_of(task, "stresstest"))


def own_templates(settings: AttackSettings, task: Task | None) -> Recipe:
    """The user's own templates, from the file that the setting ``templates`` names.

    Its form is that of :mod:`trilemma.attacks.templates.own`.
    """
    if settings.templates is None:
        raise AttackError(
            "the recipe `own-templates` needs the setting `templates`; name a YAML or JSON file"
        )
    return _templates(settings, task, read_templates(settings.templates, task))


def _templates(settings: AttackSettings, task: Task | None, templates: tuple[Template, ...]) -> Recipe:
    labels = () if task is None or task.labels is None else task.labels
    return _recipe(settings, "human", FromTemplates(templates, labels))


def _recipe(settings: AttackSettings, level: Level, rewriting: Rewriting) -> Recipe:
    return Recipe(level, TryAll(rewriting), None, constraints(settings), goal(settings), settings.field)


CHECKLIST_RECIPE = NamedRecipe("sentence", checklist)
STRESSTEST_RECIPE = NamedRecipe("sentence", stresstest)
ADVFEVER_RECIPE = NamedRecipe("sentence", advfever)
CHECKLIST_TEMPLATES_RECIPE = NamedRecipe("human", checklist_templates)
STRESSTEST_TEMPLATES_RECIPE = NamedRecipe("human", stresstest_templates)
OWN_TEMPLATES_RECIPE = NamedRecipe("human", own_templates, ("templates",))
