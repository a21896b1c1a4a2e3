"""Choose the rows of a pool that are worth training on, fine-tune on them, and prove with one ledger what that saved.

from selectune import IGSE, FineTuner, TextClassification, Trainer
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_FROM = {
    "Trainer": "selectune.callbacks.trainer",
    "FineTuner": "selectune.lightning_modules",
    "ScorerSettings": "selectune.lightning_modules.scorers.settings",
    "TextClassification": "selectune.datamodules",
    "LanguageModeling": "selectune.datamodules",
    "QuestionAnswering": "selectune.datamodules",
    "CostLedger": "selectune.callbacks",
    "Export": "selectune.callbacks",
    "Savings": "selectune.callbacks",
    "EntropyInterval": "selectune.selectors",
    "IGSE": "selectune.selectors",
    "GOTD": "selectune.selectors",
    "DSIR": "selectune.selectors",
    "Random": "selectune.selectors",
    "Absolute": "selectune.selectors",
    "Central": "selectune.selectors",
    "Densest": "selectune.selectors",
    "Quantile": "selectune.selectors",
}

__all__ = list(_FROM)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import on first use, since torch and its friends cost seconds."""
    if name not in _FROM:
        raise AttributeError(f"module 'selectune' has no attribute '{name}'")
    return getattr(import_module(_FROM[name]), name)
