"""Nearest neighbours of a word in a matrix of word vectors."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import AttackError

REMEDY = "give a file of lines `word number ... number`, as word2vec (text format) and GloVe write it"

BLOCK_ROWS = 1 << 15
"""Rows of the matrix that are compared at a time: their cosines with a block of words fit into a cache."""

BLOCK_WORDS = 64
"""Words that are compared at a time."""

SPARE = 8
"""Additional neighbours that are computed, since the fast cosines that choose them are not quite exact."""

MOST_WIDTH = 10_000
"""Largest width of a vector; a line with more numbers is not a word's vector."""


class WordVectors:
    """Neighbours of words by the cosine of their vectors: a service of words.

    Args:
        words: one per row; of equal words the first counts.
        matrix: [words, width]; rows are scaled to length 1 in place, rows of zeros have no neighbours.
        most: neighbours per word.
        least: their least cosine, -1 to 1.
    """

    def __init__(
        self, words: Sequence[str], matrix: NDArray[np.float32], most: int = 50, least: float = 0.5
    ) -> None:
        self.words, self.matrix, self.most, self.least = words, matrix, most, least
        self._rows: dict[str, int] = {}
        for row, word in enumerate(words):
            self._rows.setdefault(word, row)
        for start in range(0, len(matrix), BLOCK_ROWS):
            block = matrix[start : start + BLOCK_ROWS]
            block /= np.maximum(np.abs(block).max(axis=1, keepdims=True, initial=0), 1e-30)
            block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-30)
        self._known: dict[int, tuple[str, ...]] = {}

    def __call__(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """Neighbours of each word, the nearest first; none of a word that has no vector.

        A word is looked up as it is written, then in lower case.
        """
        rows = [self._rows.get(word, self._rows.get(word.lower())) for word in words]
        new = [row for row in dict.fromkeys(rows) if row is not None and row not in self._known]
        for start in range(0, len(new), BLOCK_WORDS):
            some = new[start : start + BLOCK_WORDS]
            self._known.update(zip(some, self._nearest(some), strict=True))
        return [() if row is None else self._known[row] for row in rows]

    def _nearest(self, rows: list[int]) -> list[tuple[str, ...]]:
        queries = self.matrix[rows]
        wanted = self.most + SPARE + 1  # the word itself is among them
        places = np.empty((len(rows), 0), np.int64)
        cosines = np.empty((len(rows), 0), np.float32)
        for start in range(0, len(self.matrix), BLOCK_ROWS):
            block = queries @ self.matrix[start : start + BLOCK_ROWS].T
            here = np.arange(start, start + block.shape[1])
            places = np.concatenate([places, np.broadcast_to(here, block.shape)], axis=1)
            cosines = np.concatenate([cosines, block], axis=1)
            if places.shape[1] > wanted:
                kept = np.argpartition(-cosines, wanted - 1, axis=1)[:, :wanted]
                places = np.take_along_axis(places, kept, 1)
                cosines = np.take_along_axis(cosines, kept, 1)
        return [self._ordered(row, near) for row, near in zip(rows, places, strict=True)]

    def _ordered(self, row: int, near: NDArray[np.int64]) -> tuple[str, ...]:
        """The nearest rows as words, by cosines that do not depend on the other words asked about."""
        near = np.sort(near)
        exact = (self.matrix[near].astype(np.float64) * self.matrix[row].astype(np.float64)).sum(axis=1)
        found = {self.words[row].lower(): ""}
        for i in np.argsort(-exact, kind="stable"):
            word = self.words[int(near[i])]
            if exact[i] >= self.least and self.matrix[near[i]].any():
                found.setdefault(word.lower(), word)
        return tuple(found.values())[1 : self.most + 1]


def read_vectors(path: str | Path) -> tuple[list[str], NDArray[np.float32]]:
    """Words and their vectors [words, width] from a text file, with word2vec's header or without.

    Raises:
        AttackError: if the file cannot be read, or a line is not a word and a vector of the common width.
    """
    words: list[str] = []
    blocks: list[NDArray[np.float32]] = []
    block: list[NDArray[np.float32]] = []
    try:
        with Path(path).open(encoding="utf-8", errors="replace", newline="\n") as lines:
            for word, vector in _rows(path, lines):
                words.append(word)
                block.append(vector)
                if len(block) == BLOCK_ROWS:
                    blocks.append(np.stack(block))
                    block.clear()
    except (OSError, ValueError) as error:
        raise AttackError(f"word vectors cannot be read ({error}); {REMEDY}") from error
    if block:
        blocks.append(np.stack(block))
    if not words:
        raise AttackError(f"{path} contains no word vectors; {REMEDY}")
    return words, np.concatenate(blocks)


def _rows(path: str | Path, lines: Iterator[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    width: int | None = None
    for number, line in enumerate(lines, start=1):
        fields = line.strip(" \r\n").split(" ")
        if number == 1 and len(fields) == 2 and re.fullmatch(r"[0-9]{1,12} [0-9]{1,12}", " ".join(fields)):
            width = int(fields[1])
            continue
        if fields == [""]:
            continue
        width = len(fields) - 1 if width is None else width
        if not 0 < width <= MOST_WIDTH:
            raise AttackError(f"{path}, line {number}: {width} numbers are not a word's vector; {REMEDY}")
        # GloVe has words that contain spaces, so the numbers are the last fields.
        word, numbers = fields[:-width], fields[-width:]
        if not word or any(map(_is_number, word[1:])):
            raise AttackError(f"{path}, line {number}: not {width} numbers; {REMEDY}")
        try:
            vector = np.array(numbers, np.float32)
        except ValueError as error:
            raise AttackError(f"{path}, line {number}: {str(error)[:100]}; {REMEDY}") from error
        if not np.isfinite(vector).all():
            raise AttackError(f"{path}, line {number}: a number that is not finite; {REMEDY}")
        yield " ".join(word), vector


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
