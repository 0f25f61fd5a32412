"""Intervals of one value, over new items (by cluster) and new training seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from trilemma.statistics.resampling import DRAWS, bootstrap_totals, cluster_sums
from trilemma.statistics.seeds import NOTHING_KNOWN, SeedScatter, SeedVariance, influences, latent_scale
from trilemma.statistics.sums import Array, Statistic, ratio

ValueKind = Literal["proportion", "fraction", "correlation", "difference", "signed_difference", "amount"]
"""What kind of number a value is: a share of items, another number in 0..1, a correlation, a difference of
two fractions (both in -1..1), a difference of two numbers in -1..1, or a mean of numbers from 0 up."""


_BOUNDS: dict[ValueKind, tuple[float, float]] = {
    "proportion": (0.0, 1.0),
    "fraction": (0.0, 1.0),
    "correlation": (-1.0, 1.0),
    "difference": (-1.0, 1.0),
    "signed_difference": (-2.0, 2.0),
    "amount": (0.0, math.inf),
}

FEW_CLUSTERS = 50
"""Clusters below which the interval of an F1 or a mean of metrics is made safer."""

_FEW_ITEMS = 5
"""Items below which a proportion's interval is the exact one: Wilson's covers 84% on three."""

_CLUSTERS_PER_ITEM = 1.5
"""Clusters for each independent item that an F1 of few clusters is taken to rest on; simulated, as
:mod:`trilemma.statistics` says."""

_SKEWED = 2 / 3
"""Share of the degrees of freedom that the variance of an amount has: that of skewed numbers scatters more.
Without it means of 5 to 30 lognormal numbers are held in 91 to 93% (``benchmarks/statistics.py``)."""

_WIDEST: tuple[ValueKind, ...] = ("signed_difference", "correlation", "difference")
"""A mean of values of several kinds is of the first of these that is among them."""

TINY_VARIANCE = 1e-18
"""A variance below this is rounding."""


class Interval(NamedTuple):
    """Limits of a confidence interval."""

    low: float
    high: float


def _quantile(confidence: float, degrees: float = math.inf) -> float:
    """Two-sided quantile of Student's t (the normal for infinite degrees of freedom)."""
    from scipy.special import ndtri, stdtrit

    level = 0.5 + confidence / 2
    return float(ndtri(level) if math.isinf(degrees) else stdtrit(degrees, level))


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (J. Am. Stat. Assoc. 1927); 0 to 1 where n is 0.

    ``n`` may be fractional: an effective sample size.
    """
    return _wilson(successes / n, n, _quantile(confidence)) if n > 0 else Interval(0.0, 1.0)


def _wilson(p: float, n: float, z: float) -> Interval:
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(max(0.0, centre - half) if p > 0 else 0.0, min(1.0, centre + half) if p < 1 else 1.0)


def _clopper_pearson(successes: float, n: float, confidence: float) -> Interval:
    """The exact interval of a proportion (Biometrika 1934), which covers at any n."""
    from scipy.special import betaincinv

    tail, failures = (1 - confidence) / 2, n - successes
    return Interval(
        float(betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0,
        float(betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0,
    )


@dataclass(frozen=True, eq=False)
class Sample:
    """A value with its bootstrap draws over clusters and its variance over training seeds.

    Samples whose draws come from one call are paired: subtract or average them before asking for an
    interval.

    Attributes:
        value: the mean over seeds.
        draws: [draws], the same mean on resampled clusters.
        clusters: clusters that contribute.
        answers: items times seeds that contribute (the denominator, for a proportion).
        scatter: (weight in the value, scatter of the seeds) of each task and model.
        kind: what kind of number the value is.
        parts: for a mean over tasks, (variance over clusters, degrees of freedom) of each task.
        seeds: what a training seed adds, pooled over the study's cells.
    """

    value: float
    draws: Array
    clusters: int
    answers: float
    scatter: tuple[tuple[float, SeedScatter], ...] = ()
    kind: ValueKind = "proportion"
    parts: tuple[tuple[float, float], ...] = ()
    seeds: SeedVariance = NOTHING_KNOWN

    def __sub__(self, other: "Sample") -> "Sample":
        """The paired difference; both samples' clusters are the same ones."""
        clusters, answers = max(self.clusters, other.clusters), max(self.answers, other.answers)
        signed = {self.kind, other.kind} - {"proportion", "fraction"}
        return Sample(
            self.value - other.value,
            self.draws - other.draws,
            clusters,
            answers,
            self.scatter + other.scatter,
            "signed_difference" if signed else "difference",
            seeds=self.seeds,
        )

    def __neg__(self) -> "Sample":
        """The difference the other way round."""
        return replace(self, value=-self.value, draws=-self.draws)

    @staticmethod
    def mean(samples: Sequence["Sample"]) -> "Sample":
        """The unweighted mean of samples of separate tasks: separate items, separately trained seeds.

        Take differences of two models before the mean, not after it.
        """
        if len(samples) == 1:
            return samples[0]
        weight = 1 / len(samples)
        kinds = {one.kind for one in samples}
        return Sample(
            weight * sum(one.value for one in samples),
            np.mean([one.draws for one in samples], axis=0),
            sum(one.clusters - 1 for one in samples) + 1,
            sum(one.answers for one in samples),
            tuple((weight * own, scatter) for one in samples for own, scatter in one.scatter),
            next((kind for kind in _WIDEST if kind in kinds), "fraction"),
            tuple((weight**2 * variance, df) for variance, df in (one._own_doubt() for one in samples)),
            samples[0].seeds,
        )

    def _own_doubt(self) -> tuple[float, float]:
        """Variance over clusters of a task in a mean over tasks, and its degrees of freedom.

        A share without scatter has that of the share with two right and two wrong clusters added (Agresti &
        Coull, Am. Stat. 1998). An F1 of few clusters, and what else shows no scatter, has that of a normal
        that reaches the farther limit of its own interval.
        """
        scatters = self.clusters > 1 and self._item_variance > TINY_VARIANCE
        if scatters and not (self.kind == "fraction" and self.clusters < FEW_CLUSTERS):
            return self._item_variance, self.clusters - 1
        if self.clusters > 1 and self.kind == "proportion":
            share = (self.value * self.clusters + 2) / (self.clusters + 4)
            return share * (1 - share) / (self.clusters + 4), self.clusters - 1
        low, high = replace(self, scatter=()).interval()
        return (max(self.value - low, high - self.value) / _quantile(0.95)) ** 2, math.inf

    @property
    def variance(self) -> tuple[float, float]:
        """Variance over clusters and seeds, and Satterthwaite's degrees of freedom."""
        terms = [*(self.parts or [(self._item_variance, self.clusters - 1)]), self._of_seeds]
        total = sum(term for term, _ in terms)
        spread = sum(term**2 / df for term, df in terms if df > 0)
        return total, total**2 / spread if spread > 0 else max(self.clusters - 1, 1)

    @property
    def _of_seeds(self) -> tuple[float, float]:
        """Variance over seeds of the value, what items explain of it included, and its degrees of freedom."""
        several = [(weight, one) for weight, one in self.scatter if one.seeds > 1 or self.seeds.degrees]
        return sum(weight**2 * self.seeds.of_mean(one) for weight, one in several), self.seeds.degrees

    @property
    def _item_variance(self) -> float:
        """Variance over clusters that the seeds share: what each seed errs on by itself is in the seeds'."""
        usable = self.draws[np.isfinite(self.draws)]
        if self.clusters < 2 or len(usable) == 0:
            return 0.0
        drawn = float(usable.var()) * self.clusters / (self.clusters - 1)
        own = sum(weight**2 * one.of_items / one.seeds for weight, one in self.scatter)
        return max(drawn - own, 0.0)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Confidence interval of the value over new items, and over new seeds where there are several.

        Where the data show no scatter at all (every item right, no item changed, constant answers) the
        clusters count as that many independent items: the interval never has zero width. A single cluster
        says nothing about the scatter over clusters: the interval is all that the value can be.
        """
        kind = self.kind
        if math.isnan(self.value):
            return Interval(math.nan, math.nan)
        if self.clusters < 2 and not self.parts:
            return Interval(*_BOUNDS[kind])
        variance, degrees = self.variance
        t = _quantile(confidence, degrees)
        if kind == "proportion":
            unclustered = not self._of_seeds[0] and self.answers == self.clusters
            if unclustered and self.clusters < _FEW_ITEMS:
                return _clopper_pearson(self.value * self.answers, self.answers, confidence)
            if unclustered:
                return wilson(self.value * self.answers, self.answers, confidence)
            return self._proportion(variance, t, self.answers)
        if kind == "amount":
            t = _quantile(confidence, _SKEWED * degrees)
            return self._amount(t * math.sqrt(variance), confidence)
        low, high = self._without_scatter(kind, confidence)
        if variance > TINY_VARIANCE:
            wide = self._widened_percentiles(confidence, t * math.sqrt(variance))
            if self.parts or self._item_variance > TINY_VARIANCE:
                low, high = wide
            low, high = min(low, wide.low), max(high, wide.high)
            if kind == "fraction" and self.clusters < FEW_CLUSTERS and not self.parts:
                safe = self._proportion(variance, t, self.clusters / _CLUSTERS_PER_ITEM)
                low, high = min(low, safe.low), max(high, safe.high)
        bounds = _BOUNDS[kind]
        return Interval(max(bounds[0], min(low, self.value)), min(bounds[1], max(high, self.value)))

    def _widened_percentiles(self, confidence: float, half: float) -> Interval:
        """Percentiles of the draws, scaled around the value so that a normal's half width is ``half``."""
        usable = self.draws[np.isfinite(self.draws)]
        normal = _quantile(confidence) * float(usable.std())
        if normal < math.sqrt(TINY_VARIANCE):
            return Interval(self.value - half, self.value + half)
        tail = (1 - confidence) / 2
        low, high = self.value + half / normal * (np.quantile(usable, [tail, 1 - tail]) - self.value)
        return Interval(float(low), float(high))

    def _proportion(self, variance: float, t: float, most: float) -> Interval:
        """Wilson's interval with the effective sample size, at most ``most``."""
        p = min(max(self.value, 0.0), 1.0)
        scatter = variance > TINY_VARIANCE and 0 < p < 1
        size = min(p * (1 - p) / variance, most) if scatter else min(float(self.clusters), most)
        return _wilson(p, max(size, 1e-9), t)

    def _amount(self, half: float, confidence: float) -> Interval:
        """The interval of the logarithm: of few skewed numbers that mean is nearer to normal."""
        if self.value <= 0:
            return Interval(*_BOUNDS["amount"])
        relative = half / self.value or wilson(0, self.clusters, confidence).high
        return Interval(self.value * math.exp(-relative), self.value * math.exp(relative))

    def _without_scatter(self, kind: ValueKind, confidence: float) -> Interval:
        if kind == "fraction":
            return wilson(self.value * self.clusters, self.clusters, confidence)
        if kind == "correlation":
            half = math.tanh(_quantile(confidence) / math.sqrt(max(self.clusters - 3, 1)))
        else:
            half = wilson(0, self.clusters, confidence).high
        return Interval(self.value - half, self.value + half)

    def p(self) -> float:
        """Two-sided p of the value being 0, over new items and seeds (Welch's t); 0 without any scatter."""
        from scipy.special import stdtr

        variance, degrees = self.variance
        if variance <= TINY_VARIANCE:
            return float(self.value == 0)
        return float(2 * stdtr(degrees, -abs(self.value) / math.sqrt(variance)))

    def p_beyond(self, margin: float) -> float:
        """P-value of the value being ``margin`` or more away from 0: below alpha, the two are equivalent.

        The larger of two one-sided tests (TOST; Schuirmann, J. Pharmacokinet. Biopharm. 1987).
        """
        from scipy.special import stdtr

        deviation, degrees = self._deviation
        return float(stdtr(degrees, (abs(self.value) - margin) / deviation))

    def p_below(self, margin: float) -> float:
        """One-sided p of the value being ``margin`` or more below 0: below alpha, it is no worse."""
        from scipy.special import stdtr

        deviation, degrees = self._deviation
        return float(stdtr(degrees, -(self.value + margin) / deviation))

    def detectable(self, alpha: float, power: float = 0.8) -> float:
        """The smallest difference from 0 that a two-sided test at ``alpha`` finds with this power."""
        from scipy.special import stdtrit

        deviation, degrees = self._deviation
        return float((stdtrit(degrees, 1 - alpha / 2) + stdtrit(degrees, power)) * deviation)

    @property
    def _deviation(self) -> tuple[float, float]:
        """Standard deviation and degrees of freedom; never 0: what data without scatter leave open."""
        variance, degrees = self.variance
        low, high = self._without_scatter(self.kind, 0.95)
        scatters = self.parts or self._item_variance > TINY_VARIANCE
        least = 0.0 if scatters else (high - low) / 2 / _quantile(0.95)
        return max(math.sqrt(max(variance, 0.0)), least), degrees


