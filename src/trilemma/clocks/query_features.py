"""Features of a query that cost nothing to compute, how they go with its energy, and classes by them.

Those of "Investigating Energy Efficiency and Performance Trade-offs in LLM Inference Across Tasks and DVFS
Settings": length, entropy, density of named entities, type-token ratio. Named entities are found by their
capitals alone, which is a heuristic for English.
"""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from trilemma.errors import DeployError

_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_ENDS = re.compile(r"[.!?:\n]")
_PRONOUN = re.compile(r"I(?:['’].*)?")

Tokenize = Callable[[str], Sequence[Hashable]]
"""A text's tokens, for instance a tokenizer's numbers."""


@dataclass(frozen=True)
class QueryFeatures:
    """Features of one text.

    Attributes:
        length: tokens.
        entropy: Shannon's, of the histogram of tokens, in bits; 0 for at most one kind of token.
        entity_density: named entities a word.
        type_token_ratio: different tokens a token; 0 for an empty text.
    """

    length: int
    entropy: float
    entity_density: float
    type_token_ratio: float


def words_and_marks(text: str) -> list[str]:
    """Words, and every other mark by itself, in lower case: the tokens where no tokenizer is given."""
    return _TOKEN.findall(text.lower())


def query_features(text: str, tokenize: Tokenize = words_and_marks) -> QueryFeatures:
    """Features of a text; the same for the same text."""
    counts = Counter(tokenize(text))
    length = counts.total()
    # Sorted, so that the sum does not depend on the order of the tokens.
    shares = [count / length for count in sorted(counts.values())]
    words = len(_WORD.findall(text))
    return QueryFeatures(
        length=length,
        entropy=max(0.0, -math.fsum(share * math.log2(share) for share in shares)),
        entity_density=named_entities(text) / words if words else 0.0,
        type_token_ratio=len(counts) / length if length else 0.0,
    )


def named_entities(text: str) -> int:
    """Runs of capitalised words, but for a single one that begins a sentence, and for "I"."""
    runs: list[tuple[int, bool]] = []  # words, and whether the first begins a sentence
    end, running = 0, False
    for match in _WORD.finditer(text):
        between = text[end : match.start()]
        if not match[0][0].isupper() or _PRONOUN.fullmatch(match[0]):
            running = False
        elif running and between == " ":
            words, begins = runs[-1]
            runs[-1] = (words + 1, begins)
        else:
            runs.append((1, end == 0 or bool(_SENTENCE_ENDS.search(between))))
            running = True
        end = match.end()
    return sum(words > 1 or not begins for words, begins in runs)


class Correlation(NamedTuple):
    """Of a feature with something measured, with two-sided p values; None where one of them is constant."""

    pearson: float | None
    pearson_p: float | None
    spearman: float | None
    spearman_p: float | None
    n: int


def correlations(features: Sequence[QueryFeatures], values: Sequence[float]) -> dict[str, Correlation]:
    """Pearson's and Spearman's correlation of each feature with a value a query, for instance joules.

    Args:
        features: of the queries.
        values: of the same queries; 0 and 1 where it is whether the answer was right.

    Raises:
        DeployError: where the numbers differ or are below three.
    """
    from scipy.stats import pearsonr, spearmanr

    if len(features) != len(values) or len(values) < 3:
        raise DeployError(
            f"{len(features)} queries and {len(values)} values do not correlate; give three or more pairs"
        )
    found = {}
    for name in asdict(features[0]):
        own = [float(getattr(one, name)) for one in features]
        if len(set(own)) == 1 or len(set(values)) == 1:
            found[name] = Correlation(None, None, None, None, len(own))
            continue
        linear, ranked = pearsonr(own, values), spearmanr(own, values)
        found[name] = Correlation(
            float(linear.statistic),
            float(linear.pvalue),
            float(ranked.statistic),
            float(ranked.pvalue),
            len(own),
        )
    return found


@dataclass(frozen=True)
class QueryClasses:
    """Classes of queries by one feature.

    Attributes:
        feature: its name.
        bounds: a query is of class i where i bounds are at most its value; ascending.
        tokenize: as the bounds were found with.
    """

    feature: str
    bounds: tuple[float, ...]
    tokenize: Tokenize = words_and_marks

    @property
    def count(self) -> int:
        """How many classes there are."""
        return len(self.bounds) + 1

    def of(self, query: str) -> int:
        """The class of a query: 0 for the lowest values."""
        return bisect_right(self.bounds, getattr(query_features(query, self.tokenize), self.feature))


def query_classes(
    queries: Sequence[str],
    joules: Sequence[float],
    *,
    classes: int = 3,
    tokenize: Tokenize = words_and_marks,
) -> QueryClasses:
    """Classes by the feature whose ranks go best with energy, each with about as many of these queries.

    Args:
        queries: texts.
        joules: energy of each.
        classes: at most how many; fewer where too many queries share a value.
        tokenize: a text's tokens.

    Raises:
        DeployError: as :func:`correlations`, and where no feature varies.
    """
    if classes < 1:
        raise DeployError(f"{classes} classes of queries are none; give at least 1")
    if not all(math.isfinite(one) for one in joules):
        raise DeployError("an energy of a query is no number; leave that query out")
    features = [query_features(query, tokenize) for query in queries]
    strengths = {
        name: round(abs(one.spearman), 9)  # rounding must not decide between equals
        for name, one in correlations(features, joules).items()
        if one.spearman is not None
    }
    if not strengths:
        raise DeployError("all queries have the same features or the same energy; give queries that differ")
    feature = max(strengths, key=lambda name: strengths[name])
    ordered = sorted(float(getattr(one, feature)) for one in features)
    bounds: list[float] = []
    for index in range(1, classes):
        lowest, quantile = [ordered[0], *bounds][-1], ordered[len(ordered) * index // classes]
        bounds += [value for value in ordered if value > lowest and value >= quantile][:1]
    return QueryClasses(feature, tuple(bounds), tokenize)
