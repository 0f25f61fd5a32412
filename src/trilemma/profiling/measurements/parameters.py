"""Weights of a model: how many, and in how many bytes."""

from collections.abc import Iterator

from trilemma.profiling.session import Session
from trilemma.records import Record


def measure(session: Session) -> Iterator[Record]:
    """Parameters, those outside the embeddings, and bytes of the model as a classifier."""
    for subject in session.subjects:
        description = session.describe(subject)
        note = f"timed as a classifier of two outputs, held in {subject.dtype}"
        for metric, unit, value in (
            ("parameters", "weights", description.parameters),
            ("non_embedding_parameters", "weights", description.non_embedding_parameters),
            ("weight_bytes", "bytes", description.weight_bytes),
        ):
            yield from session.record(subject, metric, unit, float(value), note=note)
