"""A genetic algorithm over substitutes (Alzantot et al. 2018, arXiv 1804.07998)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.beam import won
from trilemma.attacks.search.sampling import Substitutes, substitutes_of

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt, Scored
    from trilemma.attacks.words import Words


@dataclass(frozen=True)
class Genetic:
    """Breed texts: parents drawn by fitness, crossed word by word, one word of the child mutated.

    The best text of a generation lives on unchanged. Substitutes are those of the clean text's words.

    Args:
        population: texts of a generation.
        generations: bred after the first one.
    """

    population: int = 60
    generations: int = 20

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Algorithm 1; every generation is one question."""
        substitutes = yield from substitutes_of(attempt)
        if not substitutes:
            return
        clean = [(attempt.original, attempt.first)] * self.population
        members = yield from mutated(attempt, clean, substitutes)
        for _ in range(self.generations):
            if won(attempt, members):
                return
            best = max(members, key=lambda one: one.rank)
            children = self._children(attempt, members)
            members = [best, *(yield from mutated(attempt, children, substitutes))]
        won(attempt, members)

    def _children(self, attempt: "Attempt", members: "Sequence[Scored]") -> "list[tuple[Words, Scored]]":
        """Children, each with the parent that stands in where the constraints refuse it."""
        weights = fitness([one.score for one in members])
        children = []
        for _ in range(self.population - 1):
            one, other = attempt.random.choices(members, weights, k=2)
            pairs = zip(one.words.words, other.words.words, strict=True)
            words = tuple(pair[attempt.random.getrandbits(1)] for pair in pairs)
            children.append((replace(one.words, words=words), one))
        return children


def mutated(
    attempt: "Attempt", children: "Sequence[tuple[Words, Scored]]", substitutes: Substitutes
) -> "Steps[list[Scored]]":
    """Change one word of each child, for the substitute that brings it nearest to the goal (Algorithm 2).

    The word is drawn by its number of substitutes. A child that has none left stays as it is; one that the
    constraints refuse in every form gives way to its parent.
    """
    options: list[list[Words]] = []
    for words, _ in children:
        places = [i for i in attempt.positions(words) if i in substitutes]
        if not places:
            options.append([words])
            continue
        [i] = attempt.random.choices(places, [len(substitutes[place]) for place in places])
        options.append([words.with_word(i, word) for word in substitutes[i] if word != words.words[i]])
    kept = yield from attempt.keeping([words for some in options for words in some])
    scored = {one.words.text: one for one in (yield from attempt.scores(kept))}
    return [
        max(
            (scored[words.text] for words in some if words.text in scored),
            key=lambda one: one.rank,
            default=parent,
        )
        for some, (_, parent) in zip(options, children, strict=True)
    ]


def fitness(scores: Sequence[float]) -> list[float]:
    """Weights to draw parents by: the scores, raised to be no less than 0; equal ones where all are 0."""
    finite = [score for score in scores if isfinite(score)]
    least = min([0.0, *finite])
    weights = [score - least if isfinite(score) else 0.0 for score in scores]
    return weights if sum(weights) > 0 else [1.0] * len(scores)
