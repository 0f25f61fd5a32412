"""Peak memory of a model, in a fresh process for each model, or for each of its points.

:mod:`trilemma.profiling.measurements.memory_worker` says what exactly is measured.
"""

import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from trilemma.adapt import AdaptSettings
from trilemma.errors import ModelError
from trilemma.profiling.points import Boundary, Point, Unmeasured
from trilemma.profiling.session import Session, beyond_positions
from trilemma.profiling.subject import ProfiledModel
from trilemma.records import Record

START_SECONDS = 600.0  # for imports and for loading a large model twice

# Let every tensor be given back to the system when it is freed, so that it is in no later peak.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

NOTES = {
    "high-water mark": "peak of the resident set over that without the model, weights included",
    "lifetime peak": "peak of the resident set over that before loading, weights and loading included",
    "CUDA allocator": "peak of torch's CUDA allocator, weights included",
}


def measure(session: Session) -> Iterator[Record]:
    """Peak bytes at each point of the inference grid and of the training grid; activations in inference."""
    for subject in session.subjects:
        session.describe(subject)  # needs the model here, so before it is dropped
    session.release()
    works = {subject.name: _works(session, subject) for subject in session.subjects}
    total = sum(len(points) for own in works.values() for _, points in own)
    done = 0
    workers = [_Workers(session, subject) for subject in session.subjects]
    try:
        for current, following in zip_longest(workers, workers[1:]):
            if following is not None:
                following.start()  # its imports take seconds; meanwhile the current one measures
            for adaptation, points in works[current.subject.name]:
                boundary = Boundary(session.grid.time_limit)
                for point in points:
                    yield from _measure_one(session, current, boundary, adaptation, point)
                    done += 1
                    session.advance(done, total)
            current.close()
    finally:
        for worker in workers:
            worker.close()


def _works(session: Session, subject: ProfiledModel) -> list[tuple[AdaptSettings | None, list[Point]]]:
    """Inference (None) and training by each adaptation, with the points of each."""
    training = session.training_points()
    return [(None, session.points()), *((adaptation, training) for adaptation in subject.adaptations)]


def _measure_one(
    session: Session,
    workers: "_Workers",
    boundary: Boundary,
    adaptation: AdaptSettings | None,
    point: Point,
) -> Iterator[Record]:
    subject = workers.subject
    metric = "peak_training_memory_bytes" if adaptation else "peak_inference_memory_bytes"
    method = adaptation.method if adaptation else ""
    reason = beyond_positions(session.describe(subject), point)
    peak = Unmeasured(reason) if reason else workers.peak(boundary, Work(subject, point, adaptation))
    if isinstance(peak, Unmeasured):
        metrics = (metric,) if adaptation else (metric, "activation_bytes")
        units = dict.fromkeys(metrics, "bytes")
        yield from session.unmeasured(subject, units, peak.reason, point, adaptation=method)
        return
    yield from session.record(
        subject,
        metric,
        "bytes",
        peak.bytes,
        point=point,
        low=peak.low,
        high=peak.high,
        n=peak.n,
        note=peak.note,
        adaptation=method,
    )
    if adaptation is None:
        weights = peak.parts["weights"]
        left, low, high = (
            None if b is None else max(0.0, b - weights) for b in (peak.bytes, peak.low, peak.high)
        )
        yield from session.record(
            subject,
            "activation_bytes",
            "bytes",
            left,
            point=point,
            low=low,
            high=high,
            n=peak.n,
            note="the peak less the weights",
        )


class Work(NamedTuple):
    """What a peak is that of.

    Attributes:
        subject: the model.
        point: batch and length.
        adaptation: by which it is trained; None for inference.
        decode: tokens generated after the prompt; None for classification.
    """

    subject: ProfiledModel
    point: Point
    adaptation: AdaptSettings | None = None
    decode: int | None = None


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
    note: str


def in_fresh_processes(session: Session, works: Sequence[Work]) -> Iterator[Peak | Unmeasured]:
    """The peak of each work, in a process of its own; or why there is none.

    Works of one model and kind must come smallest first: larger ones are left out once one does not fit.
    """
    boundaries: dict[tuple[str, str], Boundary] = {}
    processes = [_Workers(session, work.subject, work) for work in works]
    try:
        for work, current, following in zip_longest(works, processes, processes[1:]):
            if following is not None:
                following.start()  # its imports take seconds; meanwhile the current one measures
            kind = (work.subject.name, work.adaptation.method if work.adaptation else "")
            boundary = boundaries.setdefault(kind, Boundary(session.grid.time_limit))
            yield current.peak(boundary, work)
            current.close()
    finally:
        for process in processes:
            process.close()


