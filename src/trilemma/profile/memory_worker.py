"""A fresh process that measures peak memory: ``python -m trilemma.profile.memory_worker``.

Protocol: JSON, one object a line (shown broken here). First a model comes in::

    {"folder": ..., "trust_remote_code": ..., "allow_pickle": ..., "dtype": ..., "device": ...,
     "threads": ..., "adaptations": [{...}, ...]}

and ``{"method": "high-water mark" | "lifetime peak" | "CUDA allocator"}`` goes out. Then
each ``{"batch": ..., "length": ..., "adaptation": null | {...}}``, inference or training by those settings,
is answered by ``{"bytes": ..., "low": ..., "high": ..., "n": ...}``, ``{"out_of_memory": true}`` or
``{"failed": reason}``. After ``"lifetime peak"`` only one of them can be answered. The worker ends with its
input.

What is measured. On a GPU: the most that torch's allocator had handed out, weights included. On a CPU: the
peak of the resident set during the work, minus a baseline, which is the resident set of the same process
after it has imported everything, loaded the model, run it once on eight tokens, in inference and by each
adaptation, and dropped it again. Inference is that of the deployed form, training of the form that is
trained; only one of them is in memory. So weights, gradients, optimiser state, activations and all buffers
count; the interpreter and the libraries do not. Weights are copied out of the mapped file first, since pages
of a mapped file become resident only as they are touched. Repeated while that is quick, as often as an
interval of the median needs; the median counts.
"""

import gc
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from trilemma.adapt import ADAPTATIONS, AdaptSettings
from trilemma.inference import fixed_arguments
from trilemma.models.loading import deploy, load_classifier
from trilemma.profile.limits import OutOfMemoryError, memory_ceiling
from trilemma.profile.peak import peak_bytes, reset_peak, resident_bytes
from trilemma.profile.points import Point
from trilemma.profile.session import OUTPUTS, failure, random_inputs
from trilemma.profile.timing import FEWEST_ROUNDS, median
from trilemma.profile.training import TrainingStep, with_labels

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
        settings = request["adaptation"] and AdaptSettings.model_validate(request["adaptation"])
        answer = meter.measure(settings, Point(request["batch"], request["length"]))
        print(json.dumps(answer), file=answers, flush=True)


class _Meter:
    """A model in memory, and what the process held without it."""

    def __init__(self, request: dict[str, Any]) -> None:
        torch.set_num_threads(request.pop("threads"))
        gc.freeze()  # what the imports made is no garbage: the collections before each peak need not look
        self.device: str = request.pop("device")
        adaptations = [AdaptSettings.model_validate(settings) for settings in request.pop("adaptations")]
        for settings in adaptations:
            ADAPTATIONS.get(settings.method)  # what it imports is in no peak
        folder, dtype = Path(request.pop("folder")), getattr(torch, request.pop("dtype"))

        def load(trained: bool) -> Any:
            model = load_classifier(folder, OUTPUTS, seed=0, dtype=dtype, **request)
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
            model.to(self.device).eval()
            return model if trained else deploy(model)

        if torch.device(self.device).type == "cuda":
            self.method, self.baseline = "CUDA allocator", 0
        elif reset_peak():
            self.method = "high-water mark"
            warm = load(trained=False)
            _work(None, warm, WARM_UP, self.device)
            if adaptations:
                del warm
                warm = load(trained=True)
            for settings in adaptations:
                with suppress(Exception):  # one that does not fit the model is told when it is asked for
                    _work(settings, warm, WARM_UP, self.device)
            del warm
            gc.collect()
            self.baseline = resident_bytes()
        else:
            # A warm-up would itself be in the lifetime's peak.
            self.method, self.baseline = "lifetime peak", resident_bytes()
        self._load = load
        self._model: Any = None
        self._trained = False

    def _loaded(self, trained: bool) -> Any:
        """The model, deployed or as it is trained; only one of them is in memory."""
        if self._model is None or self._trained != trained:
            self._model = None
            gc.collect()
            self._model, self._trained = self._load(trained), trained
            gc.collect()
        return self._model

    def measure(self, adaptation: AdaptSettings | None, point: Point) -> dict[str, Any]:
        peaks: list[int] = []
        try:
            self._loaded(trained=adaptation is not None)
            while len(peaks) < FEWEST_ROUNDS:
                start = time.perf_counter()
                peaks.append(self._measure_once(adaptation, point))
                if time.perf_counter() - start > QUICK_SECONDS or self.method == "lifetime peak":
                    break
        except OutOfMemoryError:
            return {"out_of_memory": True}
        except Exception as error:  # whatever a model of unknown origin may raise
            return {"failed": failure(error)}
        middle = median([peak - self.baseline for peak in peaks])
        return {"bytes": middle.value, "low": middle.low, "high": middle.high, "n": middle.n}

    def _measure_once(self, adaptation: AdaptSettings | None, point: Point) -> int:
        with memory_ceiling():
            if self.method == "CUDA allocator":
                torch.cuda.reset_peak_memory_stats(self.device)
                _work(adaptation, self._model, point, self.device)
                torch.cuda.synchronize(self.device)
                return int(torch.cuda.max_memory_allocated(self.device))
            if self.method == "high-water mark":
                reset_peak()
            _work(adaptation, self._model, point, self.device)
            return peak_bytes()


def _work(adaptation: AdaptSettings | None, model: Any, point: Point, device: str) -> None:
    """Answer one batch, or train on it by an adaptation."""
    inputs = random_inputs(model.config, point, device)
    if adaptation is None:
        with torch.inference_mode():
            model(**inputs, **fixed_arguments(model))
        return
    step = TrainingStep(model, adaptation)
    try:
        step(with_labels(inputs))
    finally:
        step.finish()


if __name__ == "__main__":
    main()
