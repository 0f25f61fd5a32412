"""Pretrained model and task in, adapted model out: the plug-ins and what a study calls.

The heavy half is imported on first use, so that reading a study needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from trilemma.adapt.settings import AdaptSettings
from trilemma.registry import Registry

if TYPE_CHECKING:
    from trilemma.adapt.adaptation import Adaptation
    from trilemma.adapt.loop import AdaptFacts, adapt
    from trilemma.adapt.rate_sweep import SweepFacts, sweep

ADAPTATIONS: "Registry[type[Adaptation]]" = Registry(
    "adaptation",
    {
        "adversarial-training": "trilemma.adapt.adversarial:AdversarialTraining",
        "full": "trilemma.adapt.full:Full",
        "linear-probe": "trilemma.adapt.linear_probe:LinearProbe",
        "lora": "trilemma.adapt.lora:LowRank",
    },
)

_LAZY = {
    "Adaptation": "trilemma.adapt.adaptation",
    "AdaptFacts": "trilemma.adapt.loop",
    "adapt": "trilemma.adapt.loop",
    "SweepFacts": "trilemma.adapt.rate_sweep",
    "sweep": "trilemma.adapt.rate_sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


__all__ = ["ADAPTATIONS", "AdaptFacts", "AdaptSettings", "Adaptation", "SweepFacts", "adapt", "sweep"]
