"""GLUE, AdvGLUE and ANLI under their published names, wherever their tables are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from trilemma.errors import DataError
from trilemma.tasks import advglue, anli
from trilemma.tasks.columns import examples
from trilemma.tasks.raw_table import RawTable
from trilemma.tasks.task import AdversarialExamples, Examples, Task

Collection = Literal["glue", "advglue", "anli"]


class PublishedSource(ABC):
    """A source of the published sets; subclasses read one table."""

    @property
    @abstractmethod
    def description(self) -> str:
        """Where the examples came from."""

    @abstractmethod
    def table(
        self, collection: Collection, name: str, split: str, required: Sequence[str], optional: Sequence[str]
    ) -> RawTable:
        """The named columns of one split of a collection."""

    def load(self, task: Task, split: str) -> Examples:
        """One split of a task."""
        stored = task.trained_on if split == "train" and task.trained_on else task
        return examples(task, split, self.table("glue", stored.name, split, [*task.fields, "label"], ["idx"]))

    def adversarial(self, task: Task, name: str) -> list[AdversarialExamples]:
        """``advglue`` or ``anli`` for a task; empty where the set has nothing for it."""
        if name == "advglue":
            return [self._advglue(task, subset) for subset in advglue.SUBSETS.get(task.name, ())]
        if name == "anli":
            return [self._anli(task, one) for one in anli.DEV_ROWS] if anli.serves(task) else []
        raise DataError(
            f"no adversarial set {name!r} in {self.description}; known: advglue, anli, or your own set"
        )

    def _advglue(self, task: Task, subset: advglue.Subset) -> AdversarialExamples:
        table = self.table("advglue", subset.name, "validation", *advglue.columns(task))
        return advglue.from_table(task, subset.name, table, subset.dev_rows)

    def _anli(self, task: Task, name: str) -> AdversarialExamples:
        table = self.table("anli", "plain_text", f"dev_{name}", [*task.fields, "label"], ["uid"])
        return anli.from_table(task, name, table)
