"""What a run will cost, and whether selecting will pay, before it is started: `estimate` is the main path."""

from selectune.forecast.estimate import Machine, estimate, forecast
from selectune.forecast.result import Forecast

__all__ = ["Forecast", "Machine", "estimate", "forecast"]
