"""A fresh process that measures peak memory: ``python -m trilemma.profiling.measurements.memory_worker``.

Protocol: JSON, one object a line (shown broken here). First a model comes in::

    {"folder": ..., "trust_remote_code": ..., "allow_pickle": ..., "dtype": ..., "form": ...,
     "attention": ..., "compiled": ..., "device": ..., "threads": ..., "adaptations": [{...}, ...],
     "generates": ...}

and ``{"method": "high-water mark" | "lifetime peak" | "CUDA allocator"}`` goes out. Then
each ``{"batch": ..., "length": ..., "adaptation": null | {...}, "decode": null | ...}``, classification,
training by those settings, or generation of so many tokens, is answered by ``{"ready": true}`` once the model
is in memory, and then by ``{"bytes": ..., "low": ..., "high": ..., "n": ..., "parts": {...}}``; or at any
time by ``{"out_of_memory": true}`` or ``{"failed": reason}``. The parts are the peak's bytes of ``weights``,
``state`` (KV cache or recurrent state after the last token), ``gradients`` and ``optimiser``, as far as the
work has them. After ``"lifetime peak"`` only one request can be answered. The worker ends with its input.

What is measured. On a GPU: the most that torch's allocator had handed out, weights included. On a CPU: the
peak of the resident set during the work, minus a baseline, which is the resident set of the same process
after it has imported everything, loaded the model, run it once on eight tokens, in inference and by each
adaptation, and dropped it again. Inference is that of the form in which it answers, training of the form
that is trained, in its second step, in which the optimiser has its state; only one of them is in memory. So
weights, gradients, optimiser state, activations and all buffers count; the interpreter and the libraries do
not. Weights are copied out of the mapped file first, since pages of a mapped file become resident only as
they are touched. Repeated while that is quick, as often as an interval of the median needs; the median
counts.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trilemma.adapt import ADAPTATIONS, AdaptSettings
from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.hardware.peak import peak_bytes, reset_peak, resident_bytes
from trilemma.inference.classifier import fixed_arguments
from trilemma.models.cache import state_bytes
from trilemma.profiling.forms import load, put_in_form, weight_bytes
from trilemma.profiling.measurements.generation import generate
from trilemma.profiling.measurements.training import TrainingStep, with_labels
from trilemma.profiling.points import Point
from trilemma.profiling.session import Kind, failure, random_inputs
from trilemma.profiling.subject import ProfiledModel
from trilemma.profiling.timing import FEWEST_ROUNDS, median

QUICK_SECONDS = 1.0

WARM_UP = Point(1, 8)


def main() -> None:
    """Answer requests from standard input until it ends."""
    # What a library or a model's own code prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    meter = _Meter(json.loads(sys.stdin.readline()))
    print(json.dumps({"method": meter.method}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        for answer in meter.answers(_Work.asked(request)):
            print(json.dumps(answer), file=answers, flush=True)


class _Work(NamedTuple):
    """What is measured."""

    point: Point
    adaptation: AdaptSettings | None = None
    decode: int | None = None

    @classmethod
    def asked(cls, request: dict[str, Any]) -> "_Work":
        settings = request["adaptation"] and AdaptSettings.model_validate(request["adaptation"])
        return cls(Point(request["batch"], request["length"]), settings, request.get("decode"))

    @property
    def kind(self) -> Kind:
        """What model it needs."""
        if self.decode is not None:
            return "language model"
        return "classifier" if self.adaptation is None else "trainable classifier"


class _Meter:
    """A model in memory, and what the process held without it."""

    def __init__(self, request: dict[str, Any]) -> None:
        torch.set_num_threads(request.pop("threads"))
        gc.freeze()  # what the imports made is no garbage: the collections before each peak need not look
        self.device: str = request.pop("device")
        adaptations = [AdaptSettings.model_validate(settings) for settings in request.pop("adaptations")]
        for settings in adaptations:
            ADAPTATIONS.get(settings.method)  # what it imports is in no peak
        generates = request.pop("generates")
        self._subject = ProfiledModel(("model",), Path(request.pop("folder")), **request)
        self._model: Any = None
        self._kind: Kind | None = None
        self.baseline = 0
        if torch.device(self.device).type == "cuda":
            self.method = "CUDA allocator"
        elif reset_peak():
            self.method = "high-water mark"
            first = _Work(WARM_UP, decode=2) if generates else _Work(WARM_UP)
            for work in (first, *(_Work(WARM_UP, settings) for settings in adaptations)):
                self._load(work.kind)
                with suppress(Exception):  # what does not fit the model is told when it is asked for
                    _do(work, self._model, self.device)
            self._drop()
            self.baseline = resident_bytes()
        else:
            # A warm-up would itself be in the lifetime's peak.
            self.method, self.baseline = "lifetime peak", resident_bytes()

    def _load(self, kind: Kind) -> None:
        """Bring the model into memory as the work needs it; only one of its forms is there."""
        if self._kind != kind:
            self._drop()
            model = load(self._subject, self.device, generates=kind == "language model", copied=True)
            self._model = model if kind == "trainable classifier" else put_in_form(model, self._subject)
            self._kind = kind
            gc.collect()

    def _drop(self) -> None:
        self._model, self._kind = None, None
        gc.collect()

    def answers(self, work: _Work) -> Iterator[dict[str, Any]]:
        """That the model is there, and then the peak; or why there is none."""
        peaks: list[int] = []
        parts: dict[str, int] = {}
        try:
            with memory_ceiling():
                self._load(work.kind)
                if self._subject.compiled:
                    _do(work, self._model, self.device)  # compiles for these shapes
            yield {"ready": True}
            while len(peaks) < FEWEST_ROUNDS:
                start = time.perf_counter()
                peak, parts = self._measure_once(work)
                peaks.append(peak)
                if time.perf_counter() - start > QUICK_SECONDS or self.method == "lifetime peak":
                    break
        except OutOfMemoryError:
            yield {"out_of_memory": True}
            return
        except Exception as error:  # whatever a model of unknown origin may raise
            yield {"failed": failure(error)}
            return
        middle = median([peak - self.baseline for peak in peaks])
        yield {"bytes": middle.value, "low": middle.low, "high": middle.high, "n": middle.n, "parts": parts}

    def _measure_once(self, work: _Work) -> tuple[int, dict[str, int]]:
        """The peak, and the bytes of its parts."""
        with memory_ceiling():
            if self.method == "CUDA allocator":
                torch.cuda.reset_peak_memory_stats(self.device)
                parts = _do(work, self._model, self.device)
                torch.cuda.synchronize(self.device)
                return int(torch.cuda.max_memory_allocated(self.device)), parts
            if self.method == "high-water mark":
                reset_peak()
            parts = _do(work, self._model, self.device)
            return peak_bytes(), parts


def _do(work: _Work, model: Any, device: str) -> dict[str, int]:
    """Answer one batch, generate after it, or train on it by an adaptation; bytes of what was held."""
    inputs = random_inputs(model.config, work.point, device)
    parts = {"weights": weight_bytes(model)}
    if work.decode is not None:
        cache = generate(model, inputs["input_ids"], work.decode, time.perf_counter).cache
        return parts | ({"state": state_bytes(cache)} if hasattr(cache, "layers") else {})
    if work.adaptation is None:
        with torch.inference_mode():
            model(**inputs, **fixed_arguments(model))
        return parts
    step = TrainingStep(model, work.adaptation)
    try:
        batch = with_labels(inputs)
        for _ in range(2):  # from the second on, the optimiser's state is there beside the activations
            step(batch)
        return parts | {"gradients": step.gradient_bytes, "optimiser": step.optimiser_bytes}
    finally:
        step.finish()


if __name__ == "__main__":
    main()
