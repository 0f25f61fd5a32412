"""A genetic algorithm over substitutes (Alzantot et al. 2018, arXiv 1804.07998)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.beam import won
from trilemma.attacks.search.sampling import Substitutes, substitutes_of
from trilemma.attacks.search.state import Scored, SearchState
from trilemma.attacks.words import SplitText


@dataclass(frozen=True)
class Genetic:
    """Breed texts: parents drawn by fitness, crossed word by word, one word of the child mutated.

    The best text of a generation, of ``population`` texts, stays in the next one unchanged; ``generations``
    are bred after the first one. Substitutes are those of the clean text's words.
    """

    population: int = 60
    generations: int = 20

    def __call__(self, state: SearchState) -> Steps[None]:
        """Algorithm 1; every generation is one question."""
        substitutes = yield from substitutes_of(state)
        if not substitutes:
            return
        clean = [(state.item.original, state.first)] * self.population
        members = yield from mutated(state, clean, substitutes)
        for _ in range(self.generations):
            if won(state, members):
                return
            members = yield from next_generation(state, members, substitutes)
        won(state, members)


def next_generation(
    state: SearchState, members: Sequence[Scored], substitutes: Substitutes
) -> Steps[list[Scored]]:
    """The best member unchanged, and mutated children of all members; as many as before."""
    best = max(members, key=lambda one: one.rank)
    return [best, *(yield from mutated(state, children_of(state, members), substitutes))]


def children_of(state: SearchState, members: Sequence[Scored]) -> list[tuple[SplitText, Scored]]:
    """Children, one fewer than members, each with the parent that takes its place if it is refused."""
    weights = fitness([one.score for one in members])
    children = []
    for _ in range(len(members) - 1):
        one, other = state.item.random.choices(members, weights, k=2)
        pairs = zip(one.words.words, other.words.words, strict=True)
        words = tuple(pair[state.item.random.getrandbits(1)] for pair in pairs)
        children.append((replace(one.words, words=words), one))
    return children


def mutated(
    state: SearchState, children: Sequence[tuple[SplitText, Scored]], substitutes: Substitutes
) -> Steps[list[Scored]]:
    """Change one word of each child, to the substitute that brings it nearest to the goal (Algorithm 2).

    The word is drawn by its number of substitutes. A child that has none left stays as it is; one that the
    constraints refuse in every form is replaced by its parent.
    """
    options: list[list[SplitText]] = []
    for words, _ in children:
        places = [i for i in state.positions(words) if i in substitutes]
        if not places:
            options.append([words])
            continue
        [i] = state.item.random.choices(places, [len(substitutes[place]) for place in places])
        options.append([words.with_word(i, word) for word in substitutes[i] if word != words.words[i]])
    kept = yield from state.keeping([words for some in options for words in some])
    scored = {one.words.text: one for one in (yield from state.scores(kept))}
    return [
        max(
            (scored[words.text] for words in some if words.text in scored),
            key=lambda one: one.rank,
            default=parent,
        )
        for some, (_, parent) in zip(options, children, strict=True)
    ]


def fitness(scores: Sequence[float]) -> list[float]:
    """Weights for drawing parents: the scores, shifted to be at least 0; equal ones where all are 0."""
    finite = [score for score in scores if isfinite(score)]
    least = min([0.0, *finite])
    weights = [score - least if isfinite(score) else 0.0 for score in scores]
    return weights if sum(weights) > 0 else [1.0] * len(scores)
