"""The adaptations by name: built-in ones, and those that other packages bring by an entry point."""

from typing import Any

from trilemma.registry import Registry

# Subclasses of trilemma.adapt.adaptation.Adaptation, which needs torch; settings are checked without it.
ADAPTATIONS: Registry[type[Any]] = Registry(
    "adaptation",
    {
        "adversarial-training": "trilemma.adapt.adversarial:AdversarialTraining",
        "full": "trilemma.adapt.full:Full",
        "linear-probe": "trilemma.adapt.linear_probe:LinearProbe",
        "lora": "trilemma.adapt.lora:LowRank",
    },
)
