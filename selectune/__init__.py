"""Choose the rows of a pool that are worth training on, fine-tune on them, and prove with one ledger what that saved.

from selectune import IGSE, FineTuner, TextClassification, Trainer
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "selectune.callbacks": ("CostLedger", "Export", "Savings"),
    "selectune.callbacks.trainer": ("Trainer",),
    "selectune.callbacks.transformers_ledger": ("TransformersCostLedger",),
    "selectune.costs.ledger": ("Ledger",),
    "selectune.data.texts": ("Texts",),
    "selectune.datamodules": ("TextClassification", "LanguageModeling", "QuestionAnswering"),
    "selectune.datamodules.library": ("score", "select"),
    "selectune.lightning_modules": ("FineTuner",),
    "selectune.lightning_modules.scorers.settings": ("ScorerSettings",),
    "selectune.selectors": (
        "EntropyInterval", "IGSE", "GOTD", "DSIR", "Random", "Balanced", "Chain", "Deduplicate", "LabelIssues",
        "SemanticDuplicates", "Absolute", "Anchored", "Central", "Densest", "Quantile",
    ),
}  # fmt: skip
_FROM = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_FROM)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import on first use, since importing torch and Lightning takes seconds."""
    if name not in _FROM:
        raise AttributeError(f"module 'selectune' has no attribute '{name}'")
    return getattr(import_module(_FROM[name]), name)
