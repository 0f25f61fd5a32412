"""A particle swarm over substitutes (Zang et al. 2020, ACL 2020.acl-main.540, section 4.2)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.lockstep import Steps
from trilemma.attacks.search.beam import won
from trilemma.attacks.search.sampling import Substitutes, combined, substitutes_of

if TYPE_CHECKING:
    from trilemma.attacks.attempt import Attempt, Scored
    from trilemma.attacks.words import Words

SLOWEST, FASTEST = 0.2, 0.8
"""Inertia at the end and at the beginning."""

SELDOM, OFTEN = 0.2, 0.8
"""Probability to move to the particle's own best place at the end, to the swarm's at the beginning; and the
other way round."""

SPEED = 3.0
"""Greatest velocity: a word follows with a probability of 0.05 to 0.95."""

RESTRAINT = 2.0
"""How fast the probability of a mutation falls with the share of words changed; it is 0 at half of them."""


@dataclass(frozen=True)
class ParticleSwarm:
    """Texts that move, word by word, towards the best text each has seen and the best that any has.

    A dimension is a word of the clean text, its places are the word and its substitutes. The velocity of a
    word grows while the particle agrees with its goals and falls while it does not.

    Args:
        particles: texts that move.
        iterations: moves of each.
    """

    particles: int = 60
    iterations: int = 20

    def __call__(self, attempt: "Attempt") -> Steps[None]:
        """Initialise by one substitution each, then move; every iteration is one question."""
        substitutes = yield from substitutes_of(attempt)
        if not substitutes:
            return
        dimensions = list(substitutes)
        rng = np.random.default_rng(attempt.random.getrandbits(64))
        velocity = rng.uniform(-SPEED, SPEED, (self.particles, len(dimensions)))
        start = [attempt.first] * self.particles
        places = yield from moved(
            attempt, start, [[mutation(attempt, attempt.original, substitutes)] for _ in start]
        )
        own, swarm = places, max(places, key=lambda one: one.rank)
        for iteration in range(self.iterations):
            if won(attempt, places):
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
                options.append([mutation(attempt, words, substitutes), words] if mutate else [words])
            places = yield from moved(attempt, places, options)
            own = [max(pair, key=lambda one: one.rank) for pair in zip(own, places, strict=True)]
            swarm = max([swarm, *own], key=lambda one: one.rank)
        won(attempt, places)


def moved(attempt: "Attempt", places: "list[Scored]", options: "list[list[Words]]") -> "Steps[list[Scored]]":
    """Each particle at the first of its options that keeps the constraints; where none does, it stays."""
    kept = {
        words.text for words in (yield from attempt.keeping([words for some in options for words in some]))
    }
    chosen = [next((words for words in some if words.text in kept), None) for some in options]
    distinct = {words.text: words for words in chosen if words is not None}
    scored = {one.words.text: one for one in (yield from attempt.scores(list(distinct.values())))}
    return [
        place if words is None else scored.get(words.text, place)
        for place, words in zip(places, chosen, strict=True)
    ]


def mutation(attempt: "Attempt", words: "Words", substitutes: Substitutes) -> "Words":
    """The text with a substitute for one word, both drawn; as it is where no word may change."""
    places = [i for i in attempt.positions(words) if i in substitutes]
    if not places:
        return words
    position = attempt.random.choice(places)
    return words.with_word(position, attempt.random.choice(substitutes[position]))


def agrees(one: "Scored", other: "Scored", dimensions: list[int]) -> NDArray[np.float64]:
    """1 for each word that two texts share, else -1, [dimensions]."""
    return np.array([1.0 if one.words.words[i] == other.words.words[i] else -1.0 for i in dimensions])
