"""Beam search, and how a search asks about more texts than fit into memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.greedy import strongest
from trilemma.attacks.search.state import Scored, SearchState
from trilemma.attacks.words import SplitText

TOGETHER = 256
"""Texts per question of one search: a full batch, and few enough for texts of 10,000 words."""

PATIENCE = 4096
"""Texts in a row that the constraints refuse, or that were asked about before, until a search gives up. The
budget ends a search that asks; this ends one that has nothing new to ask about."""


@dataclass(frozen=True)
class Beam:
    """Change one word at a time, and continue with the best few texts.

    Args:
        width: texts that are changed further.
        successes_only: continue only with texts that meet the goal, where it is one that the original meets.
    """

    width: int = 4
    successes_only: bool = False

    def __call__(self, state: SearchState) -> Steps[None]:
        """Search until a goal that stops is met or no text has a new neighbour."""
        beam, seen = [state.first], {state.item.original.text}
        while beam:
            neighbours = yield from one_change_away(state, beam)
            found = yield from ask_in_turn(state, neighbours)
            if won(state, found):
                return
            kept = [one for one in found if one.success or not self.successes_only]
            beam = nearest([one for one in kept if one.words.text not in seen], self.width)
            seen.update(one.words.text for one in found)


def one_change_away(state: SearchState, beam: Sequence[Scored]) -> Steps[Iterator[SplitText]]:
    """Texts that differ from one of the beam by one proposal, made when they are needed.

    The first proposal for every word comes before the second for any, so that a budget that is too small for
    all of them has still tried every word.
    """
    places: list[list[tuple[SplitText, int, str]]] = []
    for one in beam:
        positions = state.positions(one.words)
        proposed = yield from state.proposals(one.words, positions)
        places += [
            [(one.words, i, word) for word in some] for i, some in zip(positions, proposed, strict=True)
        ]
    turns = (place for turn in zip_longest(*places) for place in turn if place is not None)
    return (words.with_word(i, word) for words, i, word in turns)


def ask_in_turn(
    state: SearchState,
    candidates: Iterator[SplitText],
    *,
    together: int = TOGETHER,
    patience: int = PATIENCE,
    until_won: bool = False,
) -> Steps[list[Scored]]:
    """Score those candidates that keep the constraints, question by question.

    Args:
        state: the item.
        candidates: in the order to ask about them; may be endless.
        together: candidates per question.
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
        before = state.budget.spent
        kept = yield from state.keeping(some)
        scored = yield from state.scores(kept)
        found += scored
        if until_won and state.goal.stops and any(one.success for one in scored):
            break
        fruitless = 0 if state.budget.spent > before else fruitless + len(some)
    return found


def won(state: SearchState, scored: Sequence[Scored]) -> bool:
    """Whether these meet a goal that stops; then the strongest of them becomes the state's ``best``."""
    if not state.goal.stops or not any(one.success for one in scored):
        return False
    state.best = strongest(list(scored))
    return True


def nearest(scored: Iterable[Scored], most: int) -> list[Scored]:
    """The best few, each text once; equal ones in the order in which they were found."""
    distinct = {one.words.text: one for one in scored}.values()
    return sorted(distinct, key=lambda one: one.rank, reverse=True)[:most]
