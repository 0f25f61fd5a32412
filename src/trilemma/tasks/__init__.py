"""What is asked: GLUE, AdvGLUE and ANLI, the embedded suite, your own tasks, and how they are read.

A plug-in adds a task by an entry point in the group ``trilemma.tasks`` that names a :class:`Task`; its
attribute ``data`` is the :class:`Source` of its examples.
"""

from trilemma.errors import DataError, TrilemmaError
from trilemma.files import expanded
from trilemma.tasks.task import TASKS, AdversarialExamples, Examples, Level, Source, Task, Text
from trilemma.tasks.user import UserSet, UserTask, adversarial_from_user, from_user


def get(name: str) -> Task:
    """The task called ``name``.

    Raises:
        TrilemmaError: if there is none, naming the known ones; or if a plug-in is not a task.
    """
    task = TASKS.get(name)
    if not isinstance(task, Task):
        raise TrilemmaError(
            f"the plug-in {name!r} is a {type(task).__name__}; expected a trilemma.tasks.Task"
        )
    return task


def open_source(spec: str) -> Source:
    """The source of examples that a study's ``data:`` names: ``embedded``, ``folder:PATH`` or ``hub``.

    Raises:
        DataError: for another word, or a folder that does not exist.
    """
    kind, _, where = spec.partition(":")
    if spec == "embedded":
        from trilemma.tasks.embedded import EmbeddedSource

        return EmbeddedSource()
    if spec == "hub":
        from trilemma.tasks.hub import HubSource

        return HubSource()
    if kind == "folder" and where:
        from trilemma.tasks.folder import FolderSource

        return FolderSource(expanded(where))
    raise DataError(f"unknown data source {spec!r}; expected embedded, folder:PATH or hub")


__all__ = [
    "TASKS",
    "AdversarialExamples",
    "Examples",
    "Level",
    "Source",
    "Task",
    "Text",
    "UserSet",
    "UserTask",
    "adversarial_from_user",
    "from_user",
    "get",
    "open_source",
]
