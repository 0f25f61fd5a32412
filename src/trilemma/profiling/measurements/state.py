"""Bytes of the state a causal model carries through generation: KV cache or recurrent state."""

from collections.abc import Iterator

import torch

from trilemma.hardware.limits import OutOfMemoryError, memory_ceiling
from trilemma.models.cache import state_bytes
from trilemma.profiling.points import Point
from trilemma.profiling.session import NOT_GENERATIVE, Loaded, Session, beyond_positions, failure
from trilemma.records import Record

UNITS = {"state_bytes": "bytes"}


def measure(session: Session) -> Iterator[Record]:
    """Bytes of the real cache of one sequence after a prompt of each length."""
    models = {loaded.subject: loaded for loaded in session.language_models()}
    for index, subject in enumerate(session.subjects):
        for length in sorted(set(session.grid.length)):
            point = Point(1, length)
            value = _state(session, models[subject], point) if subject in models else NOT_GENERATIVE
            if isinstance(value, str):
                yield from session.unmeasured(subject, UNITS, value, point)
            else:
                yield from session.record(subject, "state_bytes", "bytes", float(value), point=point)
        session.advance(index + 1, len(session.subjects))


def _state(session: Session, loaded: Loaded, point: Point) -> int | str:
    """Bytes, or why they are not known."""
    reason = beyond_positions(loaded.description, point)
    if reason is not None:
        return reason
    prompt = session.inputs(loaded, point)["input_ids"]
    try:
        with memory_ceiling(), torch.inference_mode():
            cache = loaded.model(input_ids=prompt, use_cache=True).past_key_values
    except OutOfMemoryError:
        return "out of memory"
    except Exception as error:  # whatever a model of unknown origin may raise
        return failure(error)
    if not hasattr(cache, "layers"):
        return "the model returned no cache whose layers could be counted"
    return state_bytes(cache)
