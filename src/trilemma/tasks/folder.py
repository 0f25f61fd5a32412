"""Examples from a folder of Parquet, CSV or JSON Lines files in Hugging Face column names."""

import os
from collections.abc import Sequence
from pathlib import Path

from trilemma.errors import DataError, one_line
from trilemma.tasks.published import Collection, PublishedSource
from trilemma.tasks.raw_table import FILE_TYPES, RawTable, read_file


class FolderSource(PublishedSource):
    """``glue/<task>/<split>``, ``advglue/<set>/validation``, ``anli/dev_r<round>`` under one folder.

    A task may also be at ``<task>/<split>``. A file whose name ends in ``_partial...`` is taken for its
    split; whether that is partial is decided by the number of rows, not by the name.

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

    def table(
        self, collection: Collection, name: str, split: str, required: Sequence[str], optional: Sequence[str]
    ) -> RawTable:
        """The only file of the split."""
        folder = self.root / collection if collection == "anli" else self.root / collection / name
        if collection == "glue" and not folder.is_dir() and (self.root / name).is_dir():
            folder = self.root / name
        return read_file(_find(folder, split), required, optional)


def _find(folder: Path, split: str) -> Path:
    """The file of a split: the whole one, or else the only partial one."""
    for pattern in (split, f"{split}_partial*"):
        found = sorted(path for suffix in FILE_TYPES for path in folder.glob(pattern + suffix))
        if len(found) > 1:
            raise DataError(
                f"{folder} has {', '.join(path.name for path in found)}; expected one file for {split!r}"
            )
        if found:
            return found[0]
    raise DataError(f"{folder / split} not found; expected that file as {', '.join(FILE_TYPES)}")
