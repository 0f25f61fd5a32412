"""Work at several clock frequencies, and the clocks given back however it ends.

Clocks belong to the whole machine and outlive the process that set them. So they are set only with express
permission, by one process at a time, and given back

- when the work ends, by itself or by an exception;
- on SIGTERM, SIGINT and SIGHUP, before the signal does what it would have done;
- after an end that no process can foresee (SIGKILL, a crash, no memory left) from a journal: what was
  found is on disk before the first change, and the next sweep, or :func:`recover_all`, restores it.

A reboot undoes every setting by itself; a journal from before it is dropped.
"""

import os
import signal
import statistics
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel

from trilemma.clocks.settings import ClockError, Clocks, CpuClocks, Found, NvidiaClocks
from trilemma.errors import StoreError
from trilemma.files import disk_errors, state_folder, write_text
from trilemma.hardware.meters import SAMPLE_SECONDS, Repeating

T = TypeVar("T")

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def journal_folder() -> Path:
    """Where journals are kept: in the user's state folder."""
    return state_folder() / "clocks"


@dataclass(frozen=True)
class Swept(Generic[T]):
    """What work gave at one frequency.

    Attributes:
        mhz: as it was set.
        observed: median clock while the work ran, in MHz; None where it is not known. One far from ``mhz``
            says that something else (power, heat) decided.
        result: what the work returned.
    """

    mhz: int
    observed: float | None
    result: T


def sweep(
    clocks: Clocks,
    frequencies: Iterable[int],
    work: Callable[[int], T],
    *,
    allow: bool,
    folder: Path | None = None,
) -> list[Swept[T]]:
    """Do work at each frequency, then give the clocks back.

    Args:
        clocks: of what the work runs on.
        frequencies: in MHz, among those available.
        work: called with the frequency it runs at; brings its own warm-up.
        allow: whether the clocks may be changed.
        folder: of the journal, by default :func:`journal_folder`.

    Raises:
        ClockError: where the clocks may not or cannot be changed; nothing was changed then.
    """
    asked = list(dict.fromkeys(frequencies))
    done = []
    with controlled(clocks, allow=allow, folder=folder) as set_clock:
        known = clocks.available()
        if unknown := [mhz for mhz in asked if mhz not in known]:
            raise ClockError(
                f"{clocks.name} has no {', '.join(map(str, unknown))} MHz; choose among "
                f"{', '.join(map(str, known))}"
            )
        for mhz in asked:
            set_clock(mhz)
            observed: list[float] = []
            watch = Repeating(SAMPLE_SECONDS, partial(_look, clocks, observed))
            try:
                result = work(mhz)
                _look(clocks, observed)  # work may be over before the first sample
            finally:
                watch.stop()
            done.append(Swept(mhz, statistics.median(observed) if observed else None, result))
    return done


def _look(clocks: Clocks, seen: list[float]) -> None:
    now = clocks.now()
    if now is not None:
        seen.append(now)


@contextmanager
def controlled(clocks: Clocks, *, allow: bool, folder: Path | None = None) -> Iterator[Callable[[int], None]]:
    """A function that sets the clocks; they are given back at the end of the block, however it is reached.

    Raises:
        ClockError: where the clocks may not or cannot be set, another process sets them, or they could not
            be given back; what an earlier process left is given back first.
        StoreError: where the journal cannot be written.
    """
    if not allow:
        raise ClockError(
            f"setting the clocks ({clocks.name}) changes the whole machine and is done only with "
            "--allow-frequency-control; give it if the machine is yours to change, or --watts for an estimate"
        )
    if threading.current_thread() is not threading.main_thread():
        raise ClockError("clocks are set from the main thread only, the one that receives signals")
    journal = _Journal(clocks.name, folder)
    with journal.locked():
        journal.restore(lambda name: clocks)
        clocks.check()
        found = clocks.found()
        guard = _Guard(clocks, found, journal)
        journal.write(found)
        try:
            guard.listen()
            yield clocks.set
        finally:
            guard.over = True  # a signal that comes later leaves no journal
            try:
                guard.give_back()
            finally:
                guard.listen_no_more()


