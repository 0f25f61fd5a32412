"""Peak memory of models at work, measured by one process for each model.

:mod:`trilemma.profiling.peak_worker` is what such a process runs, and says what exactly is measured. A
process measures all works of its model: on Linux and on a GPU the high-water mark is reset before each.
"""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from pydantic import TypeAdapter

from trilemma.adapt.settings import AdaptSettings
from trilemma.hardware import Unmeasured
from trilemma.hardware.limits import out_of_memory_kills
from trilemma.metrics import Phase
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.boundary import Boundary
from trilemma.profiling.models import ModelUnderTest

START_SECONDS = 600.0
"""For imports, and for loading a large model twice."""

ONE_ANSWER = "lifetime peak"
"""How a process measures whose high-water mark cannot be reset: only its first answer is true."""

KILLED = Unmeasured(
    "the process that measures memory was killed from outside, twice", failed=True, interrupted=True
)

_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

NOTES = {
    "high-water mark": "peak of the resident set over that without the model, weights included",
    ONE_ANSWER: "peak of the resident set over that before loading, weights and loading included",
    "CUDA allocator": "peak of torch's CUDA allocator, weights included",
}

# Let every tensor be given back to the system when it is freed, so that it is in no later peak.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


Task = tuple[Phase, AdaptSettings | None]
"""What a model does, and by which adaptation it is trained."""


class Work(NamedTuple):
    """What a peak belongs to: what a model does at a point (``classify``, ``generate`` or ``train``)."""

    model: ModelUnderTest
    phase: Phase
    point: OperatingPoint
    adaptation: AdaptSettings | None = None

    @property
    def task(self) -> Task:
        """What the model does, at whatever point."""
        return self.phase, self.adaptation


@dataclass(frozen=True)
class Request:
    """What a process is started with: a model, and all tasks of which it may be asked the peak at a point."""

    model: ModelUnderTest
    tasks: list[Task]
    device: str
    threads: int


REQUEST = TypeAdapter(Request)
"""How a request is written as text."""


class Peak(NamedTuple):
    """The most memory that work held.

    Attributes:
        bytes: median over repetitions, weights included.
        low, high: 95% interval; None for fewer than six repetitions.
        n: repetitions.
        parts: bytes of ``weights``, ``state``, ``gradients`` and ``optimiser``, as far as there are any.
        note: how it was measured.
    """

    bytes: float
    low: float | None
    high: float | None
    n: int
    parts: dict[str, int]
    note: str = ""


Peaks = Callable[[Sequence[Work], str, float], Iterator[Peak | Unmeasured]]
"""The peaks of works on a torch device, in order, where one repetition may take so many seconds."""


def peaks_by_process(works: Sequence[Work], device: str, time_limit: float) -> Iterator[Peak | Unmeasured]:
    """The peak of each work, or why there is none.

    Args:
        works: those of one model together, and of them those of one phase, smallest first: larger ones are
            left out once one does not fit.
        device: torch device.
        time_limit: seconds that one point may take, once the model is in memory.
    """
    groups = [list(group) for _, group in groupby(works, lambda work: work.model)]
    workers = [_Worker(group, device) for group in groups]
    try:
        for group, worker, following in zip_longest(groups, workers, workers[1:]):
            if following is not None:
                following.start()  # its imports take seconds; meanwhile the current one measures
            boundaries = [Boundary(time_limit) for _ in worker.tasks]
            for work in group:
                yield worker.peak(work, boundaries[worker.tasks.index(work.task)])
            worker.close()
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """The process that measures one model, begun again where a request ended it.

    Args:
        works: of the model.
        device: torch device.
    """

    def __init__(self, works: Sequence[Work], device: str) -> None:
        self.tasks = list(dict.fromkeys(work.task for work in works))
        self._request = Request(works[0].model, self.tasks, device, torch.get_num_threads())
        self._process: _Process | None = None
        self._broken: Unmeasured | None = None

    def start(self) -> "_Process":
        """The running process, begun where there is none."""
        if self._process is None:
            self._process = _Process(self._request)
        return self._process

    def peak(self, work: Work, boundary: Boundary, again: bool = True) -> Peak | Unmeasured:
        """The peak of a work, unless the boundary or its outcome says that there is none.

        Args:
            work: what is measured.
            boundary: of works of the kind.
            again: whether it is tried once more where the process is killed from outside.
        """
        point = work.point
        reason = boundary.refusal(point)
        if reason is not None:
            return Unmeasured(reason)
        if self._broken is not None:
            return self._broken
        kills = out_of_memory_kills()
        try:
            answer = self._ask(work, boundary.time_limit)
        except TimeoutError:
            self.close()
            return Unmeasured(boundary.too_slow(point))
        except _KilledError:
            self.close()
            if kills is not None and out_of_memory_kills() != kills:
                return Unmeasured(boundary.out_of_memory(point))
            # By a person or a guard of the machine: the model need not have done anything.
            return self.peak(work, boundary, again=False) if again else KILLED
        except _EndedError as error:
            self.close()
            self._broken = Unmeasured(f"the process that measures memory failed with {error}", failed=True)
            return self._broken
        method = answer.pop("method")
        if method == ONE_ANSWER:
            self.close()
        if "out_of_memory" in answer:
            return Unmeasured(boundary.out_of_memory(point))
        if "failed" in answer:
            return Unmeasured(answer["failed"], failed=True)
        return Peak(**answer, note=NOTES[method])

    def _ask(self, work: Work, time_limit: float) -> dict[str, Any]:
        process = self.start()
        request = {"task": self.tasks.index(work.task), **work.point._asdict()}
        answer = process.ask(request, START_SECONDS)
        return process.ask(None, time_limit) if "ready" in answer else answer

    def close(self) -> None:
        """End the running process, if any."""
        if self._process is not None:
            self._process.kill()
            self._process = None


class _KilledError(Exception):
    """A signal ended the process: the kernel's when memory ends, or somebody else's."""


class _EndedError(Exception):
    """The process ended with an error; the message is that error, or the last line it wrote."""


class _Process:
    """One worker process and the lines it answers."""

    def __init__(self, request: Request) -> None:
        package_parent = str(Path(__file__).parents[2])
        paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **_ALLOCATION, "PYTHONPATH": os.pathsep.join(paths)}
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        self._process = subprocess.Popen(
            # -P: a file of the working folder must not stand in for a module
            [sys.executable, "-P", "-m", "trilemma.profiling.peak_worker", REQUEST.dump_json(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, request: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """The next line, after a request where there is one.

        Raises:
            TimeoutError: if there is none within so many seconds.
        """
        assert self._process.stdin is not None
        try:
            if request is not None:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        if -self._process.wait() in _FROM_OUTSIDE:
            raise _KilledError
        self._errors.seek(0)
        written = self._errors.read().decode(errors="replace").strip().splitlines()
        # Libraries may write more after the traceback, as the process ends.
        errors = [line for line in written if re.match(r"[\w.]+(Error|Exception)\b", line)]
        raise _EndedError([f"code {self._process.returncode}", *written[-1:], *errors][-1])

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
