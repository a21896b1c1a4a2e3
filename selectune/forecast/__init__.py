"""Costs of a run, and whether selecting will pay, estimated before it starts: `estimate` is the main path."""

from selectune.forecast.estimate import estimate, forecast
from selectune.forecast.result import Forecast

__all__ = ["Forecast", "estimate", "forecast"]
