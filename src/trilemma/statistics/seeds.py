"""How much training seeds change a metric, learnt from all cells of a study together.

Two or three seeds of one model say almost nothing about their variance: with one degree of freedom
Student's t is 12.7. A study has more: every candidate on every task is a cell with seeds of its own. In cell
i the values of S_i seeds have a variance s_i^2 that is expected to be

    e_i = I_i + tau^2 g_i

where I_i is what the items alone explain (the seeds answer the same items, but err on different ones), and
tau^2 g_i what another seed adds: a deviation tau on the latent (probit) scale moves a share p by
tau phi(z_p), so g = phi(z_p)^2, as large for 0.9 as for 0.1 and small near 0 and 1. tau^2 maximises the
likelihood in which s_i^2 (S_i - 1) / e_i is chi-squared (gamma errors; McCullagh & Nelder, Generalized
Linear Models 1989, chapter 8); it has the degrees of freedom of all cells together.

Candidates may differ in how much seeds matter to them. Where s_i^2 is larger than e_i by an F test at 10% it
is used itself, so that an unruly candidate is not given the calm of the others.
``benchmarks/statistics.py`` simulates what that covers.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from trilemma.statistics.sums import Array, Statistic

_LARGEST = 10.0
"""Largest deviation of a seed, in standard deviations of the latent scale, that is thought of."""

UNRULY = 0.1
"""P of the F test below which a cell's own variance between seeds counts instead of the pooled one."""

_STEPS = 200
"""Values of the deviation that are tried: 0, then a geometric grid."""


class SeedScatter(NamedTuple):
    """How the values of one candidate's seeds scatter in one cell.

    Attributes:
        seeds: how many there are.
        between: variance between their values; 0 for one seed.
        of_items: what the items explain of it.
        scale: what a unit of variance on the latent scale adds to it.
        clusters: independent items that the values rest on.
    """

    seeds: int
    between: float
    of_items: float
    scale: float
    clusters: int


class SeedVariance(NamedTuple):
    """The variance that a training seed adds, pooled over cells.

    Attributes:
        latent: on the latent scale; times a cell's scale it is the cell's.
        degrees: degrees of freedom of the estimate; 0 where no cell has two seeds, so nothing is known.
    """

    latent: float = 0.0
    degrees: int = 0

    @staticmethod
    def of(cells: Iterable[SeedScatter]) -> "SeedVariance":
        """The estimate from all cells; those with one seed tell nothing."""
        several = [cell for cell in cells if cell.seeds > 1]
        if not several:
            return SeedVariance()
        seeds, between, of_items, scale, clusters = np.array(several, dtype=float).T
        degrees = seeds - 1
        of_items = np.maximum(of_items, 0.5 / clusters**2)  # seeds that answer alike differ by less than one
        tried = np.concatenate([[0.0], np.geomspace(1e-3, _LARGEST, _STEPS) ** 2])
        expected = of_items + tried[:, None] * scale
        misfit = (np.log(expected) + between / expected) @ degrees
        return SeedVariance(float(tried[np.argmin(misfit)]), int(degrees.sum()))

    def of_mean(self, cell: SeedScatter) -> float:
        """Variance of the mean over a cell's seeds that is their own, what items explain of it included."""
        from scipy.special import fdtri

        pooled = cell.of_items + self.latent * cell.scale
        unruly = cell.seeds > 1 and cell.between > pooled * fdtri(cell.seeds - 1, self.degrees, 1 - UNRULY)
        return (cell.between if unruly else pooled) / cell.seeds


NOTHING_KNOWN = SeedVariance()
"""Of a study in which every candidate has one seed."""


def latent_scale(value: float, n: float) -> float:
    """phi(z)^2 at a share of ``n`` items, which is drawn half an item away from 0 and 1."""
    from scipy.special import ndtri

    z = float(ndtri((min(max(value, 0.0), 1.0) * n + 0.5) / (n + 1)))
    return math.exp(-z * z) / (2 * math.pi)


def influences(sums: Array, statistic: Statistic) -> Array:
    """How much each cluster moves the statistic, [C, M]: the sum of squares is its variance (delta method).

    Args:
        sums: contributions summed over clusters, [C, M, ...].
        statistic: of sums [M, ...] to values [M].
    """
    totals = sums.sum(axis=0)
    each = math.prod(sums.shape[2:])  # numpy cannot infer it where there is no cluster
    flat, wide = sums.reshape(*sums.shape[:2], each), totals.reshape(len(totals), each)
    step = 1e-4 * np.maximum(np.abs(wide).max(axis=1), 1e-12)
    gradient = np.empty_like(wide)
    for column in range(wide.shape[1]):
        shift = np.zeros_like(wide)
        shift[:, column] = step
        up, down = (statistic((wide + sign * shift).reshape(totals.shape)) for sign in (1, -1))
        gradient[:, column] = (up - down) / (2 * step)
    moved = np.einsum("cmk,mk->cm", flat, np.nan_to_num(gradient))
    return np.asarray(moved - moved.mean(axis=0))
