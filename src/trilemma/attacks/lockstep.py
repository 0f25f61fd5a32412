"""Many searches at once: what all of them want to know next is asked together.

A search is a generator. It yields what it wants to know, and is sent the answers; between two questions it
reads like a search for one item alone. All live searches advance in lockstep: their questions are pooled,
identical ones are asked once, and the model sees full batches whatever a single search asks.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

Service = Callable[[Sequence[Any]], Iterable[Any]]
"""Answers many inputs in one call, in order; the same input always gets the same answer."""


@dataclass(frozen=True)
class Question:
    """What a search wants to know.

    Attributes:
        service: whom it asks.
        inputs: what it asks about; the answer is one output an input.
        remembered: whether a later question of any search may be answered from this one's answers; large
            answers, which would fill the memory, are not.
    """

    service: Service
    inputs: Sequence[Hashable]
    remembered: bool = True


Steps = Generator[Question, Sequence[Any], T]


def ask(service: Service, inputs: Sequence[Hashable], *, remembered: bool = True) -> Steps[Sequence[Any]]:
    """To be yielded from: the outputs of ``service`` for ``inputs``."""
    return (yield Question(service, inputs, remembered)) if inputs else []


def run_in_lockstep(searches: Sequence[Steps[T]], finished: Callable[[int, T], None]) -> None:
    """Run searches to their ends.

    Args:
        searches: one an item.
        finished: told the index and the result of each search as it ends.
    """
    answers: dict[Service, dict[Hashable, Any]] = {}
    waiting: dict[int, Question] = {}

    def advance(index: int, outputs: Sequence[Any] | None) -> None:
        try:
            # A generator that has not begun takes None alone.
            waiting[index] = searches[index].send(outputs)  # type: ignore[arg-type]
        except StopIteration as end:
            waiting.pop(index, None)
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
