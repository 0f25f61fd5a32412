"""Cutting the training split: a held-out slice and a cap on the rows, both seeded and even over classes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import DataError
from trilemma.tasks.columns import content
from trilemma.tasks.task import Examples, Task

_COMMON_ROWS = 10
"""A text in more rows than this, and 1% of all, is not taken to identify the source of its rows."""


def labelled(task: Task, train: Examples) -> Examples:
    """``train`` itself, where it can be trained on.

    Raises:
        DataError: where a label is missing or there are too few rows to hold any out.
    """
    missing = sum(label is None for label in train.labels)
    if missing:
        raise DataError(
            f"{train.task} {train.split}: {missing:,} of {len(train):,} rows have no label; give all labels"
        )
    if len(train) < 2 * task.outputs:
        raise DataError(
            f"{train.task} {train.split} has {len(train)} rows; give at least {2 * task.outputs} to train on"
        )
    return train


def split_off(task: Task, train: Examples, rows: int, seed: int) -> tuple[Examples, Examples]:
    """``train`` without ``rows`` rows, and those rows: the held-out slice.

    Rows that share a text with a held-out one (SST-2 repeats phrases, MNLI has three hypotheses to a premise)
    are in neither part, since a model that remembers them would seem to understand.
    """
    held_out = stratified(task, train, rows, seed)
    rest = np.setdiff1d(np.arange(len(train)), held_out)
    keys = [[content(part) for part in text] for text in train.texts]
    # A text in very many rows (an instruction, an empty field) says nothing about the source of a row.
    counts = Counter(part for row in keys for part in enumerate(row))
    common = _COMMON_ROWS + len(train) // 100
    parts_held_out = {part for i in held_out for part in enumerate(keys[i]) if counts[part] <= common}
    rows_held_out = {tuple(keys[i]) for i in held_out}
    apart = [
        i
        for i in rest
        if tuple(keys[i]) not in rows_held_out and parts_held_out.isdisjoint(enumerate(keys[i]))
    ]
    if len(apart) < task.outputs:
        raise DataError(
            f"{train.task} {train.split}: its rows repeat so few texts that none is left to train on beside "
            f"{rows} held-out rows; give more distinct rows, or a learning rate instead of a sweep"
        )
    return take(train, apart), take(train, held_out)


def capped(task: Task, train: Examples, rows: int | None, seed: int) -> Examples:
    """At most ``rows`` rows of ``train``, drawn by class."""
    if rows is None or rows >= len(train):
        return train
    return take(train, stratified(task, train, rows, seed))


def stratified(task: Task, examples: Examples, rows: int, seed: int) -> NDArray[np.int64]:
    """Indices of ``rows`` rows, classes in the proportions of the whole (largest remainder), sorted."""
    rng = np.random.default_rng(seed)
    if task.labels is None:
        return np.sort(rng.permutation(len(examples))[:rows])
    labels = np.asarray(examples.labels, dtype=np.int64)
    counts = np.bincount(labels, minlength=task.outputs)
    shares = counts * rows / len(examples)
    quota = np.floor(shares).astype(np.int64)
    for label in np.argsort(-(shares - quota), kind="stable")[: rows - quota.sum()]:
        quota[label] += 1
    drawn = [
        rng.permutation(np.flatnonzero(labels == label))[: quota[label]] for label in range(task.outputs)
    ]
    return np.sort(np.concatenate(drawn))


def take(examples: Examples, indices: Sequence[int] | NDArray[np.int64]) -> Examples:
    """The rows at ``indices``; no longer a whole split, so without its official number of rows."""
    chosen = [int(i) for i in indices]
    return replace(
        examples,
        ids=[examples.ids[i] for i in chosen],
        texts=[examples.texts[i] for i in chosen],
        labels=[examples.labels[i] for i in chosen],
        official_rows=None,
    )