class _Workers:
    """The processes that measure one model, begun as they are needed: one, unless a request ends it.

    Args:
        session: whose device and time limit hold.
        subject: the model.
        only: the one work that will be asked for, where it is one: nothing else is warmed up.
    """

    def __init__(self, session: Session, subject: ProfiledModel, only: Work | None = None) -> None:
        self.method = ""
        adaptations = subject.adaptations
        if only is not None:
            adaptations = () if only.adaptation is None else (only.adaptation,)
        self._limit = session.grid.time_limit
        self.subject = subject
        self._request = {
            "folder": str(Path(subject.folder).resolve()),
            "trust_remote_code": subject.trust_remote_code,
            "allow_pickle": subject.allow_pickle,
            "dtype": subject.dtype,
            "form": subject.form,
            "attention": subject.attention,
            "compiled": subject.compiled,
            "generates": only is not None and only.decode is not None,
            "device": session.device,
            "threads": torch.get_num_threads(),
            "adaptations": [settings.model_dump(mode="json") for settings in adaptations],
        }
        self._process: _Process | None = None

    def start(self) -> None:
        """Begin a process, unless one is running."""
        if self._process is None:
            self._process = _Process()
            self.method = ""

    def peak(self, boundary: Boundary, work: Work) -> Peak | Unmeasured:
        """The peak of one work, unless the boundary or its outcome says that there is none."""
        reason = boundary.refusal(work.point)
        if reason is not None:
            return Unmeasured(reason)
        settings = work.adaptation and work.adaptation.model_dump(mode="json")
        request = {**work.point._asdict(), "adaptation": settings, "decode": work.decode}
        try:
            answer = self.ask(request)
        except TimeoutError:
            return Unmeasured(boundary.too_slow(work.point))
        if "out_of_memory" in answer:
            return Unmeasured(boundary.out_of_memory(work.point))
        if "failed" in answer:
            return Unmeasured(answer["failed"])
        return Peak(**answer, note=NOTES[self.method])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            TimeoutError: after the time limit of a point.
            ModelError: where the worker ended by an error of its own.
        """
        self.start()
        try:
            if not self.method:
                self.method = self._answer(self._request, START_SECONDS)["method"]
            answer = self._answer(request, START_SECONDS)
            return self._answer(None, self._limit) if "ready" in answer else answer
        except _KilledError:
            self.close()
            return {"out_of_memory": True}
        except TimeoutError:
            self.close()
            raise
        finally:
            if self.method == "lifetime peak":
                self.close()  # no second answer would be true

    def _answer(self, request: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        assert self._process is not None
        try:
            return self._process.ask(request, timeout)
        except _EndedError as error:
            self.close()
            raise ModelError(f"memory of {self.subject.name} cannot be measured: {error}") from error

    def close(self) -> None:
        """End the running process, if any."""
        if self._process is not None:
            self._process.kill()
            self._process = None


class _KilledError(Exception):
    """The kernel killed the worker, which it does when memory ends."""


class _EndedError(Exception):
    """The worker ended by an error of its own; the message is that error, or the last line it wrote."""


class _Process:
    """One worker process and the lines it answers."""

    def __init__(self) -> None:
        package_parent = str(Path(__file__).parents[2])
        paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **_ALLOCATION, "PYTHONPATH": os.pathsep.join(paths)}
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        self._process = subprocess.Popen(
            # -P: a file of the working folder must not stand in for a module
            [sys.executable, "-P", "-m", "trilemma.profiling.measurements.memory_worker"],
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
        """The next line, after a request where there is one."""
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
        if self._process.wait() == -9:
            raise _KilledError
        self._errors.seek(0)
        written = self._errors.read().decode(errors="replace").strip().splitlines()
        # Libraries may write more after the traceback, as the process ends.
        errors = [line for line in written if re.match(r"[\w.]+(Error|Exception)\b", line)]
        ended = f"the worker ended with code {self._process.returncode}"
        raise _EndedError([ended, *written[-1:], *errors][-1])

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()
