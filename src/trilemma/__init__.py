"""Which language model should I deploy, given what I can spend and who may attack it?

The functions have the names of the commands; each is imported on first use, so that ``import trilemma``
is light.

Example:
    >>> import trilemma as tl
    >>> result = tl.run("studies/demo.yaml")
    >>> result.table("robustness", by="level")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trilemma.attacks.attack_model import attack
    from trilemma.commands import calibrate, decide, forecast, pretrain, profile, run, sweep_clocks
    from trilemma.operating_point import OperatingPoint
    from trilemma.profile_result import Profile
    from trilemma.result import Result
    from trilemma.study import Study, load_study
    from trilemma.sweep_result import ClockSweep

__version__ = "0.1.0"

__all__ = [
    "ClockSweep",
    "OperatingPoint",
    "Profile",
    "Result",
    "Study",
    "attack",
    "calibrate",
    "decide",
    "forecast",
    "load_study",
    "pretrain",
    "profile",
    "run",
    "sweep_clocks",
]

_LAZY = dict.fromkeys(
    ("calibrate", "decide", "forecast", "pretrain", "profile", "run", "sweep_clocks"), "trilemma.commands"
) | {
    "ClockSweep": "trilemma.sweep_result",
    "OperatingPoint": "trilemma.operating_point",
    "Profile": "trilemma.profile_result",
    "Result": "trilemma.result",
    "Study": "trilemma.study",
    "attack": "trilemma.attacks.attack_model",
    "load_study": "trilemma.study",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'trilemma' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
