"""What the conformance checks of `trilemma.testing` refuse, in one sentence each."""

from dataclasses import dataclass, replace

import pytest

from trilemma.tasks import AdversarialExamples, Examples, Task
from trilemma.testing import check_task


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
