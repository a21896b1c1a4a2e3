"""Lightning modules: the fine-tuner with its heads, and the scorer."""

from selectune.lightning_modules.fine_tuner import FineTuner
from selectune.lightning_modules.scorer import Scorer, ScorerSettings

__all__ = ["FineTuner", "Scorer", "ScorerSettings"]
