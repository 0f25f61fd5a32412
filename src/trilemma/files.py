"""Writes that are whole or absent, and the operating system's refusals as one clear sentence."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trilemma.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to (``.NAME.PROCESS``), renamed to it if the block ends without error.

    Raises:
        StoreError: when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all.

    Raises:
        StoreError: when the disk is full or the folder cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write ``path`` into one sentence that names the remedy.

    Raises:
        StoreError: when the disk is full or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"the disk is full: cannot write {path}; free space and run the same command again"
            ) from error
        if error.errno in _REFUSED:
            raise StoreError(f"cannot write {path}: {error.strerror}; choose another folder") from error
        if error.errno is None:  # numpy's and pyarrow's short writes
            raise StoreError(f"cannot write {path}: {error}; free space or choose another folder") from error
        raise


def sync(path: Path) -> None:
    """Force a file or folder to disk, so that a rename never precedes the content it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
