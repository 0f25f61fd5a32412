"""Coverage of intervals, size and power of tests, beside what they claim: simulated studies.

    python benchmarks/statistics.py [--studies 200] [--only proportions,averages,...]

Each study has three candidates and two tasks. An answer is right where a sum of normal deviates is above a
threshold: of the origin (a source sentence from which several items are made), of the item, of the training
seed and of what is left. Candidates answer the same items. The truth is the share that new items and new
seeds would get right. Printed are shares over all cells of a kind; the Monte Carlo error is about 100 /
sqrt(6 * studies) * 0.2 points. Item counts are those of AdvGLUE's sets, of clean SST-2 and of an attack on
40 items.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from trilemma.analysis.answers import AnswerMatrix
from trilemma.analysis.item_metrics import ITEM_METRICS, ClusterSums
from trilemma.analysis.scores.attacks import AttackOutcome, attack_records
from trilemma.profiling.timing import quantile
from trilemma.records import Record
from trilemma.statistics.intervals import Sample, sample, seed_scatters
from trilemma.statistics.paired_tests import rounds_test, sign_flip_permutation
from trilemma.statistics.resampling import cluster_sums
from trilemma.statistics.seeds import SeedVariance
from trilemma.statistics.sums import Array, ratio

DRAWS = 400
CANDIDATES, TASKS = 3, 2
ORIGIN, ITEM, REST = 0.5, 0.5, 1.0
"""Variances on the latent scale."""

NOMINAL = (0.93, 0.97)


@dataclass(frozen=True)
class Items:
    """A set's items: the origin of each."""

    name: str
    origins: NDArray[np.int64]

    @staticmethod
    def of(name: str, items: int, origins: int) -> "Items":
        """A set of so many items, made from so many origins."""
        sizes = 1 + np.random.default_rng(0).multinomial(items - origins, np.full(origins, 1 / origins))
        return Items(name, np.repeat(np.arange(origins), sizes))


SETS = (
    Items.of("148 items, 79 origins", 148, 79),
    Items.of("81 items, 25 origins", 81, 25),
    Items.of("40 items", 40, 40),
)
CLEAN = Items.of("872 items", 872, 872)


def answers(
    random: np.random.Generator, items: Items, shares: Sequence[float], seeds: int, between: float
) -> Array:
    """Right answers [items, candidates * seeds]; ``between`` is the variance between seeds, latent."""
    label, n = items.origins, len(items.origins)
    shared = np.sqrt(ORIGIN) * random.normal(size=label.max() + 1)[label] + np.sqrt(ITEM) * random.normal(
        size=n
    )
    total = np.sqrt(ORIGIN + ITEM + REST + between)
    columns = []
    for share in shares:
        own = np.sqrt(between) * random.normal(size=seeds) + np.sqrt(REST) * random.normal(size=(n, seeds))
        columns.append(shared[:, None] + own + norm.ppf(share) * total > 0)
    return np.concatenate(columns, axis=1).astype(float)


def study(
    random: np.random.Generator, items: Items, shares: Sequence[float], seeds: int, between: float
) -> list[tuple[list[Sample], Array]]:
    """By task the candidates' samples with the study's seed variance, and their right answers."""
    groups = [range(i * seeds, (i + 1) * seeds) for i in range(len(shares))]
    right = [answers(random, items, shares, seeds, between) for _ in range(TASKS)]
    sums = [cluster_sums(np.stack([one, np.ones_like(one)], axis=-1), items.origins) for one in right]
    pooled = SeedVariance.of(cell for own in sums for cell in seed_scatters(own, groups, ratio))
    drawn = (
        sample(own, groups, ratio, seeds=pooled, draws=DRAWS, seed=int(random.integers(2**31)))
        for own in sums
    )
    return list(zip(drawn, right, strict=True))


