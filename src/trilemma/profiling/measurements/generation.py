"""Generation by causal models: time to the first token (TTFT), per further token (TPOT), of whole answers."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from trilemma.errors import ModelError
from trilemma.hardware import Unmeasured
from trilemma.metrics import Phase
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.measurements.latency import answer_values
from trilemma.profiling.session import LoadedModel, Session, Value
from trilemma.profiling.timing import Quantity, Run, Sample
from trilemma.records import Record

DECODE = ("tpot_ms", "latency_ms", "throughput_tokens_per_s")
"""Metrics of the phase decode."""


@MEASUREMENTS.plugin(4)
def measure(session: Session) -> Iterator[Record]:
    """Times and rates of prefill, decoding and whole answers, for each batch and prompt length.

    Greedy decoding in a plain loop over the model's own cache. Prefill is the prompt's forward pass with the
    choice of the first token; decoding is that of all further tokens, ``decode`` in all with the first, and
    TPOT its mean over them; all are medians over runs. Nothing of ``generate``'s own bookkeeping is in them.
    """
    for model, point, samples in session.time_phase("generate", partial(prepared, session)):
        found: dict[Phase, Mapping[str, Value]] = {"generate": answer_values(point, samples)}
        if isinstance(samples, Unmeasured):
            found |= {"prefill": {"ttft_ms": samples}, "decode": dict.fromkeys(DECODE, samples)}
        else:
            parts = ([one[part] for one in samples] for part in ("prefill", "decode"))
            first, further = map(Quantity.of_times, parts)
            steps = point.decode - 1
            each = further.times(1e3 / steps), further.times(1e3), further.rate(point.batch * steps)
            found |= {"prefill": {"ttft_ms": first.times(1e3)}}
            found |= {"decode": dict(zip(DECODE, each, strict=True))}
        for phase, values in found.items():
            yield from session.records(model, values, point=point, phase=phase)


def prepared(session: Session, loaded: LoadedModel, point: OperatingPoint) -> Run:
    """Generation after one prompt, with the seconds of ``prefill`` and of ``decode``."""
    prompt = session.inputs(loaded, point)["input_ids"]
    return lambda: generate(loaded.module, prompt, point.decode, session.stopwatch).seconds


class Generated(NamedTuple):
    """Seconds of both phases, and the cache that is left (None where the model returns none)."""

    seconds: Sample
    cache: Any


def generate(module: Any, prompt: torch.Tensor, tokens: int, stopwatch: Callable[[], float]) -> Generated:
    """Greedy decoding in a plain loop over the model's own cache.

    Args:
        module: with a language-model head.
        prompt: token ids [B, T].
        tokens: chosen after the prompt, the first by the prompt's own forward pass; 0 counts as 1.
        stopwatch: seconds, once the device's work is done.
    """
    last_only, held = last_logits(module), _cache_argument(module)
    with torch.inference_mode():
        start = stopwatch()
        output = module(input_ids=prompt, use_cache=True, **last_only)
        token = output.logits[:, -1:].argmax(-1)
        first = stopwatch()
        for _ in range(tokens - 1):
            output = module(input_ids=token, use_cache=True, **{held: getattr(output, held)})
            token = output.logits[:, -1:].argmax(-1)
        end = stopwatch()
    return Generated({"prefill": first - start, "decode": end - first}, getattr(output, held, None))


def last_logits(module: Any) -> dict[str, int]:
    """The argument by which a language model that can computes the logits of the last position alone."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(module.forward).parameters else {}


_CACHES = ("past_key_values", "cache_params", "state")
"""Arguments, and outputs, in which models keep what they have read: with attention, Mamba, RWKV."""


def _cache_argument(module: Any) -> str:
    """Which of :data:`_CACHES` a model keeps.

    Raises:
        ModelError: where it keeps none that decodes token by token (XLNet, GPT-1).
    """
    known = inspect.signature(module.forward).parameters
    for name in _CACHES:
        if name in known:
            return name
    raise ModelError(
        f"{type(module).__name__} keeps no cache between tokens, so it cannot generate token by token"
    )
