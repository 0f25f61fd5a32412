"""Generation by causal models: time to the first token (TTFT) and per further token (TPOT)."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from trilemma.profiling.measurements.latency import rate, timed
from trilemma.profiling.points import Point, Unmeasured
from trilemma.profiling.session import NOT_GENERATIVE, Loaded, Session
from trilemma.profiling.timing import Run, median
from trilemma.records import Record

UNITS = {"ttft_ms": "ms", "tpot_ms": "ms", "decode_ms": "ms", "decode_tokens_per_s": "tokens/s"}


def measure(session: Session) -> Iterator[Record]:
    """TTFT, TPOT, decoding time and tokens a second (all sequences) for each batch and prompt length.

    Greedy decoding in a plain loop over the model's own cache. TTFT is the prompt's forward pass with the
    choice of the first token; decoding is that of all further tokens, ``decode`` in all with the first, and
    TPOT its mean over them; all are medians over runs. Nothing of ``generate``'s own bookkeeping is in them.
    """
    if session.grid.decode == 0:
        return
    models = session.language_models()
    generative = {loaded.subject for loaded in models}
    for subject in session.subjects:
        if subject not in generative:
            for point in session.points():
                yield from session.unmeasured(subject, UNITS, NOT_GENERATIVE, point)
    prepare = partial(prepared, session)
    extra = session.grid.decode - 1  # the last token is chosen, but not fed back
    for loaded, point, samples in session.sweep(models, session.points(), prepare, extra_positions=extra):
        if isinstance(samples, Unmeasured):
            yield from session.unmeasured(loaded.subject, UNITS, samples.reason, point)
            continue
        first = median([sample["prefill"] for sample in samples])
        whole = median([sample["decode"] for sample in samples])
        further = median([sample["decode"] / extra for sample in samples])
        yield from timed(session, loaded, point, "ttft_ms", "ms", first, scale=1e3)
        yield from timed(session, loaded, point, "tpot_ms", "ms", further, scale=1e3)
        tokens = f"{extra} further token{'s' * (extra > 1)}"
        yield from timed(session, loaded, point, "decode_ms", "ms", whole, scale=1e3, note=tokens)
        yield from rate(session, loaded, point, "decode_tokens_per_s", "tokens/s", further, work=point.batch)


def prepared(session: Session, loaded: Loaded, point: Point) -> Run:
    """Generation after one prompt, with the seconds of ``prefill`` and of ``decode``."""
    prompt = session.inputs(loaded, point)["input_ids"]

    def run() -> Mapping[str, float]:
        return generate(loaded.model, prompt, session.grid.decode, session.stopwatch).seconds

    return run


class Generated(NamedTuple):
    """Seconds of both phases, and the cache that is left (None where the model returns none)."""

    seconds: Mapping[str, float]
    cache: Any


def generate(model: Any, prompt: torch.Tensor, tokens: int, stopwatch: Callable[[], float]) -> Generated:
    """Greedy decoding in a plain loop over the model's own cache.

    Args:
        model: with a language-model head.
        prompt: token ids [B, T].
        tokens: chosen after the prompt, the first by the prompt's own forward pass; 0 counts as 1.
        stopwatch: seconds, once the device's work is done.
    """
    # Only the last position's logits are needed; models that can, compute only those.
    last_only = (
        {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    )
    with torch.inference_mode():
        start = stopwatch()
        output = model(input_ids=prompt, use_cache=True, **last_only)
        token = output.logits[:, -1:].argmax(-1)
        first = stopwatch()
        for _ in range(tokens - 1):
            output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
            token = output.logits[:, -1:].argmax(-1)
        end = stopwatch()
    return Generated({"prefill": first - start, "decode": end - first}, output.past_key_values)