def proportions(studies: int, random: np.random.Generator) -> Iterator[str]:
    """Coverage of one candidate's share on one task."""
    for items, seeds, between, share in itertools.product(
        SETS, (1, 2, 3, 5), (0.0, 0.05, 0.5), (0.05, 0.5, 0.9, 0.99)
    ):
        if seeds == 1 and between:
            continue
        held, widths = [], []
        for _ in range(studies):
            for samples, _ in study(random, items, [share] * CANDIDATES, seeds, between):
                for one in samples:
                    low, high = one.interval()
                    held.append(low <= share <= high)
                    widths.append(high - low)
        yield row(f"share {share}, {items.name}, {seeds} seeds, variance {between}", held, widths)


def averages(studies: int, random: np.random.Generator) -> Iterator[str]:
    """Coverage of the mean over tasks of different sizes, as AdvGLUE's five."""
    whole = [(148, 79), (121, 54), (162, 103), (148, 77), (81, 25)]
    human = [(36, 36), (25, 12), (30, 14), (5, 5), (10, 5)]
    cases = itertools.product((("all", whole), ("human", human)), (1, 2, 3), (0.0, 0.1), (0.3, 0.5, 0.9))
    for (level, sizes), seeds, between, share in cases:
        if seeds == 1 and between:
            continue
        sets = [Items.of("", *size) for size in sizes]
        held, widths = [], []
        groups = [range(i * seeds, (i + 1) * seeds) for i in range(CANDIDATES)]
        for _ in range(studies):
            right = [answers(random, items, [share] * CANDIDATES, seeds, between) for items in sets]
            sums = [
                cluster_sums(np.stack([one, np.ones_like(one)], axis=-1), items.origins)
                for one, items in zip(right, sets, strict=True)
            ]
            pooled = SeedVariance.of(cell for own in sums for cell in seed_scatters(own, groups, ratio))
            drawn = [
                sample(own, groups, ratio, seeds=pooled, draws=DRAWS, seed=int(random.integers(2**31)))
                for own in sums
            ]
            for candidate in range(CANDIDATES):
                low, high = Sample.mean([own[candidate] for own in drawn]).interval()
                held.append(low <= share <= high)
                widths.append(high - low)
        yield row(
            f"mean over five tasks, {level}, share {share}, {seeds} seeds, variance {between}", held, widths
        )


def tests(studies: int, random: np.random.Generator) -> Iterator[str]:
    """Size and power of the paired test as a claim on candidates, and the difference it says it can find."""
    cases = [(SETS[0], 0.5, (0.0, 0.1, 0.2)), (CLEAN, 0.85, (0.0, 0.03)), (SETS[2], 0.5, (0.0, 0.25))]
    for (items, share, gains), seeds, between in itertools.product(cases, (2, 3, 5), (0.0, 0.02, 0.1)):
        for gain in gains:
            found, held, widths, detectable = [], [], [], []
            for _ in range(studies):
                shares = [share + gain, share, share]
                for samples, right in study(random, items, shares, seeds, between):
                    difference = samples[0] - samples[1]
                    gap = right[:, :seeds].mean(axis=1) - right[:, seeds : 2 * seeds].mean(axis=1)
                    p = max(sign_flip_permutation(gap, items.origins), difference.p())
                    low, high = difference.interval()
                    found.append(p < 0.05)
                    held.append(low <= gain <= high)
                    widths.append(high - low)
                    detectable.append(difference.detectable(0.05))
            name = f"difference {gain:g} of {share}, {items.name}, {seeds} seeds, variance {between}"
            what = "power" if gain else "size"
            tested = f"{what} {np.mean(found):.3f}  detectable {np.median(detectable):.3f}"
            yield f"{row(name, held, widths)}  {tested}"


def row(name: str, held: Sequence[bool], widths: Sequence[float]) -> str:
    """One line: coverage, marked where it is outside 93 to 97%, and width."""
    covered = float(np.mean(held))
    mark = " " if NOMINAL[0] <= covered <= NOMINAL[1] else "<" if covered < NOMINAL[0] else ">"
    width = f"width {np.mean(widths):.3f} ({np.quantile(widths, 0.95):.2f})"
    return f"{name:64} covered {covered:.3f}{mark}  {width}"