def sample(
    sums: Array,
    groups: Sequence[Sequence[int]],
    statistic: Statistic,
    *,
    kind: ValueKind = "proportion",
    seeds: SeedVariance | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Sample]:
    """Values and paired draws of groups of columns, each group the seeds of one model.

    Args:
        sums: contributions summed over clusters, [C, M, ...], M columns (model and seed).
        groups: for each model the columns of its seeds.
        statistic: of sums [..., M, ...] to values [..., M].
        kind: what kind of number it is.
        seeds: what a training seed adds; by default as these groups tell.
        draws: number of resamples.
        seed: of the random numbers.
    """
    values, drawn = statistic(sums.sum(0)), statistic(bootstrap_totals(sums, draws, seed))
    scatters = seed_scatters(sums, groups, statistic, kind=kind)
    seeds = SeedVariance.of(scatters) if seeds is None else seeds
    result = []
    for group, scatter in zip(groups, scatters, strict=True):
        columns = list(group)
        result.append(
            Sample(
                float(values[columns].mean()),
                drawn[:, columns].mean(1),
                _contributing(sums, columns),
                float(sums[:, columns, ..., -1].sum()),
                ((1.0, scatter),),
                kind,
                seeds=seeds,
            )
        )
    return result


def seed_scatters(
    sums: Array, groups: Sequence[Sequence[int]], statistic: Statistic, *, kind: ValueKind = "proportion"
) -> list[SeedScatter]:
    """How the values of each model's seeds scatter; the arguments are those of :func:`sample`."""
    values, moved = statistic(sums.sum(0)), influences(sums, statistic)
    return [_scatter(values[list(g)], moved[:, list(g)], _contributing(sums, list(g)), kind) for g in groups]


