"""Weights of a model: how many, and in how many bytes."""

from collections.abc import Iterator

from trilemma.profiling import MEASUREMENTS
from trilemma.profiling.session import Session, Value
from trilemma.profiling.timing import Quantity
from trilemma.records import Record


@MEASUREMENTS.plugin(0)
def measure(session: Session) -> Iterator[Record]:
    """Parameters, those outside the embeddings, and bytes of the model in the form in which it answers."""
    for model in session.models:
        described = session.describe(model)
        head = "as a classifier of two outputs" if "classify" in session.phases(model) else "with its head"
        numbers = {
            "parameters": described.parameters,
            "non_embedding_parameters": described.non_embedding_parameters,
            "weight_bytes": described.weight_bytes,
        }
        values: dict[str, Value] = {name: Quantity(float(n), note=head) for name, n in numbers.items()}
        yield from session.records(model, values)
