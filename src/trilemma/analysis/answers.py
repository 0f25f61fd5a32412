"""The items table as arrays: for each evaluated set, items down and trained models across."""

import itertools
import re
import zlib
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trilemma.analysis.candidates import candidate_names
from trilemma.errors import TrilemmaError
from trilemma.records import ATTACK
from trilemma.statistics.sums import Array

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[Any]

CLEAN = "clean"
"""The level, and the benchmark, of items that nobody attacked."""

LEVELS = ("word", "sentence", "human", "unknown")
"""Levels of attack, in the order in which they are shown."""

ADVGLUE = "advglue"
LEADERBOARDS = (ADVGLUE, f"{ADVGLUE}_test")
"""Adversarial benchmarks that are aggregated by AdvGLUE's rule, which counts F1 too."""

OWN_SETS = "own sets"
"""The benchmark that all of a user's adversarial sets are: their mean by task, then over tasks."""

ATTACKS = "attacks"
"""The benchmark that a study's attacks are together, beside each of them alone."""

COLUMNS = [
    *("model", "adaptation", "seed", "task", "set", "id", "level", "method", "origin", "labels", "gold"),
    *("answer", "original_answer"),
]
"""Columns of the items table that are read here; texts and probabilities are not."""


@dataclass(frozen=True, eq=False)
class AnswerMatrix:
    """All answers to one evaluated set: N items, M columns (one for each candidate and seed).

    Attributes:
        task: task name.
        set: the split or adversarial set.
        benchmark: ``clean``, or what the set belongs to (:func:`benchmark_of`), or :data:`ATTACKS`.
        classes: number of classes; 0 for a regression.
        level: N names.
        method: N names.
        cluster: N labels; adversarial items made from one source share theirs across a task's sets.
        gold: [N], NaN where unpublished.
        answer: [N, M], NaN where a column did not answer the item.
        original: [N, M], answers to the clean originals, NaN where there is none.
        candidate: M names.
        seed: M seeds, -1 for none.
    """

    task: str
    set: str
    benchmark: str
    classes: int
    level: Labels
    method: Labels
    cluster: npt.NDArray[np.intp]
    gold: Array
    answer: Array
    original: Array
    candidate: Labels
    seed: Labels

    def rows(self, mask: Mask) -> "AnswerMatrix":
        """The matrix of some items."""
        names = ("level", "method", "cluster", "gold", "answer", "original")
        return replace(self, **{name: getattr(self, name)[mask] for name in names})

    def columns(self, chosen: Sequence[int] | npt.NDArray[np.intp]) -> "AnswerMatrix":
        """The matrix of some columns, with the items that all of them answered."""
        kept = list(chosen)
        matrix = replace(
            self,
            answer=self.answer[:, kept],
            original=self.original[:, kept],
            candidate=self.candidate[kept],
            seed=self.seed[kept],
        )
        return matrix.rows(np.asarray(~np.isnan(matrix.answer).any(axis=1)))

    def of(self, candidate: str) -> list[int]:
        """The columns of a candidate, by seed."""
        own = np.flatnonzero(self.candidate == candidate)
        return [int(column) for column in own[np.argsort(self.seed[own], kind="stable")]]

    def at(self, level: str, method: str = "") -> "AnswerMatrix":
        """The items of one level (``all`` and ``clean`` for every item) and method ("" for every one)."""
        mask = np.ones(len(self.gold), dtype=bool)
        if level not in ("all", CLEAN):
            mask &= self.level == level
        if method:
            mask &= self.method == method
        return self if mask.all() else self.rows(mask)

    @property
    def levels(self) -> list[str]:
        """``clean``; or ``all`` and the levels that have items."""
        if self.benchmark == CLEAN:
            return [CLEAN]
        return ["all", *(level for level in LEVELS if (self.level == level).any())]


def align(sets: Sequence[AnswerMatrix], names: Sequence[str]) -> tuple[list[AnswerMatrix], list[range]]:
    """One task's sets with the same columns: each candidate's seeds that answered all sets.

    Returns:
        The matrices, with the items that all of these columns answered, and each candidate's columns.
    """
    seeds = {
        name: set.intersection(*({int(matrix.seed[c]) for c in matrix.of(name)} for matrix in sets))
        for name in names
    }
    aligned = [
        matrix.columns([c for name in names for c in matrix.of(name) if matrix.seed[c] in seeds[name]])
        for matrix in sets
    ]
    ends = itertools.accumulate((len(own) for own in seeds.values()), initial=0)
    return aligned, list(itertools.starmap(range, itertools.pairwise(ends)))


