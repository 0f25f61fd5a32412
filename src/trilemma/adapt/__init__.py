"""Pretrained model and task in, adapted model out: the plug-ins, and the functions that a study calls.

What needs torch is imported on first use, so that reading a study stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

from trilemma.adapt.settings import ADAPTATIONS, AdaptJob, AdaptSettings

if TYPE_CHECKING:
    from trilemma.adapt.adaptation import Adaptation
    from trilemma.adapt.adapting import AdaptFacts, adapt
    from trilemma.adapt.rate_sweep import SweepFacts, sweep

_LAZY = {
    "Adaptation": "trilemma.adapt.adaptation",
    "AdaptFacts": "trilemma.adapt.adapting",
    "adapt": "trilemma.adapt.adapting",
    "SweepFacts": "trilemma.adapt.rate_sweep",
    "sweep": "trilemma.adapt.rate_sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


__all__ = [
    "ADAPTATIONS",
    "AdaptFacts",
    "AdaptJob",
    "AdaptSettings",
    "Adaptation",
    "SweepFacts",
    "adapt",
    "sweep",
]
