"""Callbacks: costs, savings, export, metrics of each held-out row, and a check that the training works."""

from selectune.callbacks.cost_ledger import CostLedger
from selectune.callbacks.export import Export
from selectune.callbacks.predictions import RowFigures
from selectune.callbacks.savings import Savings
from selectune.callbacks.training_check import TrainingCheck

__all__ = ["CostLedger", "Export", "RowFigures", "Savings", "TrainingCheck"]
