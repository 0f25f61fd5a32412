"""Attacks: adversarial examples made on the adapted model itself.

An attack sees a *victim*, a callable from texts to class probabilities, and never a model class, so
that any model can be attacked, also one behind an HTTP endpoint. Third parties name theirs in the
entry-point group ``trilemma.attacks``.
"""

from trilemma.attacks.attack import ATTACKS, Attack, Attacked, Victim
from trilemma.attacks.building import build, fingerprint, require_errors
from trilemma.attacks.settings import AttackSettings

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackSettings",
    "Attacked",
    "Victim",
    "build",
    "fingerprint",
    "require_errors",
]
