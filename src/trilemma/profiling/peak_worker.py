"""A process that measures peak memory: ``python -m trilemma.profiling.peak_worker REQUEST``.

The request is a :class:`trilemma.profiling.peaks.Request` as JSON. Protocol: JSON, one object per line. Each
point that comes in, ``{"task": 0, "batch": ..., "length": ..., "decode": ...}``, is answered by
``{"ready": true}`` once the model is in memory, and then by ``{"bytes": ..., "low": ..., "high": ..., "n":
..., "parts": {...}}``; or at any time by ``{"out_of_memory": true}`` or ``{"failed": reason}``. Each answer
also has the ``method``: ``high-water mark``, ``lifetime peak`` or ``CUDA allocator``. The parts are the
peak's bytes of ``weights``, ``state`` (KV cache or recurrent state after the last token that is fed),
``gradients`` and ``optimiser``, as far as the task has them. After ``"lifetime peak"`` only one point can be
answered. The process ends with its input.

What is measured. On a GPU: the most that torch's allocator had handed out, weights included. On a CPU: the
peak of the resident set during the work, minus a baseline, which is the resident set of the same process
after it has imported everything, loaded the model, done each task at a point of eight tokens, and dropped the
model again. A model answers in its form, and is trained as it is loaded, in its second step, in which the
optimiser has its state; only one of these is in memory. So weights, gradients, optimiser state, activations
and all buffers count; the interpreter and the libraries do not. Weights are copied out of the mapped file
first, since pages of a mapped file become resident only as they are touched. Repeated while that is quick, as
often as an interval of the median needs; the median counts.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch

from trilemma.adapt import ADAPTATIONS
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.peak import peak_bytes, reset_peak, resident_bytes
from trilemma.inference.reading import fixed_arguments
from trilemma.models.cache import state_bytes
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.loading import load, put_in_form, weight_bytes
from trilemma.profiling.measurements.generation import generate
from trilemma.profiling.measurements.training import TrainingStep, with_labels
from trilemma.profiling.peaks import REQUEST, Request, Task
from trilemma.profiling.session import KINDS, Kind, failure, random_inputs
from trilemma.profiling.timing import FEWEST_ROUNDS, median

QUICK_SECONDS = 1.0


def main() -> None:
    """Answer requests from standard input until it ends."""
    # What a library or a model's own code prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    request = REQUEST.validate_json(sys.argv[1])
    meter = _Meter(request)
    for line in sys.stdin:
        asked = json.loads(line)
        for answer in meter.answers(request.tasks[asked.pop("task")], OperatingPoint(**asked)):
            print(json.dumps({"method": meter.method, **answer}), file=answers, flush=True)


class _Meter:
    """A model in memory, and what the process held without it."""

    def __init__(self, request: Request) -> None:
        torch.set_num_threads(request.threads)
        gc.freeze()  # what the imports made is not garbage: the collections before each peak need not look
        self.device, self._model = request.device, request.model
        for _, adaptation in request.tasks:
            if adaptation is not None:
                ADAPTATIONS.get(adaptation.method)  # what it imports is in no peak
        self._module: Any = None
        self._kind: Kind | None = None
        self.baseline = 0
        if torch.device(self.device).type == "cuda":
            self.method = "CUDA allocator"
        elif reset_peak():
            self.method = "high-water mark"
            for task in request.tasks:
                with suppress(Exception):  # what does not fit the model is reported where it is asked for
                    list(self.answers(task, OperatingPoint(1, 8, 2 if task[0] == "generate" else 0)))
            self._drop()
            self.baseline = resident_bytes()
        else:
            # A warm-up would itself be in the lifetime's peak.
            self.method, self.baseline = "lifetime peak", resident_bytes()

    def answers(self, task: Task, point: OperatingPoint) -> Iterator[dict[str, Any]]:
        """That the model is in memory, and then the peak; or why there is none."""
        peaks: list[int] = []
        parts: dict[str, int] = {}
        try:
            with memory_ceiling():
                self._load(KINDS[task[0]])
                if self._model.compiled:
                    self._work(task, point)  # compiles for these shapes
            yield {"ready": True}
            while len(peaks) < FEWEST_ROUNDS:
                start = time.perf_counter()
                peak, parts = self._measure_once(task, point)
                peaks.append(peak)
                if time.perf_counter() - start > QUICK_SECONDS or self.method == "lifetime peak":
                    break
        except OutOfMemoryError:
            yield {"out_of_memory": True}
            return
        except Exception as error:  # whatever a model of unknown origin may raise
            yield {"failed": failure(error).reason}
            return
        middle = median([peak - self.baseline for peak in peaks])
        yield {"bytes": middle.value, "low": middle.low, "high": middle.high, "n": middle.n, "parts": parts}

    def _load(self, kind: Kind) -> None:
        if kind != self._kind:
            self._drop()
            module = load(self._model, self.device, generates=kind == "language model", copied=True)
            self._module = module if kind == "trainable classifier" else put_in_form(module, self._model)
            self._kind = kind
            gc.collect()

    def _drop(self) -> None:
        self._module, self._kind = None, None
        gc.collect()

    def _measure_once(self, task: Task, point: OperatingPoint) -> tuple[int, dict[str, int]]:
        """The peak, and the bytes of its parts."""
        with memory_ceiling():
            if self.method == "CUDA allocator":
                torch.cuda.reset_peak_memory_stats(self.device)
                parts = self._work(task, point)
                torch.cuda.synchronize(self.device)
                return int(torch.cuda.max_memory_allocated(self.device)), parts
            if self.method == "high-water mark":
                reset_peak()
            parts = self._work(task, point)
            return peak_bytes(), parts

    def _work(self, task: Task, point: OperatingPoint) -> dict[str, int]:
        """Answer one batch, or train on it by the adaptation; bytes of what was held."""
        phase, adaptation = task
        module = self._module
        inputs = random_inputs(module.config, point, self.device)
        parts = {"weights": weight_bytes(module)}
        if phase == "generate":
            cache = generate(module, inputs["input_ids"], point.decode, time.perf_counter).cache
            return parts | ({"state": state_bytes(cache)} if hasattr(cache, "layers") else {})
        if adaptation is None:
            with torch.inference_mode():
                module(**inputs, **fixed_arguments(module))
            return parts
        step = TrainingStep(module, adaptation)
        try:
            batch = with_labels(inputs)
            for _ in range(2):  # from the second on, the optimiser's state is there beside the activations
                step(batch)
            return parts | {"gradients": step.gradient_bytes, "optimiser": step.optimiser_bytes}
        finally:
            step.finish()


if __name__ == "__main__":
    main()
