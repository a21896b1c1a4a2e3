"""Callbacks: costs, savings, export."""

from selectune.callbacks.cost_ledger import CostLedger
from selectune.callbacks.export import Export
from selectune.callbacks.savings import Savings

__all__ = ["CostLedger", "Export", "Savings"]