Making = Callable[[np.random.Generator, Items, int, float], AnswerMatrix]
"""A set's answers of all candidates, from its items, the seeds of each, and the variance between them."""


def made(
    items: Items, gold: Array, answer: Array, original: Array | None = None, *, scores: bool
) -> AnswerMatrix:
    """The matrix of answers of so many candidates, each with its share of the columns."""
    n, columns = answer.shape
    names = np.array(["word"] * n, dtype=object)
    seeds = columns // CANDIDATES
    return AnswerMatrix(
        task="task",
        set="validation" if original is None else "adv_task",
        benchmark="clean" if original is None else "advglue",
        classes=0 if scores else 2,
        level=names,
        method=names,
        cluster=items.origins,
        gold=gold,
        answer=answer,
        original=np.full_like(answer, np.nan) if original is None else original,
        candidate=np.repeat(np.array([f"c{i}" for i in range(CANDIDATES)], dtype=object), seeds),
        seed=np.tile(np.arange(seeds), CANDIDATES).astype(object),
    )


def classified(share: float) -> Making:
    """Answers of two classes, a third of them positive, right with this chance."""

    def make(random: np.random.Generator, items: Items, seeds: int, between: float) -> AnswerMatrix:
        gold = (random.random(len(items.origins)) < 1 / 3).astype(float)
        right = answers(random, items, [share] * CANDIDATES, seeds, between)
        return made(items, gold, np.where(right > 0, gold[:, None], 1 - gold[:, None]), scores=False)

    return make


def attacked(random: np.random.Generator, items: Items, seeds: int, between: float) -> AnswerMatrix:
    """Answers of which 85% are right before an attack and 45% after it."""
    gold = np.ones(len(items.origins))
    before, after = (answers(random, items, [share] * CANDIDATES, seeds, between) for share in (0.85, 0.45))
    return made(items, gold, after, before, scores=False)


def scored(random: np.random.Generator, items: Items, seeds: int, between: float) -> AnswerMatrix:
    """Numbers that correlate with the published ones."""
    n, columns = len(items.origins), CANDIDATES * seeds
    gold = random.normal(size=n)
    noise = np.exp(np.sqrt(between) * random.normal(size=columns))
    return made(items, gold, gold[:, None] + noise * random.normal(size=(n, columns)), scores=True)


METRIC_CASES: tuple[tuple[str, Making, Items], ...] = (
    ("f1", classified(0.8), Items.of("78 items, 33 origins", 78, 33)),
    ("matthews", classified(0.7), Items.of("1,043 items", 1043, 1043)),
    ("pearson", scored, Items.of("1,500 items", 1500, 1500)),
    ("pearson", scored, Items.of("100 items", 100, 100)),
    ("spearman", scored, Items.of("1,500 items", 1500, 1500)),
    ("spearman", scored, Items.of("100 items", 100, 100)),
    ("attack_success_rate", attacked, SETS[0]),
    ("attack_success_rate", attacked, SETS[1]),
    ("accuracy_drop", attacked, SETS[0]),
)


def metrics(studies: int, random: np.random.Generator) -> Iterator[str]:
    """Coverage of what is no share of all items; the truth is the mean over many seeds on many items."""
    for (name, make, items), seeds, between in itertools.product(METRIC_CASES, (1, 2, 3), (0.0, 0.05)):
        if seeds == 1 and between:
            continue
        metric, groups = ITEM_METRICS[name], [range(i * seeds, (i + 1) * seeds) for i in range(CANDIDATES)]
        many = make(random, Items.of("", 20_000, 20_000), 20, between)
        truth = float(np.mean(metric.statistic(metric.contributions(many).sum(axis=0))))
        held, widths = [], []
        for _ in range(studies):
            sums = [ClusterSums.of([make(random, items, seeds, between)], [metric]) for _ in range(TASKS)]
            cells = (seed_scatters(one.sums, groups, one.statistic, kind=one.kind) for one in sums)
            pooled = SeedVariance.of(cell for own in cells for cell in own)
            for one in sums:
                for found in one.samples(groups, pooled, DRAWS):
                    low, high = found.interval()
                    held.append(low <= truth <= high)
                    widths.append(high - low)
        yield row(f"{name}, {items.name}, {seeds} seeds, variance {between}", held, widths)


