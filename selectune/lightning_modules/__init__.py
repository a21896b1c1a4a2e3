"""Lightning modules: the fine-tuner with its heads, and the scorers."""

from selectune.lightning_modules.fine_tuner import FineTuner
from selectune.lightning_modules.scorers.base import Scorer

__all__ = ["FineTuner", "Scorer"]
