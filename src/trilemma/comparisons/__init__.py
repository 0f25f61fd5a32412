"""Paired comparisons of candidates, computed from the items table alone.

Two candidates are compared on the items that both answered: by the exact McNemar test on clean data with
one seed each, by flipping signs (or swapping the candidates) item by item or, on adversarial sets,
origin by origin otherwise; with several seeds also over seeds. Holm adjusts over all tests that ask the
same question.
"""

from trilemma.comparisons.measures import (
    GLUE_METRICS,
    MEASURES,
    Block,
    Measure,
    defined,
    find_measure,
    scored_by,
)
from trilemma.comparisons.pairs import AVERAGE, SIGNIFICANCE, Comparison, compare, compare_all
from trilemma.comparisons.panels import CLEAN, LEVELS, Candidate, Panel, candidates, find_candidate, panels

__all__ = [
    "AVERAGE",
    "CLEAN",
    "GLUE_METRICS",
    "LEVELS",
    "MEASURES",
    "SIGNIFICANCE",
    "Block",
    "Candidate",
    "Comparison",
    "Measure",
    "Panel",
    "candidates",
    "compare",
    "compare_all",
    "defined",
    "find_candidate",
    "find_measure",
    "panels",
    "scored_by",
]
