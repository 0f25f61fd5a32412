"""What of a store no run folder needs any more."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trilemma.errors import StoreError
from trilemma.files import disk_errors, write_text
from trilemma.study.stage import Stage
from trilemma.study.store import is_store

NEEDED = "artifacts.json"
"""The file of a run folder that names the artifacts it rests on, as ``KIND/KEY``."""


@dataclass(frozen=True)
class Unneeded:
    """A folder of the store that can go.

    Attributes:
        path: of the folder.
        title: what a person calls it: the stage that made it, or what it is.
        size: in bytes.
    """

    path: Path
    title: str
    size: int


def keep_needed(run: Path, stages: Iterable[Stage]) -> None:
    """Write into a run folder which artifacts it rests on."""
    write_text(run / NEEDED, json.dumps([f"{stage.kind}/{stage.key}" for stage in stages], indent=1))


def unneeded(store: Path, runs: Sequence[Path] = ()) -> list[Unneeded]:
    """Artifacts, unfinished work and damaged artifacts that no run folder rests on, the largest first.

    Args:
        store: the folder of artifacts.
        runs: run folders that are not beside the store.

    Raises:
        StoreError: for a folder that is not a store, or a run folder that does not say what it needs.
    """
    if not is_store(store):
        raise StoreError(f"{store} is not a store of trilemma's artifacts; name one, such as runs/.store")
    beside = [path.parent for path in sorted(store.resolve().parent.glob("*/study.json"))]
    if not beside and not runs:
        raise StoreError(f"no run folder is beside {store}; name those that rest on it with --run")
    needed = {name for run in (*beside, *runs) for name in _needed(run)}
    work = {name.replace("/", "-", 1) for name in needed}
    found = []
    for folder in (path for kind in store.iterdir() if kind.is_dir() for path in kind.iterdir()):
        kind = folder.parent.name
        wanted = folder.name in work if kind == "work" else f"{kind}/{folder.name}" in needed
        if wanted or kind == "locks" or not folder.is_dir() or folder.is_symlink():
            continue
        if folder.name.startswith(".") and f"{kind}/{folder.name[1:].partition('.')[0]}" in needed:
            continue  # a study is writing it at this moment
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        found.append(Unneeded(folder, _title(folder), size))
    return sorted(found, key=lambda one: -one.size)


def remove(found: Iterable[Unneeded]) -> None:
    """Delete the folders.

    Raises:
        StoreError: where the system refuses.
    """
    for one in found:
        with disk_errors(one.path):
            shutil.rmtree(one.path)


def _needed(run: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads((run / NEEDED).read_text("utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(
            f"{run} does not say which artifacts it rests on; run its study again (everything is reused), or "
            "remove the folder"
        ) from error


def _title(folder: Path) -> str:
    if folder.parent.name == "work":
        return "unfinished work"
    if folder.name.startswith("."):
        return "damaged or unfinished"
    try:
        content = json.loads((folder / "artifact.json").read_text("utf-8"))
        return f"{folder.parent.name} {content['stage']['title']}"
    except (OSError, ValueError, KeyError, TypeError):
        return folder.parent.name
