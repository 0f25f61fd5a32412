"""What is written of the items that a model answers."""

from trilemma.study.stages.answer import shared_origins
from trilemma.tasks.task import Examples


def test_items_on_one_premise_share_an_origin() -> None:
    pairs = [("A man eats.", "He eats."), ("A man eats.", "He sleeps."), ("It rains.", "It is wet.")]
    examples = Examples("mnli", "validation", ["0", "1", "2"], pairs, [0, 2, 0], "x")
    assert shared_origins(examples) == ["0", "0", "2"]
    turned = Examples("qnli", "validation", ["0", "1", "2"], [(b, a) for a, b in pairs], [0, 1, 0], "x")
    assert shared_origins(turned) == ["0", "0", "2"]
    single = Examples("sst2", "validation", ["7", "8"], [("good",), ("bad",)], [1, 0], "x")
    assert shared_origins(single) == ["7", "8"]
