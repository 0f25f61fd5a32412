"""One decision over measured values and forecasts, and the verdict in words."""
