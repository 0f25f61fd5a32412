"""A frequency for each phase by the length of a query.

"Investigating Energy Efficiency and Performance Trade-offs in LLM Inference Across Tasks and DVFS Settings"
gives classes of queries frequencies of their own, by features such as length and entropy. What a phase takes
at a frequency is measured by length here, so length alone can decide: each query runs as the nearest measured
length does best.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from trilemma.clocks.choose import SLOWDOWN, FrequencyChoice, Phases, clocks_in_words, frequency_by_phase
from trilemma.errors import DeployError

LARGEST_FILE = 64 << 20
"""Bytes of a file of queries that is read."""

_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")

Tokenize = Callable[[str], Sequence[object]]
"""A text's tokens, for instance a tokenizer's numbers."""


def words_and_marks(text: str) -> list[str]:
    """Words, and every other mark by itself: the tokens where there is no tokenizer."""
    return _TOKEN.findall(text)


def read_queries(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        DeployError: where it cannot be read, or holds no query.
    """
    try:
        if not path.is_file():
            raise DeployError(f"{path} is not a file; give a text file of one query per line")
        if path.stat().st_size > LARGEST_FILE:
            raise DeployError(f"{path} is larger than {LARGEST_FILE >> 20} MiB; give a sample of the queries")
        queries = [line for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"{path} is not a text file that can be read; give one query per line") from error
    if not queries or any("\0" in query for query in queries):
        raise DeployError(f"{path} holds no queries; give a text file of one query per line")
    return queries


@dataclass(frozen=True)
class LengthClass:
    """Queries of one range of lengths.

    Attributes:
        measured: tokens of the measured length that is nearest to theirs, by ratio.
        low, high: bounds of the range in tokens; a query is of the class from ``low`` to below ``high``.
        count: queries of the class.
        choice: what their phases should run at.
    """

    measured: int
    low: float
    high: float
    count: int
    choice: FrequencyChoice


def length_classes(
    queries: Sequence[str],
    measured: Mapping[int, Phases],
    slowdown: float = SLOWDOWN,
    tokenize: Tokenize = words_and_marks,
) -> list[LengthClass]:
    """The frequencies for queries of each measured length, shortest first.

    Args:
        queries: texts.
        measured: settings of each phase, by length of the input in tokens.
        slowdown: share of time that may be added to each phase.
        tokenize: a text's tokens.
    """
    known, lengths = sorted(measured), [len(tokenize(query)) for query in queries]
    bounds = [0.0, *(math.sqrt(a * b) for a, b in pairwise(known)), math.inf]
    return [
        LengthClass(
            length,
            low,
            high,
            sum(low <= one < high for one in lengths),
            frequency_by_phase(measured[length], slowdown),
        )
        for length, (low, high) in zip(known, pairwise(bounds), strict=True)
    ]


def sentences(classes: Sequence[LengthClass]) -> Iterator[str]:
    """What queries of each length should run at, and what that saves over all of them."""
    total = sum(one.count for one in classes)
    for one in classes:
        end = "" if one.high == math.inf else f" to below {math.ceil(one.high):,}"
        where = f"from {math.ceil(one.low):,}{end} tokens" if one.low or end else "of any length"
        run = f"{clocks_in_words(one.choice.settings)}; saves {one.choice.saving:.0%}"
        yield f"{where} ({one.count:,} of {total:,} queries, as measured at {one.measured:,}): {run}"
    fastest = sum(one.count * one.choice.joules / (1 - one.choice.saving) for one in classes)
    if fastest:
        saved = 1 - sum(one.count * one.choice.joules for one in classes) / fastest
        yield f"over all {total:,} queries this saves {saved:.0%} of the energy"
