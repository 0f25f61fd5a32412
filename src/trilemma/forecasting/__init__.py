"""What a model would cost on a machine: forecasts from its configuration alone, as records.

Importing this package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trilemma.forecasting.forecasts import forecast
    from trilemma.forecasting.memory import KEPT_FREE
    from trilemma.forecasting.models import ForecastModel
    from trilemma.forecasting.plan import ParallelPlan

__all__ = ["KEPT_FREE", "ForecastModel", "ParallelPlan", "forecast"]

_LAZY = {"KEPT_FREE": "memory", "ForecastModel": "models", "ParallelPlan": "plan", "forecast": "forecasts"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"trilemma.forecasting.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'trilemma.forecasting' has no attribute {name!r}")
