"""Whether a model hides its gradients rather than resists: what attacks with and without them find."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trilemma.comparisons.pairs import SIGNIFICANCE
from trilemma.statistics import mcnemar_exact


@dataclass(frozen=True)
class Masking:
    """A white-box and a black-box attack on the same items of the same model.

    Attributes:
        white: share of items on which the white-box attack succeeded.
        black: share on which the black-box one did.
        n: items.
        p: of the exact two-sided McNemar test.
        suspected: whether the white-box attack is distinguishably the weaker one.
    """

    white: float
    black: float
    n: int
    p: float
    suspected: bool


def masking_suspected(
    white: npt.ArrayLike, black: npt.ArrayLike, *, significance: float = SIGNIFICANCE
) -> Masking:
    """Compare a white-box attack with a black-box one.

    Who sees the gradients and may change the same things should not find less. If they do, the gradients
    mislead (Athalye et al. 2018, arXiv 1802.00420, section 3.1), as those that pass straight through the
    rounding of a quantised model may; robustness against attacks by gradient then says little. It is a
    sign and no proof: the two attacks should have the same budget, goal and constraints, and candidates
    of the same kind.

    Args:
        white: whether the white-box attack succeeded, one boolean an item.
        black: the same of the black-box attack, on the same items in the same order.
        significance: of the test.

    Raises:
        ValueError: if they are not of the same items.
    """
    first, second = np.asarray(white, dtype=bool), np.asarray(black, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"outcomes of the same items are compared, one each, not {first.shape} and {second.shape}"
        )
    n = len(first)
    p = mcnemar_exact(first, second)
    a, b = (float(one.mean()) if n else float("nan") for one in (first, second))
    return Masking(a, b, n, p, suspected=a < b and p < significance)
