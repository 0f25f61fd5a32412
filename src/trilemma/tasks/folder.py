"""Examples from a folder of Parquet, CSV or JSON Lines files in Hugging Face column names."""

import os
from pathlib import Path

from trilemma.errors import DataError
from trilemma.tasks import advglue, anli
from trilemma.tasks.columns import examples
from trilemma.tasks.reading import FILE_TYPES, one_line, read_file
from trilemma.tasks.task import AdversarialExamples, Examples, Task


class FolderSource:
    """``glue/<task>/<split>``, ``advglue/<set>/validation``, ``anli/dev_r<round>`` under one folder.

    A task may also lie at ``<task>/<split>``. A file whose name ends in ``_partial...`` stands for
    its split; whether a split is partial is told by its number of rows, not by that name.

    Args:
        root: the folder.

    Raises:
        DataError: if there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not os.path.isdir(root):  # unlike Path's, also for a name that is too long
            raise DataError(
                f"{one_line(root)} is not a folder; expected one with glue/<task>/<split>.parquet"
            )
        self.root = root

    @property
    def description(self) -> str:
        """Where the examples came from."""
        return f"folder {self.root}"

    def load(self, task: Task, split: str) -> Examples:
        """One split of a task."""
        stored = task.trained_on if split == "train" and task.trained_on else task
        folders = [self.root / "glue" / stored.name, self.root / stored.name]
        folder = next((folder for folder in folders if folder.is_dir()), folders[0])
        return examples(task, split, read_file(_find(folder, split), [*task.fields, "label"], ["idx"]))

    def adversarial(self, task: Task, name: str) -> list[AdversarialExamples]:
        """``advglue`` or ``anli`` for a task; empty where the set has nothing for it."""
        if name == "advglue":
            return [self._advglue(task, subset) for subset in advglue.SUBSETS.get(task.name, ())]
        if name == "anli":
            return [self._anli(task, one) for one in anli.ROUNDS] if anli.serves(task) else []
        raise DataError(
            f"no adversarial set {name!r} in {self.description}; known: advglue, anli, or a set of your own"
        )

    def _advglue(self, task: Task, subset: advglue.Subset) -> AdversarialExamples:
        table = read_file(_find(self.root / "advglue" / subset.name, "validation"), *advglue.columns(task))
        return advglue.from_table(task, subset.name, table, subset.dev_rows)

    def _anli(self, task: Task, name: str) -> AdversarialExamples:
        return anli.from_table(
            task, name, read_file(_find(self.root / "anli", f"dev_{name}"), *anli.columns(task))
        )


def _find(folder: Path, split: str) -> Path:
    """The file of a split: whole, or else the only partial one."""
    for pattern in (split, f"{split}_partial*"):
        found = sorted(path for suffix in FILE_TYPES for path in folder.glob(pattern + suffix))
        if len(found) > 1:
            raise DataError(
                f"{folder} has {', '.join(path.name for path in found)}; expected one file for {split!r}"
            )
        if found:
            return found[0]
    raise DataError(f"{folder / split} not found; expected that file as {', '.join(FILE_TYPES)}")