def resampling_seed(matrix: AnswerMatrix) -> int:
    """Seed of the random numbers that resample a task's benchmark: tasks are resampled independently."""
    return zlib.crc32(f"{matrix.task} {matrix.benchmark}".encode())


def benchmark_of(name: str) -> str:
    """What an adversarial set belongs to: AdvGLUE, ANLI, the user's own sets; an attack stands alone."""
    if name.startswith("adv_"):
        return f"{ADVGLUE}_test" if name.endswith("_test") else ADVGLUE
    if name.startswith(ATTACK):
        return name
    return "anli" if re.fullmatch(r"anli_r\d+", name) else OWN_SETS


def within(name: str, benchmark: str) -> bool:
    """Whether an adversarial set is one of a benchmark's."""
    return benchmark == benchmark_of(name) or (benchmark == ATTACKS and name.startswith(ATTACK))


def answer_matrices(items: pd.DataFrame) -> list[AnswerMatrix]:
    """All sets of the items table in order of appearance, several attacks once more as one benchmark.

    Texts and probabilities are not needed.
    """
    rows = items[[name for name in COLUMNS if name not in ("model", "adaptation", "labels")]]
    names = candidate_names(items)
    model, models = pd.factorize(items["model"])
    adaptation, adaptations = pd.factorize(items["adaptation"])
    table = np.array([[names.get((m, a), m) for a in adaptations] for m in models], dtype=object)
    rows = rows.assign(
        candidate=table[model, adaptation],
        seed=rows["seed"].fillna(-1).astype(int),
        place=np.arange(len(rows)),
        **{name: rows[name].astype("category") for name in ("task", "set", "level", "method")},
    )
    found = []
    for task, own in rows.groupby("task", sort=False, observed=True):
        clusters: dict[str, int] = {}
        for name, answers in own.groupby("set", sort=False, observed=True):
            labels = items["labels"].iloc[answers["place"].iloc[0]]
            classes = len(labels) if isinstance(labels, Sized) else 0  # a regression has none: None or NA
            found.append(_matrix(str(task), str(name), classes, answers, clusters))
    attacks = [matrix for matrix in found if matrix.set.startswith(ATTACK)]
    several = len({matrix.set for matrix in attacks}) > 1
    return [*found, *(replace(matrix, benchmark=ATTACKS) for matrix in attacks if several)]


def _matrix(task: str, name: str, classes: int, rows: pd.DataFrame, clusters: dict[str, int]) -> AnswerMatrix:
    """One set's matrix; ``clusters`` numbers the task's clusters and is added to."""
    item, ids = pd.factorize(rows["id"])
    candidate, seed = (pd.factorize(rows[name])[0] for name in ("candidate", "seed"))
    column, _ = pd.factorize(candidate * (int(seed.max()) + 1) + seed)
    shape = len(ids), int(column.max()) + 1
    cells = item * shape[1] + column
    if len(cells) > shape[0] * shape[1] or np.bincount(cells).max() > 1:
        raise TrilemmaError(
            f"the items of {name} ({task}) hold an answer twice; delete the run's tables and run again"
        )
    heads, owners = (rows.iloc[_first(codes)] for codes in (item, column))
    clean = bool((heads["level"] == CLEAN).all())
    origin = heads["origin"].astype(object).fillna("").astype(str).to_numpy(dtype=object)
    origin = np.where(origin == "", ids.astype(str).to_numpy(dtype=object), origin)
    prefix = f"{name}/" if clean else ""
    source, sources = pd.factorize(origin)
    numbers = [clusters.setdefault(prefix + one, len(clusters)) for one in sources]
    return AnswerMatrix(
        task=task,
        set=name,
        benchmark=CLEAN if clean else benchmark_of(name),
        classes=classes,
        level=heads["level"].to_numpy(dtype=object),
        method=heads["method"].astype(object).fillna("").to_numpy(dtype=object),
        cluster=np.array(numbers, dtype=np.intp)[source],
        gold=heads["gold"].to_numpy(dtype=float),
        answer=_grid(rows["answer"], cells, shape),
        original=_grid(rows["original_answer"], cells, shape),
        candidate=owners["candidate"].to_numpy(dtype=object),
        seed=owners["seed"].to_numpy(dtype=int),
    )


def _first(codes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Where each code stands first; codes are numbered as they appear."""
    first = np.empty(int(codes.max()) + 1, dtype=np.intp)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first


def _grid(values: "pd.Series[float]", cells: npt.NDArray[np.intp], shape: tuple[int, int]) -> Array:
    grid = np.full(shape[0] * shape[1], np.nan)
    grid[cells] = values.to_numpy(dtype=float)
    return grid.reshape(shape)
