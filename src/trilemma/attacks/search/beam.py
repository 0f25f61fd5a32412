"""Beam search, and how a search asks for more texts than it can hold."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.greedy import strongest

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt, Scored
    from trilemma.attacks.words import Words

TOGETHER = 256
"""Texts that one search asks for in one question: a full batch by itself, and what 10,000 words leave room
for."""

PATIENCE = 4096
"""Texts in a row that the constraints refuse, or that were asked before, until a search gives up: the budget
ends a search that asks, and this one that has nothing left to ask."""


@dataclass(frozen=True)
class Beam:
    """Change one word at a time, and go on from the best few texts.

    Args:
        width: texts to go on from.
    """

    width: int = 4

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Until the goal is met or no text has a neighbour that is new."""
        beam, seen = [attempt.first], {attempt.original.text}
        while beam:
            neighbours = yield from one_change_away(attempt, beam)
            found = yield from ask_in_turn(attempt, neighbours)
            if won(attempt, found):
                return
            beam = nearest([one for one in found if one.words.text not in seen], self.width)
            seen.update(one.words.text for one in found)


def one_change_away(attempt: "Attempt", beam: "Sequence[Scored]") -> "Steps[Iterator[Words]]":
    """Texts that differ from one of the beam by one proposal, made when they are asked for.

    The first proposal for every word comes before the second for any, so that a budget that does not reach
    all of them has still tried every word.
    """
    assert attempt.transformation is not None
    places: list[list[tuple[Words, int, str]]] = []
    for one in beam:
        positions = attempt.positions(one.words)
        proposed = yield from attempt.transformation.propose(attempt, one.words, positions)
        places += [
            [(one.words, i, word) for word in some] for i, some in zip(positions, proposed, strict=True)
        ]
    turns = (place for turn in zip_longest(*places) for place in turn if place is not None)
    return (words.with_word(i, word) for words, i, word in turns)


def ask_in_turn(
    attempt: "Attempt",
    candidates: "Iterator[Words]",
    *,
    together: int = TOGETHER,
    patience: int = PATIENCE,
    until_won: bool = False,
) -> "Steps[list[Scored]]":
    """Score those candidates that keep the constraints, question by question.

    Args:
        attempt: the item.
        candidates: in the order to ask for them; may be endless.
        together: candidates a question.
        patience: candidates in a row that may bring nothing new.
        until_won: end with the question that meets a goal that stops.

    Returns:
        What was scored, until the candidates, the budget or the patience ended.

    Raises:
        SpentError: if the budget is spent.
    """
    found: list[Scored] = []
    fruitless = 0
    while fruitless < patience and (some := list(islice(candidates, together))):
        before = attempt.queries
        kept = yield from attempt.keeping(some)
        scored = yield from attempt.scores(kept)
        found += scored
        if until_won and attempt.goal.stops and any(one.success for one in scored):
            break
        fruitless = 0 if attempt.queries > before else fruitless + len(some)
    return found


def won(attempt: "Attempt", scored: "Sequence[Scored]") -> bool:
    """Whether these meet a goal that stops; then the strongest of them is what the attempt has found."""
    if not attempt.goal.stops or not any(one.success for one in scored):
        return False
    attempt.best = strongest(list(scored))
    return True


def nearest(scored: "Iterable[Scored]", most: int) -> "list[Scored]":
    """The best few, each text once; equal ones in the order in which they were found."""
    distinct = {one.words.text: one for one in scored}.values()
    return sorted(distinct, key=lambda one: one.rank, reverse=True)[:most]
