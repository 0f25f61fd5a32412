"""AdvGLUE's ensemble, which made the set."""

from trilemma.attacks.attack import Attack, build
from trilemma.attacks.ensemble import Ensemble
from trilemma.attacks.recipes.recipe import recipe
from trilemma.attacks.recipes.words import WORDS_CHANGED
from trilemma.attacks.settings import AttackSettings
from trilemma.tasks.task import Task


@recipe("advglue", level="unknown", reads=("wordnet", "encoder"))
def advglue(settings: AttackSettings, task: Task | None) -> Attack:
    """AdvGLUE's ensemble: Wang et al. 2021, arXiv 2111.02840, section 3.

    For every item the strongest example of several attacks at word level (at most 15% of the words changed)
    and sentence level. ``textbugger``, ``compattack``, ``advfever``, ``stresstest`` and ``checklist`` always
    take part; ``textfooler`` where ``vectors`` is set, ``bert-attack`` where ``masked_model`` is, ``pso``
    where ``sememes`` is, ``scpn`` where ``paraphraser`` is. T3 needs a trained tree auto-encoder that was not
    published, and is not here. Curation by people is ``trilemma annotate``.
    """
    wanted = {"textfooler": settings.vectors, "bert-attack": settings.masked_model, "pso": settings.sememes}
    words = ["textbugger", "compattack", *(name for name, resource in wanted.items() if resource)]
    sentences = ["advfever", "stresstest", "checklist", *(["scpn"] if settings.paraphraser else [])]
    few = settings.model_copy(update={"words_changed": settings.words_changed or WORDS_CHANGED})
    members = {name: build(name, few, task) for name in words}
    return Ensemble(members | {name: build(name, settings, task) for name in sentences})
