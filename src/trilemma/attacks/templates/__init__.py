"""Human level: templates written by people, a set for each GLUE task with classes, and a user's own.

After CheckList (Ribeiro et al. 2020, ACL 2020.acl-main.442) and StressTest (Naik et al. 2018, COLING
C18-1198), which AdvGLUE has at human level; all texts were written for this package and are in ``glue``, a
file for each task. A template rewrites an item, both texts of a pair where necessary, and says why its label
holds. STS-B is left out: it is a regression, and an attack turns a class. AX is left out: its labels are
unpublished.
"""

from functools import cache
from importlib.resources import files

import yaml

from trilemma.attacks.templates.reader import templates_from
from trilemma.attacks.templates.template import Family, Template
from trilemma.errors import AttackError
from trilemma.tasks import glue
from trilemma.tasks.task import Task

TASKS = {
    task.name: task
    for task in (glue.COLA, glue.SST2, glue.MRPC, glue.QQP, glue.MNLI, glue.QNLI, glue.RTE, glue.WNLI)
}
"""Tasks that templates are written for, by name."""


def templates_of(task: Task | None, family: Family) -> tuple[Template, ...]:
    """A task's templates of one kind.

    Raises:
        AttackError: if there are none for the task, naming the tasks that have some.
    """
    known = ", ".join(TASKS)
    if task is None:
        raise AttackError(f"templates are written for a task; name one of {known}")
    written_for = TASKS.get(task.name)
    if written_for is None or (task.fields, task.labels) != (written_for.fields, written_for.labels):
        raise AttackError(
            f"no templates are written for the task {task.name}, only for GLUE's {known}; write some and "
            "use the recipe `custom-templates` with the setting `templates`"
        )
    return tuple(template for template in _written(task.name) if template.family == family)


@cache
def _written(task: str) -> tuple[Template, ...]:
    """The templates in a task's file; where that has a name alone, the template of ``common.yaml``."""
    folder = files("trilemma.attacks.templates") / "glue"
    common, own = (yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8")) for name in ("common", task))
    shared = {one["name"]: one for one in common}
    return templates_from(
        [shared[one] if isinstance(one, str) else one for one in own], TASKS[task], f"{task}.yaml"
    )