def clocks_named(name: str) -> Clocks:
    """The clocks of a journal's name.

    Raises:
        ClockError: where there are none of that name here.
    """
    return CpuClocks() if name == CpuClocks.name else NvidiaClocks(name.removeprefix("nvml-"))


def recover_all(folder: Path | None = None, find: Callable[[str], Clocks] = clocks_named) -> list[str]:
    """Give back all clocks that processes left when they were killed.

    Args:
        folder: of the journals, by default :func:`journal_folder`.
        find: gives the clocks of a name.

    Returns:
        A sentence about each: what was done, or why it could not be.
    """
    done = []
    for path in sorted((folder or journal_folder()).glob("*.json")):
        journal = _Journal(path.stem, folder)
        try:
            with journal.locked():
                sentence = journal.restore(find)
        except (ClockError, StoreError) as error:
            sentence = str(error)
        if sentence:
            done.append(sentence)
    return done


class _Left(BaseModel):
    """What a journal says: since which boot, and what was found."""

    boot: str
    found: dict[str, tuple[int, int]]


class _Journal:
    """A file that holds what was found, for as long as clocks are not given back; and its lock."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self.name = name
        self._folder = folder or journal_folder()
        self.path = self._folder / f"{name}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from these clocks; the system lets go when this process dies."""
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / f"{self.name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ClockError(
                f"another process sets the clocks ({self.name}); wait until it has ended"
            ) from None
        except OSError as error:
            raise ClockError(
                f"{self._folder} cannot be locked ({error.strerror}); give this user the right to write to it"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def write(self, found: Found) -> None:
        """Whole or not at all, and on disk when this returns."""
        write_text(self.path, _Left(boot=boot_id(), found=dict(found)).model_dump_json())

    def restore(self, find: Callable[[str], Clocks]) -> str | None:
        """Give back what a process left that died since the last boot, if one did, and say so."""
        if not self.path.exists():
            return None
        try:
            left = _Left.model_validate_json(self.path.read_bytes())
        except (OSError, ValueError) as error:
            raise ClockError(
                f"{self.path} says what clocks were before a killed run, but is damaged; check that the "
                "clocks are as they should be, then delete the file"
            ) from error
        if left.boot != boot_id():  # a reboot has given back everything already
            self.remove()
            return None
        find(self.name).restore(left.found)
        self.remove()
        return f"the clocks ({self.name}) are as they were before a run that was killed"

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def boot_id() -> str:
    """What differs from boot to boot; "" where the system does not say."""
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


class _Guard:
    """Gives the clocks back: at the end of the block and in front of a signal's own effect."""

    def __init__(self, clocks: Clocks, found: Found, journal: _Journal) -> None:
        self._clocks, self._found, self._journal = clocks, found, journal
        self._process = os.getpid()
        self._previous: dict[int, Any] = {}
        self.over = False

    def listen(self) -> None:
        """Handle signals that would end the process; one that is ignored or handled by C code stays so."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or signal.getsignal(number) in (signal.SIG_IGN, None):
                continue
            self._previous[number] = signal.getsignal(number)  # known before the first one can come
            signal.signal(number, self._on_signal)

    def listen_no_more(self) -> None:
        """Put back the handlers from before."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def give_back(self) -> None:
        """Restore the clocks, then drop the journal. A fork of this process has nothing to give back."""
        if os.getpid() != self._process:
            return
        self._clocks.restore(self._found)
        self._journal.remove()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.give_back()  # in full, even where it interrupts just that: restoring twice changes nothing
        previous = self._previous[number]
        if not callable(previous):
            signal.signal(number, previous)
            os.kill(os.getpid(), number)
            return
        previous(number, frame)
        # The program continues, and may set the clocks again before the block ends.
        if os.getpid() == self._process and not self.over:
            self._journal.write(self._found)
