"""Lightning modules: the fine-tuner with its heads, and the scorers."""

from selectune.lightning_modules.fine_tuner import FineTuner

__all__ = ["FineTuner"]
