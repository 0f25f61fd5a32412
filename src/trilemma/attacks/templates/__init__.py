"""Human level: templates written by people, a set for each GLUE task with classes.

After CheckList (Ribeiro et al. 2020, ACL 2020.acl-main.442) and StressTest (Naik et al. 2018, COLING
C18-1198), which AdvGLUE has at human level; all texts are ours. A template rewrites an item, both texts of a
pair where it must, and says why its label holds. STS-B is left out: it is a regression, and an attack
turns a class. AX is left out: its labels are unpublished.
"""

from trilemma.attacks.templates import cola, inference, paraphrase, qnli, sst2
from trilemma.attacks.templates.template import Family, FromTemplates, Template
from trilemma.errors import AttackError
from trilemma.tasks import glue
from trilemma.tasks.task import Task

TEMPLATES: dict[str, tuple[Task, tuple[Template, ...]]] = {
    task.name: (task, templates)
    for task, templates in (
        (glue.COLA, cola.TEMPLATES),
        (glue.SST2, sst2.TEMPLATES),
        (glue.MRPC, paraphrase.MRPC),
        (glue.QQP, paraphrase.QQP),
        (glue.MNLI, inference.TEMPLATES),
        (glue.QNLI, qnli.TEMPLATES),
        (glue.RTE, inference.TEMPLATES),
        (glue.WNLI, inference.WNLI),
    )
}
"""By task name: the task they were written for, and the templates."""


def templates_of(task: Task | None, family: Family) -> tuple[Template, ...]:
    """A task's templates of one kind.

    Raises:
        AttackError: if there are none for the task, naming the tasks that have some.
    """
    known = ", ".join(TEMPLATES)
    if task is None:
        raise AttackError(f"templates are written for a task; name one of {known}")
    written_for, templates = TEMPLATES.get(task.name, (None, ()))
    if written_for is None or (task.fields, task.labels) != (written_for.fields, written_for.labels):
        raise AttackError(
            f"no templates are written for the task {task.name}, only for GLUE's {known}; give your own by "
            "the recipe `own-templates` and the setting `templates`"
        )
    return tuple(template for template in templates if template.family == family)


__all__ = ["TEMPLATES", "FromTemplates", "Template", "templates_of"]
