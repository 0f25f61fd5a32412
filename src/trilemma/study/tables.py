"""A finished study's artifacts to the two tables."""

import pyarrow as pa

from trilemma.records import Record, records_table
from trilemma.study.correct_answers import joules_per_correct_answer
from trilemma.study.finished import Finished
from trilemma.study.stages import KINDS, profile


def build_tables(finished: Finished) -> tuple[pa.Table, pa.Table]:
    """Gather a finished graph's artifacts.

    Returns:
        Records and items, of the schemas in :mod:`trilemma.records`.

    Raises:
        StoreError: when an artifact is gone.
    """
    # First, as it has every candidate, in the study's order.
    efficiency = list(profile.records(finished))
    others: list[Record] = []
    for kind in KINDS:
        if kind.records is not profile.records:
            others.extend(kind.records(finished))
    candidates = dict.fromkeys((adapted.model, adapted.adaptation) for adapted in finished.graph.adapted)
    joules = joules_per_correct_answer(efficiency, others, candidates)
    return records_table([*efficiency, *others, *joules]), finished.items
