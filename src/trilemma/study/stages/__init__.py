"""The kinds of stages, a file each.

A file has the stage's class (its settings, what it computes, its version), ``lay_out``, which adds it to a
study's graph, and ``records``, what it adds to the tables. A new kind is one file and one line in
:data:`KINDS`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from trilemma.records import Record
from trilemma.study.correct_answers import joules_per_correct_answer
from trilemma.study.finished import Finished
from trilemma.study.graph import AdaptedModel, Graph
from trilemma.study.stage import Stage
from trilemma.study.stages import adapt, answer, attack, pretrain, profile, transfer


class Kind(NamedTuple):
    """Where a kind of stage stands in a study, and what it adds to the records.

    What makes a model (tokenizer, create, pretrain, transform, sweep, adapt) is laid out by
    :mod:`trilemma.study.layout` itself, since each is the source of the next.

    Attributes:
        records: its records, once the study is finished.
        of_adapted: its stages for an adapted model.
        of_study: its stages for the whole study.
    """

    records: Callable[[Finished], Iterator[Record]]
    of_adapted: Callable[[Graph, AdaptedModel], Iterator[Stage]] | None = None
    of_study: Callable[[Graph], Iterator[Stage]] | None = None


KINDS = (
    Kind(pretrain.records),
    Kind(adapt.records),
    Kind(answer.records, of_adapted=answer.lay_out),
    Kind(attack.records, of_adapted=attack.lay_out),
    Kind(transfer.records, of_study=transfer.lay_out),
    Kind(profile.records, of_study=profile.lay_out),
)
"""In the order in which their stages run, where a graph leaves it open."""


def all_records(finished: Finished) -> list[Record]:
    """The records of a finished study: first those of the profile, which has every candidate in order.

    Raises:
        StoreError: when an artifact is gone.
    """
    efficiency = list(profile.records(finished))
    others = [kind.records(finished) for kind in KINDS if kind.records is not profile.records]
    scores = [record for records in others for record in records]
    candidates = dict.fromkeys((adapted.model, adapted.adaptation) for adapted in finished.graph.adapted)
    return [*efficiency, *scores, *joules_per_correct_answer(efficiency, scores, candidates)]
