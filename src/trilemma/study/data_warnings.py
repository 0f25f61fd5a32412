"""What of a study's data misleads a reader of its scores, said before any work."""

from collections.abc import Iterator

from trilemma.study.graph import Graph
from trilemma.tasks.task import Examples, Text

LEAST = 0.01
"""Share of an evaluation split's items, or of its texts, from which on something is said."""

WORDS_PER_TOKEN = 0.75
"""A text of more words than this times the tokens that are read is cut, most likely."""


def data_warnings(graph: Graph) -> Iterator[str]:
    """A sentence for each split that is in part in the training split, and for each whose texts are cut."""
    said, attacks = set(), graph.study.robustness.attacks
    for adapted in graph.adapted:
        task, most = adapted.task, adapted.max_length
        for examples in graph.data.evaluation(task):
            if (task, examples.split, most) in said:
                continue
            said.add((task, examples.split, most))
            cut = share_cut(examples, most)
            if cut >= LEAST:
                unread = ", and what an attack appends to them is not read" * bool(attacks)
                yield (
                    f"about {cut:.0%} of the texts of {task}/{examples.split} are longer than the {most} "
                    f"tokens that are read, and are cut{unread}; raise adapt.max_length"
                )
    for task in dict.fromkeys(adapted.task for adapted in graph.adapted):
        for split, share in seen_in_training(graph, task).items():
            yield (
                f"{share:.0%} of the items of {task}/{split} are in its training split too: scores on them "
                "show memory, not skill; remove them from one of the two"
            )


def seen_in_training(graph: Graph, task: str) -> dict[str, float]:
    """By evaluation split of a task the share of its items that are in the training split, unless small."""
    train = graph.data.examples(graph.data.training_task(task), "train")
    shares = {one.split: share_shared(train, one) for one in graph.data.evaluation(task) if one.ids}
    return {split: share for split, share in shares.items() if share >= LEAST}


def share_shared(train: Examples, examples: Examples) -> float:
    """Share of the examples whose texts are among those of a training split, but for case and spaces."""
    wanted = [_same(text) for text in examples.texts]
    found = set(wanted).intersection(map(_same, train.texts))
    return sum(text in found for text in wanted) / max(1, len(wanted))


def _same(text: Text) -> tuple[str, ...]:
    return tuple("".join(part.split()).casefold() for part in text)


def share_cut(examples: Examples, max_length: int) -> float:
    """Share of texts of so many words that they have more tokens than are read, most likely."""
    words = max_length * WORDS_PER_TOKEN
    long = sum(sum(len(part.split()) for part in text) > words for text in examples.texts)
    return long / max(1, len(examples))
