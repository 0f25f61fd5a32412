"""What the conformance checks of `trilemma.testing` refuse, in one sentence each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from trilemma.attacks import Attack, Attacked, AttackRun, Victim
from trilemma.tasks import AdversarialExamples, Examples, Task, Text
from trilemma.testing import check_attack, check_task


@dataclass
class Rows:
    """Two texts per class."""

    classes: int = 4
    description: str = "generated"

    def load(self, task: Task, split: str) -> Examples:
        n = 2 * self.classes
        texts = [(f"{split} text {i}",) for i in range(n)]
        labels = [float(i % self.classes) for i in range(n)]
        return Examples(task.name, split, [f"{i}" for i in range(n)], texts, labels, split)

    def adversarial(self, task: Task, name: str) -> list[AdversarialExamples]:
        return []


CHANNEL = Task("channel", ("message",), ("ask", "buy", "claim", "other"), ("macro_f1",), data=Rows())


def test_a_sound_task_passes() -> None:
    check_task(CHANNEL)


def test_a_metric_of_two_classes_is_refused_for_four() -> None:
    with pytest.raises(
        AssertionError, match="channel: metrics: f1 is that of class 1 of two, and there are 4"
    ):
        check_task(replace(CHANNEL, metrics=("f1",)))


def test_a_source_that_answers_in_another_order_is_refused() -> None:
    class Shuffled(Rows):
        loads = 0

        def load(self, task: Task, split: str) -> Examples:
            self.loads += 1
            found = super().load(task, split)
            return replace(found, ids=found.ids[::-1]) if self.loads % 2 else found

    with pytest.raises(AssertionError, match="must read the same twice, in the same order"):
        check_task(replace(CHANNEL, data=Shuffled()))


class Appends(Attack):
    """Appends a word by the item's text; subclasses do it wrongly."""

    level = "word"

    def word(self, text: Text, place: int) -> str:
        return "dull"

    def __call__(
        self, victim: Victim, texts: Sequence[Text], labels: Sequence[int], run: AttackRun
    ) -> list[Attacked]:
        made = [(f"{text[0]} {self.word(text, place)}",) for place, text in enumerate(texts)]
        if made:
            victim(made)
        return [Attacked(text, queries=1) for text in made]


class ByPlace(Appends):
    def word(self, text: Text, place: int) -> str:
        return str(place)


class Fails(Appends):
    def word(self, text: Text, place: int) -> str:
        return text[0].split()[0]


class NoLevel(Appends):
    level = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (ByPlace(), "not on the item's place"),
        (Fails(), "must not fail on any text, .* IndexError"),
        (NoLevel(), "level must be word, sentence, human or unknown, not None"),
    ],
)
def test_what_an_attack_must_not_do(attack: Attack, said: str) -> None:
    check_attack(Appends())
    with pytest.raises(AssertionError, match=said):
        check_attack(attack)