def amounts(studies: int, random: np.random.Generator) -> Iterator[str]:
    """Coverage of means over an attack's successes: lognormal queries of two attacks on each candidate."""
    truth, deviation = 12.0, 0.7
    for successes, seeds, between in itertools.product((5, 8, 15, 30), (1, 2, 3), (0.0, 0.2)):
        if seeds == 1 and between:
            continue
        held, widths = [], []
        for _ in range(studies):
            runs = []
            for model, recipe, seed in itertools.product(range(CANDIDATES), "xy", range(seeds)):
                own = truth * np.exp(between * random.normal() - between**2 / 2)
                drawn = own * np.exp(deviation * random.normal(size=successes) - deviation**2 / 2)
                where = {"model": f"m{model}", "set": f"attack:{recipe}", "method": recipe, "seed": seed}
                record = Record(axis="R", metric="", status="failed", reason="-", **where)
                rows = [SUCCESS | {"id": str(i), "queries": float(one)} for i, one in enumerate(drawn)]
                runs.append(AttackOutcome(record, rows))
            for found in attack_records(runs):
                if found.metric != "queries_per_success" or found.seed is not None or found.low is None:
                    continue
                assert found.high is not None
                held.append(found.low <= truth <= found.high)
                widths.append((found.high - found.low) / truth)
        yield row(f"mean of an amount, {successes} successes, {seeds} seeds, sd {between}", held, widths)


SUCCESS = {
    "attacked": True,
    "success": True,
    "words_changed": 0.1,
    "similarity": None,
    "perplexity_ratio": None,
}

NOISES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "lognormal": lambda random, n: np.exp(0.05 * random.normal(size=n)),
    "heavy tails": lambda random, n: 1 + 0.05 * np.abs(random.standard_t(2, size=n)),
}


def timings(studies: int, random: np.random.Generator) -> Iterator[str]:
    """Coverage of medians and 95th percentiles of times; size and power of the test by round, under drift."""
    for (name, noise), share, n in itertools.product(NOISES.items(), (0.5, 0.95), (6, 8, 20, 50, 72, 200)):
        if share == 0.95 and n < 72:
            continue
        truth = float(np.quantile(noise(random, 400_000), share))
        held, widths = [], []
        for _ in range(20 * studies):
            _, low, high, _ = quantile(list(noise(random, n)), share)
            if low is not None and high is not None:
                held.append(low <= truth <= high)
                widths.append((high - low) / truth)
        yield row(f"quantile {share} of {n} times, {name}", held, widths)
    for (name, noise), n, slower in itertools.product(NOISES.items(), (6, 20, 50), (1.0, 1.05)):
        found = []
        for _ in range(20 * studies):
            drift = np.exp(np.cumsum(0.05 * random.normal(size=n)))  # what happens to a round happens to both
            found.append(rounds_test(drift * noise(random, n) * slower, drift * noise(random, n))[-1] < 0.05)
        what = "size" if slower == 1 else "power at 5%"
        yield f"{f'test by round, {n} rounds, {name}':64} {what} {np.mean(found):.3f}"


PARTS: dict[str, Callable[[int, np.random.Generator], Iterator[str]]] = {
    "proportions": proportions,
    "averages": averages,
    "tests": tests,
    "metrics": metrics,
    "amounts": amounts,
    "timings": timings,
}


def main() -> None:
    """Print one line per cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=200, help="simulated studies per cell")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by comma")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.only.split(","):
        for line in PARTS[name](options.studies, np.random.default_rng(options.seed)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
