"""Selectors: pure functions from signals to row ids. Formulas of the signals are in `selectune.selectors.entropy`."""

from selectune.selectors.base import Budget, Picked, Selector, Signals
from selectune.selectors.baselines import Random
from selectune.selectors.euds import IGSE, EntropyInterval
from selectune.selectors.interval import Absolute, Band, Central, Densest, IntervalRule, Quantile

__all__ = [
    "IGSE",
    "Absolute",
    "Band",
    "Budget",
    "Central",
    "Densest",
    "EntropyInterval",
    "IntervalRule",
    "Picked",
    "Quantile",
    "Random",
    "Selector",
    "Signals",
]
