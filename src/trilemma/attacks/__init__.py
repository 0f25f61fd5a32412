"""Attacks: adversarial examples made on the adapted model itself.

An attack sees a *victim*, a callable from texts to class probabilities, and never a model class, so
that any model can be attacked, also one behind an HTTP endpoint. Other packages add attacks by the
entry-point group ``trilemma.attacks``.
"""

from trilemma.attacks.attack import (
    ATTACKS,
    Attack,
    Attacked,
    AttackRun,
    Victim,
    build,
    fingerprint,
    require_misclassification,
)
from trilemma.attacks.settings import AttackSettings

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackRun",
    "AttackSettings",
    "Attacked",
    "Victim",
    "build",
    "fingerprint",
    "require_misclassification",
]