def _contributing(sums: Array, columns: list[int]) -> int:
    """Clusters that add something to a model's value."""
    own = np.abs(sums[:, columns])
    return int((own.sum(axis=tuple(range(1, own.ndim))) > 0).sum())


def _scatter(values: Array, moved: Array, clusters: int, kind: ValueKind) -> SeedScatter:
    """The scatter of one model's seeds, [S] values, each moved by clusters as [C, S] says."""
    value, count, n = float(values.mean()), len(values), max(clusters, 1)
    scale = 1.0
    if kind in ("proportion", "fraction"):
        scale = latent_scale(value, n)
    elif kind == "correlation":
        scale = max(1 - value**2, 1 / n) ** 2  # of Fisher's z
    elif kind == "amount":
        scale = value**2  # of the logarithm
    if count == 1 or math.isnan(value):
        return SeedScatter(count, 0.0, 0.0, scale, n)
    own = moved - moved.mean(axis=1, keepdims=True)
    of_items = float((own**2).sum()) / (count - 1) * n / max(n - 1, 1)
    return SeedScatter(count, float(values.var(ddof=1)), of_items, scale, n)


def hierarchical_bootstrap(
    values: Array,
    clusters: npt.NDArray[Any],
    statistic: Statistic = ratio,
    *,
    kind: ValueKind | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """95% interval of the mean over training seeds, over new items (by cluster) and new seeds.

    The method is described in :mod:`trilemma.statistics`.

    Args:
        values: [n] numbers of one model, [n, S] numbers, or [n, S, k] contributions, one column per seed.
        clusters: n labels; items with the same label are resampled together.
        statistic: of sums of contributions.
        kind: by default ``proportion`` for means of values in 0..1, else ``difference`` (bounded by -1
            and 1).
        draws: number of resamples.
        seed: of the random numbers.
    """
    whole, kind = _contributions(values, kind)
    sums = cluster_sums(whole, clusters)
    (result,) = sample(sums, [range(sums.shape[1])], statistic, kind=kind, draws=draws, seed=seed)
    return result.interval()


def paired_difference(
    a: Array, b: Array, clusters: npt.NDArray[Any], *, draws: int = DRAWS, seed: int = 0
) -> Sample:
    """Difference of two models' means on the same items, each a mean over its own seeds.

    Args:
        a: [n, S_a] (for example correctness), one column per seed.
        b: [n, S_b].
        clusters: n labels.
        draws: number of resamples.
        seed: of the random numbers.

    Returns:
        The difference a - b; its ``interval()`` is the 95% interval.
    """
    both, _ = _contributions(np.concatenate([a, b], axis=1), None)
    split, total = a.shape[1], both.shape[1]
    first, second = sample(
        cluster_sums(both, clusters), [range(split), range(split, total)], ratio, draws=draws, seed=seed
    )
    return first - second


def _contributions(values: Array, kind: ValueKind | None) -> tuple[Array, ValueKind]:
    numbers = np.asarray(values, dtype=float)
    within = bool(np.all((numbers >= 0) & (numbers <= 1)))
    if numbers.ndim == 1:
        numbers = numbers[:, None]
    if numbers.ndim == 2:
        numbers = np.stack([numbers, np.ones_like(numbers)], axis=-1)
    return numbers, kind or ("proportion" if within else "difference")
