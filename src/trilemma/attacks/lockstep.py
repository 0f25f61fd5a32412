"""Many searches at once: what all of them ask next is asked together.

A search is a generator. It yields its questions and is sent the answers; its code reads like a search for
one item alone. All unfinished searches advance in lockstep: their questions are pooled, identical ones are
asked once, and the model gets full batches however little a single search asks.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

Service = Callable[[Sequence[Any]], Iterable[Any]]
"""Answers many inputs in one call, in order; the same input always gets the same answer."""


@dataclass(frozen=True)
class Question:
    """A question of a search.

    Attributes:
        service: answers it.
        inputs: what is asked about; the answer is one output per input.
        remembered: whether the answer is kept for later questions of all searches; large answers, which
            would fill the memory, are not.
    """

    service: Service
    inputs: Sequence[Hashable]
    remembered: bool = True


Steps = Generator[Question, Sequence[Any], T]


def ask(service: Service, inputs: Sequence[Hashable], *, remembered: bool = True) -> Steps[Sequence[Any]]:
    """The outputs of ``service`` for ``inputs``; to be used with ``yield from``."""
    return (yield Question(service, inputs, remembered)) if inputs else []


def run_in_lockstep(
    searches: Sequence[Steps[T]], finished: Callable[[int, T], None] = lambda index, result: None
) -> list[T]:
    """Run searches, one per item, to their ends; their results in order.

    ``finished`` is called with the index and the result of each search when it ends.
    """
    results: dict[int, T] = {}
    answers: dict[Service, dict[Hashable, Any]] = {}
    waiting: dict[int, Question] = {}

    def advance(index: int, outputs: Sequence[Any] | None) -> None:
        try:
            # A generator that has not begun accepts None only.
            waiting[index] = searches[index].send(outputs)  # type: ignore[arg-type]
        except StopIteration as end:
            waiting.pop(index, None)
            results[index] = end.value
            finished(index, end.value)

    for index in range(len(searches)):
        advance(index, None)
    while waiting:
        pooled: dict[Service, dict[Hashable, None]] = {}
        for question in waiting.values():
            known = answers.setdefault(question.service, {})
            new = pooled.setdefault(question.service, {})
            new.update((one, None) for one in question.inputs if one not in known)
        for service, new in pooled.items():
            if new:
                answers[service].update(zip(new, service(list(new)), strict=True))
        asked = list(waiting.items())
        for index, question in asked:
            known = answers[question.service]
            advance(index, [known[one] for one in question.inputs])
        for _, question in asked:
            if not question.remembered:
                answers[question.service].clear()
    return [results[index] for index in range(len(searches))]
