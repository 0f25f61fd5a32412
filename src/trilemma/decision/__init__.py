"""One decision over measured values and forecasts, and a study's verdict in words."""

from trilemma.decision.decision import Decision
from trilemma.decision.query import decide

__all__ = ["Decision", "decide"]
