"""What a model is fine-tuned to do: its network, its loss and its metrics, one class a task."""

from selectune.lightning_modules.heads.base import Head, Output, before_output, load_network, network_inputs
from selectune.lightning_modules.heads.classification import ClassificationHead
from selectune.lightning_modules.heads.language_modeling import MaskedLMHead

__all__ = [
    "ClassificationHead",
    "Head",
    "MaskedLMHead",
    "Output",
    "before_output",
    "load_network",
    "network_inputs",
]
