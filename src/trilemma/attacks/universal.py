"""A universal trigger: a few words that turn the answers to all texts of one class (Wallace et al. 2019)."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.attack import Attacked, Victim
from trilemma.attacks.attempt import Attempt, SpentError
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.goals import Goal, Targeted, Untargeted
from trilemma.attacks.lockstep import Steps, run_in_lockstep
from trilemma.attacks.victims import checked
from trilemma.attacks.white_box import WhiteBox, required
from trilemma.attacks.words import Words
from trilemma.errors import AttackError
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Level, Text

FIRST_WORD = "the"
"""What the trigger is made of before it is fitted."""

T = TypeVar("T")

Trigger = tuple[str, ...]


@dataclass(frozen=True)
class UniversalTrigger:
    """Words before a text, fitted by gradient on some items and shown to others of the same class.

    The items of a class are split in two halves, texts that occur several times in one of them; the trigger
    fitted on one half attacks the other. So no item meets a trigger that was fitted on it. A class that has
    one text alone is not attacked.

    Attributes:
        level: of what it changes.
        length: words of the trigger.
        tried: words that the victim is asked about for a place of the trigger, best estimates first.
        fitted: most items of a half that a trigger is fitted on.
        rounds: most times that every word of a trigger is replaced.
        excluded: words that no trigger holds, in lower case.
        constraints: what a text with its trigger must keep.
        goal: when it is won.
        attacked: which text of a pair.
    """

    level: ClassVar[Level] = "sentence"
    length: int = 3
    tried: int = 10
    fitted: int = 32
    rounds: int = 5
    excluded: frozenset[str] = frozenset()
    constraints: tuple[Constraint, ...] = ()
    goal: Goal = field(default_factory=Untargeted)
    attacked: int = -1

    def __call__(  # noqa: D417  the others are those of Attack
        self,
        victim: Victim,
        texts: Sequence[Text],
        labels: Sequence[int],
        *,
        budget: int,
        seed: int,
        progress: Progress = silent,
        finished: Callable[[int, Attacked], None] | None = None,
    ) -> list[Attacked]:
        """Attack items; arguments and result as in :class:`trilemma.attacks.Attack`.

        What an item is asked while a trigger is fitted on it counts as its own queries, gradients too.

        Args:
            finished: told of each item as it ends.

        Raises:
            AttackError: if the victim shows no gradients, or no token of it is a word.
        """
        if not texts:
            return []
        asked, white_box = checked(victim), required(WhiteBox.of(victim))
        attempts = [
            Attempt(
                text,
                label,
                field=self.attacked,
                victim=asked,
                transformation=None,
                constraints=self.constraints,
                goal=self.goal,
                budget=budget,
                seed=seed,
                white_box=white_box,
            )
            for text, label in zip(texts, labels, strict=True)
        ]
        _together([attempt.begin() for attempt in attempts])
        triggers = self._triggers(attempts, budget, seed)
        results: dict[int, Attacked] = {}

        def end(index: int, attacked: Attacked) -> None:
            results[index] = attacked
            if finished is not None:
                finished(index, attacked)
            progress(len(results), len(attempts), "items")

        run_in_lockstep([_shown(*one) for one in zip(attempts, triggers, strict=True)], end)
        return [results[index] for index in range(len(attempts))]

    def _triggers(self, attempts: Sequence[Attempt], budget: int, seed: int) -> list[Trigger | None]:
        """For every item the trigger that it is shown; None for one that the victim gets wrong already."""
        found: list[Trigger | None] = [None] * len(attempts)
        by_text: dict[tuple[int, Text], list[int]] = {}
        for index, attempt in enumerate(attempts):
            if int(attempt.first.probabilities.argmax()) == attempt.label:
                by_text.setdefault((attempt.label, attempt.text), []).append(index)
        for label in sorted({label for label, _ in by_text}):
            rng = random.Random(f"{seed} {label}")
            texts = sorted(one for one in by_text if one[0] == label)
            rng.shuffle(texts)
            halves = texts[::2], texts[1::2]
            for half, other in (halves, halves[::-1]):
                if half and other:
                    sample = rng.sample(half, min(self.fitted, len(half)))
                    trigger = self._fit([attempts[by_text[one][0]] for one in sample], budget)
                    for index in (index for one in other for index in by_text[one]):
                        found[index] = trigger
        return found

    def _fit(self, items: Sequence[Attempt], budget: int) -> Trigger:
        """The trigger that hurts these items most: one word is replaced at a time, as long as that helps."""
        vocabulary = items[0].white_box.vocabulary
        allowed = np.array([word.lower() not in self.excluded for word in vocabulary.words], bool)
        if not allowed.any():
            raise AttackError(
                "no token of the victim is a word that a trigger may hold; choose another attack, or "
                "protect fewer words"
            )
        trigger: Trigger = (FIRST_WORD,) * self.length
        # Two queries are the original's and the first trigger's, one is left to show what was fitted.
        steps = min(self.rounds * self.length, (budget - 3) // (1 + self.tried))
        if steps <= 0:
            return trigger
        [gain] = _gains(items, [trigger])
        estimates: NDArray[np.float32] | None = None
        fruitless = 0
        for step in range(steps):
            place = step % self.length
            if estimates is None:
                estimates = _estimates(items, trigger)[:, vocabulary.ids]
            order = np.argsort(-np.where(allowed, estimates[place], -np.inf), kind="stable")
            words = [vocabulary.words[i] for i in order[: self.tried] if allowed[i]]
            tried = [(*trigger[:place], word, *trigger[place + 1 :]) for word in words]
            gains = _gains(items, tried)
            best = int(np.argmax(gains))
            fruitless += 1
            if gains[best] > gain:
                gain, trigger, estimates, fruitless = gains[best], tried[best], None, 0
            if fruitless == self.length:
                break
        return trigger


def _estimates(items: Sequence[Attempt], trigger: Trigger) -> NDArray[np.float32]:
    """What each token is worth in each place of the trigger, as a mean over items, [length, V]."""
    shown = [_before(attempt.original, trigger) for attempt in items]
    found = _together([attempt.gradients([words]) for attempt, words in zip(items, shown, strict=True)])
    white_box = items[0].white_box
    own = [
        white_box.word_gradients(words, attempt.field, gradients, range(len(trigger)))
        for attempt, words, [gradients] in zip(items, shown, found, strict=True)
    ]
    return white_box.estimates(
        np.stack([one.sums for one in own]).mean(axis=0), np.stack([one.now for one in own]).mean(axis=0)
    )


def _gains(items: Sequence[Attempt], triggers: Sequence[Trigger]) -> NDArray[np.float64]:
    """How near to the goal each trigger brings the items: the mean of a logarithm, higher is nearer."""
    answers = _together(
        [
            attempt.answers([attempt.full(_before(attempt.original, one)) for one in triggers])
            for attempt in items
        ]
    )
    gains = np.zeros(len(triggers))
    for attempt, own in zip(items, answers, strict=True):
        target = attempt.goal.target if isinstance(attempt.goal, Targeted) else None
        logs = np.log(np.maximum([one[attempt.label if target is None else target] for one in own], 1e-12))
        gains += -logs if target is None else logs
    return gains / len(items)


def _shown(attempt: Attempt, trigger: Trigger | None) -> Steps[Attacked]:
    """The item with its trigger, if that keeps the constraints."""
    if trigger is not None:
        # With a budget of one, the original was all that could be asked for.
        with suppress(SpentError):
            kept = yield from attempt.keeping([_before(attempt.original, trigger)])
            yield from attempt.scores(kept)
    best = attempt.best
    return Attacked(best.text if best.success else attempt.text, attempt.queries, best.success)


def _before(words: Words, trigger: Trigger) -> Words:
    """A text with a trigger before it."""
    return Words.of(" ".join((*trigger, words.text)))


def _together(questions: Sequence[Steps[T]]) -> list[T]:
    """What several items ask for, asked together."""
    found: dict[int, T] = {}
    run_in_lockstep(questions, found.__setitem__)
    return [found[index] for index in range(len(questions))]
