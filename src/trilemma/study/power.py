"""What difference a study can resolve, from its items, seeds and candidates alone, before anything is spent.

The smallest difference that its test finds with 80% power, after the correction for all tests of the study
(:class:`trilemma.analysis.comparisons.Comparisons`). What is not known before is taken as usual: two
candidates that are right on half of the items each, and agree on them half of the way from chance to always;
half of what they disagree on differs from seed to seed; accuracies of seeds scatter by three points, under
attack by five.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from trilemma.analysis.answers import CLEAN, LEVELS, benchmark_of
from trilemma.analysis.comparisons import FAMILY, HEADLINE_SHARE, SIGNIFICANCE
from trilemma.study.graph import Graph

POWER = 0.8
"""How often the difference is found."""

DISAGREEMENT = 0.25
"""Variance of the difference of two candidates' right answers on one item."""

SEED_SCATTER = {True: 0.03, False: 0.05}
"""Standard deviation of the accuracies of one candidate's seeds, on clean text and under attack."""


class Resolution(NamedTuple):
    """What can be told apart on one set of items.

    Attributes:
        what: the benchmark, and the level of attack where it is not all.
        items: of all tasks.
        difference: the smallest difference of the means over tasks that is found.
    """

    what: str
    items: int
    difference: float


class _Items(NamedTuple):
    """One task's items of a benchmark at a level, and the independent sources that they come from."""

    benchmark: str
    level: str
    task: str
    items: int
    sources: int


def resolutions(graph: Graph) -> list[Resolution]:
    """One for clean text, then one for each adversarial benchmark and level; none for a single candidate."""
    study, found = graph.study, list(_items(graph))
    candidates = len({(one.model, one.adaptation) for one in graph.adapted})
    pairs, seeds = candidates * (candidates - 1) // 2, len(study.seeds)
    groups: dict[tuple[str, str], list[_Items]] = {}
    for one in found:
        groups.setdefault((one.benchmark, one.level), []).append(one)
    benchmarks = len({benchmark for benchmark, _ in groups})
    # By level, by task, and by task and level; robust accuracy and success rate are two metrics.
    metrics = {name: 1 if name == CLEAN else len(FAMILY) - 1 for name, _ in groups}
    others = sum((1 + len(own)) * metrics[name] for (name, _), own in groups.items())
    result = []
    for (benchmark, level), own in groups.items() if pairs else ():
        ranked = level in ("", "all")
        share = HEADLINE_SHARE / benchmarks if ranked else (1 - HEADLINE_SHARE) / max(others - benchmarks, 1)
        difference = _difference(own, seeds, candidates, SIGNIFICANCE * share / pairs)
        what = benchmark if ranked else f"{benchmark}, {level} level"
        result.append(Resolution(what, sum(one.items for one in own), difference))
    return result


def _difference(own: list[_Items], seeds: int, candidates: int, alpha: float) -> float:
    from scipy.special import stdtrit

    of_items = sum(DISAGREEMENT * (1 + 1 / seeds) / (one.items + one.sources) for one in own)
    scatter = SEED_SCATTER[own[0].benchmark == CLEAN]
    of_seeds = len(own) * 2 * scatter**2 / seeds if seeds > 1 else 0.0
    spread = of_items**2 / sum(one.sources for one in own)
    if seeds > 1:
        spread += of_seeds**2 / (candidates * len(own) * (seeds - 1))
    degrees = (of_items + of_seeds) ** 2 / spread
    quantiles = stdtrit(degrees, 1 - alpha / 2) + stdtrit(degrees, POWER)
    return min(1.0, float(quantiles) * math.sqrt(of_items + of_seeds) / len(own))


def _items(graph: Graph) -> Iterator[_Items]:
    """What is evaluated, task by task."""
    study, data = graph.study, graph.data
    for task in (spec.name for spec in study.tasks):
        clean = [len(examples) for examples in data.evaluation(task)]
        yield _Items(CLEAN, "", task, sum(clean), sum(clean))
        by_level: dict[tuple[str, str], list[str]] = {}
        for examples in data.adversarial(task):
            benchmark = benchmark_of(examples.split)
            for origin, level in zip(examples.origins, examples.levels, strict=True):
                by_level.setdefault((benchmark, "all"), []).append(origin)
                by_level.setdefault((benchmark, level), []).append(origin)
        order = {name: place for place, name in enumerate(("all", *LEVELS))}
        for (benchmark, own), origins in sorted(by_level.items(), key=lambda one: order[one[0][1]]):
            yield _Items(benchmark, own, task, len(origins), len(set(origins)))
        for attack in study.robustness.attacks:
            count = min(study.robustness.items, clean[0] if clean else 0)
            if count:
                yield _Items(f"attack {attack.label}", "", task, count, count)
