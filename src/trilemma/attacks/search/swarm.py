"""A particle swarm over substitutes (Zang et al. 2020, ACL 2020.acl-main.540, section 4.2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.beam import won
from trilemma.attacks.search.sampling import Substitutes, combined, substitutes_of
from trilemma.attacks.search.state import Scored, SearchState
from trilemma.attacks.words import SplitText

SLOWEST, FASTEST = 0.2, 0.8
"""Inertia at the end and at the beginning."""

SELDOM, OFTEN = 0.2, 0.8
"""Probability to move to the particle's own best place: at the end ``SELDOM``, at the beginning ``OFTEN``; to
the swarm's best place the other way round."""

SPEED = 3.0
"""Largest velocity, at which a word follows with a probability of 0.05 to 0.95."""

RESTRAINT = 2.0
"""How fast the probability of a mutation falls with the share of words changed; it is 0 at one half."""


@dataclass(frozen=True)
class ParticleSwarm:
    """Texts that move, word by word, towards the best text that each has seen and the best of all.

    There are ``particles`` of them, which move ``iterations`` times. A dimension is a word of the clean text;
    its places are the word and its substitutes. The velocity of a word grows while the particle agrees with
    these goals and falls while it does not.
    """

    particles: int = 60
    iterations: int = 20

    def __call__(self, state: SearchState) -> Steps[None]:
        """Start with one substitution in each text, then move; every iteration is one question."""
        substitutes = yield from substitutes_of(state)
        if not substitutes:
            return
        dimensions = list(substitutes)
        rng = np.random.default_rng(state.item.random.getrandbits(64))
        velocity = rng.uniform(-SPEED, SPEED, (self.particles, len(dimensions)))
        start = [state.first] * self.particles
        places = yield from moved(
            state, start, [[mutation(state, state.item.original, substitutes)] for _ in start]
        )
        own, swarm = places, max(places, key=lambda one: one.rank)
        for iteration in range(self.iterations):
            if won(state, places):
                return
            over = iteration / self.iterations
            inertia = FASTEST - over * (FASTEST - SLOWEST)
            to_own, to_swarm = OFTEN - over * (OFTEN - SELDOM), SELDOM + over * (OFTEN - SELDOM)
            options = []
            for particle, (place, best) in enumerate(zip(places, own, strict=True)):
                agreement = agrees(place, best, dimensions) + agrees(place, swarm, dimensions)
                velocity[particle] = inertia * velocity[particle] + (1 - inertia) * agreement
                turns = 1 / (1 + np.exp(-velocity[particle]))
                words = place.words
                for goal, probability in ((best, to_own), (swarm, to_swarm)):
                    if rng.random() < probability:
                        follow = rng.random(len(dimensions)) < turns
                        words = combined(
                            words, {i: goal.words.words[i] for i in np.array(dimensions)[follow]}
                        )
                restraint = RESTRAINT * len(words.changed) / len(words)
                mutate = rng.random() < 1 - restraint
                options.append([mutation(state, words, substitutes), words] if mutate else [words])
            places = yield from moved(state, places, options)
            own = [max(pair, key=lambda one: one.rank) for pair in zip(own, places, strict=True)]
            swarm = max([swarm, *own], key=lambda one: one.rank)
        won(state, places)


def moved(state: SearchState, places: list[Scored], options: list[list[SplitText]]) -> Steps[list[Scored]]:
    """Each particle at the first of its options that keeps the constraints; it stays where none does."""
    kept = {words.text for words in (yield from state.keeping([words for some in options for words in some]))}
    chosen = [next((words for words in some if words.text in kept), None) for some in options]
    distinct = {words.text: words for words in chosen if words is not None}
    scored = {one.words.text: one for one in (yield from state.scores(list(distinct.values())))}
    return [
        place if words is None else scored.get(words.text, place)
        for place, words in zip(places, chosen, strict=True)
    ]


def mutation(state: SearchState, words: SplitText, substitutes: Substitutes) -> SplitText:
    """The text with a drawn substitute for a drawn word; unchanged where no word may change."""
    places = [i for i in state.positions(words) if i in substitutes]
    if not places:
        return words
    position = state.item.random.choice(places)
    return words.with_word(position, state.item.random.choice(substitutes[position]))


def agrees(one: Scored, other: Scored, dimensions: list[int]) -> NDArray[np.float64]:
    """1 for each word that two texts share, else -1, [dimensions]."""
    return np.array([1.0 if one.words.words[i] == other.words.words[i] else -1.0 for i in dimensions])
