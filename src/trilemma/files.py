"""Writes that are whole or absent, the system's refusals as one clear sentence, and the user's folders."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trilemma.errors import DataError, StoreError, TrilemmaError, one_line

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_REFUSED |= {errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}


def settle_home() -> None:
    """Give the libraries a home, private and temporary, where the user has none (a container's bare id)."""
    if os.path.expanduser("~") != "~":
        return
    user = os.getuid()
    home = Path(tempfile.gettempdir()) / f"trilemma-{user}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        foreign = home.is_symlink() or home.stat().st_uid != user
    except OSError:
        foreign = True
    os.environ["HOME"] = tempfile.mkdtemp(prefix="trilemma-") if foreign else str(home)
    os.environ.setdefault("USER", str(user))


def cache_folder() -> Path:
    """Where what can be made again is kept: ``trilemma`` in ``XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trilemma"


def state_folder() -> Path:
    """Where what outlives a process is kept: in ``XDG_STATE_HOME``, by default ``~/.local/state``."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "trilemma"


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
    """Write a UTF-8 text file, whole or not at all; errors as for :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write ``path`` into a StoreError, one sentence that names the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"the disk is full: cannot write {path}; free space and run the same command again"
            ) from error
        if error.errno == errno.EFBIG:
            raise StoreError(f"cannot write {path}: {too_large()}") from error
        if error.errno in _REFUSED:
            raise StoreError(f"cannot write {path}: {error.strerror}; choose another folder") from error
        if error.errno is None:  # numpy's and pyarrow's short writes
            raise StoreError(f"cannot write {path}: {error}; free space or choose another folder") from error
        raise


def too_large() -> str:
    """What to say of a file that is larger than this process may write."""
    return "files may not become as large here; raise the limit (`ulimit -f`) and run the same command again"


def largest_file() -> float:
    """Bytes that one file may have here."""
    try:
        import resource
    except ImportError:  # not on Windows
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit


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


def folder_fingerprint(folder: Path) -> str:
    """Hash of a model folder's files; hidden ones and its card do not count."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"):
        name = path.relative_to(folder).as_posix()
        if not any(part.startswith(".") for part in Path(name).parts):
            # A name on disk need not be UTF-8.
            digest.update(f"{name} {sha256(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def expanded(path: str | Path) -> Path:
    """A path with ``~`` and ``~name`` replaced by the home folder they stand for.

    Raises:
        DataError: where the system knows no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{one_line(path)} has no home folder here; write the whole path") from error


def require_utf8(name: str) -> None:
    """Refuse a name that tables and pages could not hold.

    Raises:
        StoreError: where it is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="surrogateescape").decode(errors="replace")
        raise StoreError(f"the name {shown!r} is not UTF-8; choose another") from error


@contextmanager
def held(folder: Path, busy: str = "", name: str = ".lock") -> Iterator[None]:
    """Hold a folder, or what a lock in it stands for, for this process; make the folder where it is absent.

    Raises:
        StoreError: with the sentence ``busy``, when another process holds it; without one it is waited for.
    """
    from filelock import FileLock, Timeout

    require_utf8(str(folder))
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name)
        try:
            lock.acquire(timeout=0 if busy else -1)
        except Timeout as error:
            raise StoreError(busy) from error
    try:
        yield
    finally:
        lock.release()


def require_suffix(path: str | Path, suffix: str) -> Path:
    """The path, with its folders made.

    Raises:
        TrilemmaError: where it does not end in ``suffix``.
        StoreError: where a folder cannot be made.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise TrilemmaError(f"{path} does not end in {suffix}; name the file so")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path
