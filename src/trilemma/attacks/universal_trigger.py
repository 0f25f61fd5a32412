"""A universal trigger: a few words that turn the answers to all texts of one class (Wallace et al. 2019)."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.attack import Attack, Attacked, AttackRun, Victim, checked
from trilemma.attacks.constraints import Constraint
from trilemma.attacks.goals import Goal, Targeted, Untargeted
from trilemma.attacks.item import Budget, Item, SpentError
from trilemma.attacks.lockstep import Steps, run_in_lockstep
from trilemma.attacks.search.state import SearchState
from trilemma.attacks.victims.local import WhiteBox, required
from trilemma.attacks.words import SplitText
from trilemma.errors import AttackError
from trilemma.tasks.task import Level, Text

FIRST_WORD = "the"
"""Every word of a trigger before it is fitted."""

Trigger = tuple[str, ...]


@dataclass(frozen=True)
class GradientFit:
    """Finds the trigger that hurts some items most: one word is replaced at a time, as long as that helps.

    Attributes:
        length: words of the trigger.
        tried: words that the victim is asked about for a place of the trigger, best estimates first.
        rounds: how often every word of a trigger is replaced at most.
        excluded: words that no trigger contains, in lower case.
    """

    length: int = 3
    tried: int = 10
    rounds: int = 5
    excluded: frozenset[str] = frozenset()

    def __call__(self, items: Sequence[SearchState], budget: int) -> Trigger:
        """The trigger for these items, within ``budget`` queries for each.

        Raises:
            AttackError: if no token of the victim is a word.
        """
        vocabulary = items[0].budget.white_box.vocabulary
        allowed = np.array([word.lower() not in self.excluded for word in vocabulary.words], bool)
        if not allowed.any():
            raise AttackError(
                "no token of the victim is a word that a trigger may contain; choose another attack, or "
                "protect fewer words"
            )
        trigger: Trigger = (FIRST_WORD,) * self.length
        # Two queries are for the original and the first trigger, one is left to show what was fitted.
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


@dataclass(frozen=True)
class UniversalTrigger(Attack):
    """Words before a text, fitted on some items and shown to others of the same class.

    The items of a class are split into two halves, texts that occur several times into one of them; the
    trigger that is fitted on one half attacks the other. So no item meets a trigger that was fitted on it. A
    class of which there is one text only is not attacked.

    Attributes:
        fit: finds the trigger for some items within a budget of queries for each.
        most: items of a half that a trigger is fitted on, at most.
        constraints: what a text with its trigger must keep.
        goal: when the attack has succeeded.
        attacked: which text of a pair.
    """

    level: Level = "sentence"
    white_box: bool = True
    fit: Callable[[Sequence[SearchState], int], Trigger] = field(default_factory=GradientFit)
    most: int = 32
    constraints: tuple[Constraint, ...] = ()
    goal: Goal = field(default_factory=Untargeted)
    attacked: int = -1

    def __call__(
        self, victim: Victim, texts: Sequence[Text], labels: Sequence[int], run: AttackRun
    ) -> list[Attacked]:
        """Attack items, as :class:`trilemma.attacks.Attack` has it; each is finished when it has its trigger.

        What is asked about an item while a trigger is fitted on it is part of its queries, gradients too.

        Raises:
            AttackError: if the victim shows no gradients, or no token of it is a word.
        """
        if not texts:
            return []
        asked, white_box = checked(victim), required(WhiteBox.of(victim))
        states = [
            SearchState(
                Item.of(text, label, self.attacked, run.seed),
                Budget(run.budget, asked, white_box),
                constraints=self.constraints,
                goal=self.goal,
            )
            for text, label in zip(texts, labels, strict=True)
        ]
        right = run_in_lockstep([state.begin() for state in states])
        triggers = self._triggers(states, right, run)
        shown = [_shown(*one) for one in zip(states, triggers, strict=True)]
        return run_in_lockstep(shown, run.counting(len(states)))

    def _triggers(
        self, states: Sequence[SearchState], right: Sequence[bool], run: AttackRun
    ) -> list[Trigger | None]:
        """For every item the trigger that it is shown; None for one that the victim gets wrong already."""
        found: list[Trigger | None] = [None] * len(states)
        by_text: dict[tuple[int, Text], list[int]] = {}
        for index, state in enumerate(states):
            if right[index]:
                by_text.setdefault((state.item.label, state.item.text), []).append(index)
        for label in sorted({label for label, _ in by_text}):
            rng = random.Random(f"{run.seed} {label}")
            texts = sorted(one for one in by_text if one[0] == label)
            rng.shuffle(texts)
            halves = texts[::2], texts[1::2]
            for half, other in (halves, halves[::-1]):
                if half and other:
                    sample = rng.sample(half, min(self.most, len(half)))
                    trigger = self.fit([states[by_text[one][0]] for one in sample], run.budget)
                    for index in (index for one in other for index in by_text[one]):
                        found[index] = trigger
        return found


def _estimates(items: Sequence[SearchState], trigger: Trigger) -> NDArray[np.float32]:
    """What each token is worth in each place of the trigger, as a mean over items, [length, V]."""
    shown = [_before(state.item.original, trigger) for state in items]
    found = run_in_lockstep([state.gradients([words]) for state, words in zip(items, shown, strict=True)])
    white_box = items[0].budget.white_box
    own = [
        white_box.word_gradients(words, state.item.field, gradients, range(len(trigger)))
        for state, words, [gradients] in zip(items, shown, found, strict=True)
    ]
    return white_box.estimates(
        np.stack([one.sums for one in own]).mean(axis=0), np.stack([one.now for one in own]).mean(axis=0)
    )


def _gains(items: Sequence[SearchState], triggers: Sequence[Trigger]) -> NDArray[np.float64]:
    """How near to the goal each trigger brings the items: the mean of a logarithm, higher is nearer."""
    shown = [[state.item.full(_before(state.item.original, one)) for one in triggers] for state in items]
    answers = run_in_lockstep(
        [state.budget.answers(texts) for state, texts in zip(items, shown, strict=True)]
    )
    gains = np.zeros(len(triggers))
    for state, texts, own in zip(items, shown, answers, strict=True):
        target = state.goal.target if isinstance(state.goal, Targeted) else None
        counted = state.item.label if target is None else target
        logs = np.log(np.maximum([own[text][counted] for text in texts], 1e-12))
        gains += -logs if target is None else logs
    return gains / len(items)


def _shown(state: SearchState, trigger: Trigger | None) -> Steps[Attacked]:
    """The item with its trigger, if that keeps the constraints."""
    if trigger is not None:
        # With a budget of one, nothing but the original could be asked about.
        with suppress(SpentError):
            kept = yield from state.keeping([_before(state.item.original, trigger)])
            yield from state.scores(kept)
    best = state.best
    return Attacked(best.text if best.success else state.item.text, state.budget.spent, best.success)


def _before(words: SplitText, trigger: Trigger) -> SplitText:
    """A text with a trigger before it."""
    return SplitText.of(" ".join((*trigger, words.text)))
