"""The store: a folder of artifacts, each whole or absent, found by the key of the stage that made it."""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from trilemma.errors import StoreError
from trilemma.files import disk_errors, held, sha256, sync, write_text

_FACTS = "artifact.json"

RUN_FILES = (
    "records.parquet",
    "items.parquet",
    "study.json",
    "checkpoints.json",
    "artifacts.json",
    "report.html",
)
"""What a run folder holds when its study is finished."""


class DamagedError(StoreError):
    """An artifact that is not as it was written; the message says what is wrong with it."""


class Store:
    """Artifacts by kind and key, shared by all studies that name the same folder.

    An artifact is written beside its place and renamed into it, so a killed run leaves it whole or
    absent. Nothing in it executes when it is opened: weights are safetensors, tables Parquet, facts
    JSON.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)

    def folder(self, kind: str, key: str) -> Path:
        """Where the artifact is, or will be."""
        return self.root / kind / key

    def facts(self, kind: str, key: str) -> dict[str, Any] | None:
        """The facts of a finished artifact, its files checked against their checksums; None where absent.

        Raises:
            DamagedError: when a file is missing, differs from what was written, or was added.
        """
        folder = self.folder(kind, key)
        if not folder.exists():
            return None
        try:
            content = json.loads((folder / _FACTS).read_text("utf-8"))
            files, facts = dict(content["files"]), dict(content["facts"])
            written = content.pop("checksum", None)  # an earlier version wrote none
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(f"{_FACTS} is unreadable") from error
        if written is not None and written != _checksum(content):
            raise DamagedError(f"{_FACTS} differs from its checksum")
        if key not in self._verified:
            if folder.is_symlink() or any(path.is_symlink() for path in folder.rglob("*")):
                # A model card is written into it later: never through a link to somewhere else.
                raise DamagedError("it holds a link, which no artifact does")
            for name, digest in files.items():
                path = folder / name
                if not path.is_file() or sha256(path) != digest:
                    raise DamagedError(f"{name} is missing or differs from its checksum")
            # A model card is added later.
            foreign = sorted(_files_in(folder) - set(files) - {_FACTS, "README.md"})
            if foreign:
                raise DamagedError(f"it holds {foreign[0]}, which was not written with it")
            self._verified.add(key)
            self._drop_work(kind, key)  # left by a kill just after the artifact was finished
        return facts

    def set_aside(self, kind: str, key: str) -> Path:
        """Move a damaged artifact out of the way, to be made again; hold :meth:`computing` meanwhile.

        Returns:
            Where it is now: ``.damaged-KEY`` beside its place, with a number where there was one before.
        """
        folder = self.folder(kind, key)
        endings = itertools.chain([""], (f"-{number}" for number in itertools.count(1)))
        places = (folder.with_name(f".damaged-{key}{ending}") for ending in endings)
        place = next(place for place in places if not os.path.lexists(place))
        with disk_errors(place):
            os.rename(folder, place)
        return place

    def work(self, kind: str, key: str) -> Path:
        """A folder that outlives a killed run, for checkpoints of the stage that will make the artifact."""
        folder = self.root / "work" / f"{kind}-{key}"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def computing(self, kind: str, key: str) -> AbstractContextManager[None]:
        """Hold the stage, so that another study on the same store waits for it instead of repeating it."""
        return held(self.root / "locks", name=f"{kind}-{key}.lock")

    @contextmanager
    def writing(
        self, kind: str, key: str, description: Mapping[str, Any]
    ) -> Iterator[tuple[Path, dict[str, Any]]]:
        """A folder to fill and a dict for facts; both become the artifact if the block ends without error."""
        final = self.folder(kind, key)
        with disk_errors(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            for left_by_a_killed_run in final.parent.glob(f".{key}.*"):
                shutil.rmtree(left_by_a_killed_run)
            temporary = final.parent / f".{key}.{os.getpid()}"
            temporary.mkdir()
        facts: dict[str, Any] = {}
        try:
            with disk_errors(final):
                yield temporary, facts
                names = sorted(_files_in(temporary))
                content = {
                    "kind": kind,
                    "key": key,
                    "stage": description,
                    "facts": facts,
                    "files": {name: sha256(temporary / name) for name in names},
                }
                content = json.loads(json.dumps(content))  # as it will be read
                content["checksum"] = _checksum(content)
                write_text(temporary / _FACTS, json.dumps(content, indent=1, sort_keys=True))
                for name in names:
                    sync(temporary / name)
                sync(temporary)
                if final.exists():  # it is made again
                    shutil.rmtree(final)
                os.rename(temporary, final)
                sync(final.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._verified.add(key)
        self._drop_work(kind, key)

    def _drop_work(self, kind: str, key: str) -> None:
        shutil.rmtree(self.root / "work" / f"{kind}-{key}", ignore_errors=True)


def _checksum(content: Mapping[str, Any]) -> str:
    """Of the facts of an artifact, and of what else stands beside them."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run folder for this process, as :func:`trilemma.files.held`."""
    busy = f"another process is running the study in {run}; wait for it or choose another --out"
    with held(run, busy):
        for name in RUN_FILES:
            for left_by_a_killed_run in run.glob(f".{name}.*"):  # half-written: .NAME.PROCESS
                if left_by_a_killed_run.suffix[1:].isdigit() and left_by_a_killed_run.is_file():
                    left_by_a_killed_run.unlink()
        yield


def is_store(root: Path) -> bool:
    """Whether a folder is a store: it has artifacts, or locks of stages."""
    return (root / "locks").is_dir() or any(root.glob(f"*/*/{_FACTS}"))


def has_artifact(root: Path, kind: str, key: str) -> bool:
    """Whether a store holds an artifact; its content is not checked, and nothing is written."""
    return (root / kind / key / _FACTS).is_file()
