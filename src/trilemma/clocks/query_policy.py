"""Classes of queries by what is seen of a query before it runs, and a frequency for each phase of each class.

After "Investigating Energy Efficiency and Performance Trade-offs in LLM Inference Across Tasks and DVFS
Settings". The energy of a query is here that of its length: read off between the measured lengths, at the
highest frequency, on a straight line of logarithms. So length tells classes apart best unless queries tie;
whoever has measured each query gives the joules to :func:`trilemma.clocks.query_features.query_classes`.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trilemma.clocks.choose import Phases, QueryPolicy, frequency_by_class
from trilemma.clocks.query_features import (
    Correlation,
    Tokenize,
    correlations,
    query_classes,
    query_features,
    words_and_marks,
)
from trilemma.errors import DeployError

LARGEST_FILE = 64 << 20
"""Bytes of a file of queries."""


@dataclass(frozen=True)
class ClassedQueries:
    """Queries in classes, with what was chosen for each.

    Attributes:
        policy: tells a query's class and its frequencies.
        counts: queries of each class.
        lengths: the measured length that stands for each class: the nearest to its median.
        correlations: of each feature with energy.
    """

    policy: QueryPolicy
    counts: tuple[int, ...]
    lengths: tuple[int, ...]
    correlations: Mapping[str, Correlation]


def read_queries(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        DeployError: where it cannot be read, or holds fewer than three.
    """
    try:
        if not path.is_file():
            raise DeployError(f"{path} is no file; give a text file of one query a line")
        if path.stat().st_size > LARGEST_FILE:
            raise DeployError(f"{path} is larger than {LARGEST_FILE >> 20} MiB; give a sample of the queries")
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"{path} is no text file that can be read; give one query a line") from error
    queries = [line for line in lines if line.strip()]
    if any("\0" in line for line in queries):
        raise DeployError(f"{path} is no text file that can be read; give one query a line")
    if len(queries) < 3:
        raise DeployError(f"{path} holds {len(queries)} queries; give three or more, one a line")
    return queries


def class_queries(
    queries: Sequence[str],
    measured: Mapping[int, Phases],
    slowdown: float,
    tokenize: Tokenize = words_and_marks,
) -> ClassedQueries:
    """Classes of queries and the frequencies of each.

    Args:
        queries: texts.
        measured: settings of each phase, by length of the input in tokens.
        slowdown: share of time that may be added to each phase of each class.
        tokenize: a text's tokens.

    Raises:
        DeployError: where nothing tells the queries apart, or nothing was measured at two lengths.
    """
    if len(measured) < 2:
        raise DeployError("classes of queries need two or more lengths; give them by --length, e.g. 32,512")
    features = [query_features(query, tokenize) for query in queries]
    shortest, longest = min(measured), max(measured)
    if all(one.length <= shortest for one in features) or all(one.length >= longest for one in features):
        raise DeployError(
            f"all queries are beyond the measured lengths, {shortest} to {longest}; measure at theirs, "
            f"{min(one.length for one in features)} to {max(one.length for one in features)}"
        )
    joules = _joules_at([one.length for one in features], measured)
    classes = query_classes(queries, joules, tokenize=tokenize)
    members: list[list[int]] = [[] for _ in range(classes.count)]
    for query, one in zip(queries, features, strict=True):
        members[classes.of(query)].append(one.length)
    lengths = [_nearest(statistics.median(own), measured) for own in members]
    phases = {number: measured[length] for number, length in enumerate(lengths)}
    return ClassedQueries(
        frequency_by_class(classes, phases, slowdown),
        tuple(map(len, members)),
        tuple(lengths),
        correlations(features, joules),
    )


def _joules_at(lengths: Sequence[int], measured: Mapping[int, Phases]) -> list[float]:
    """Energy of an answer at the highest frequency; beyond the measured lengths that of the last one."""
    known = sorted(measured)
    joules = [
        math.fsum(max(settings, key=lambda one: one.mhz).joules for settings in measured[length].values())
        for length in known
    ]
    at = np.interp(np.log(np.maximum(lengths, 1)), np.log(known), np.log(joules))
    return [float(one) for one in np.exp(at)]


def _nearest(length: float, measured: Mapping[int, Phases]) -> int:
    return min(measured, key=lambda one: abs(math.log(one / max(length, 1))))
