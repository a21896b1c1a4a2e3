"""Heads: the network, loss and metrics of each task."""

from selectune.lightning_modules.heads.base import Head, Output, before_output, load_network, network_inputs, widest
from selectune.lightning_modules.heads.classification import ClassificationHead, RegressionHead
from selectune.lightning_modules.heads.language_modeling import CausalLMHead, MaskedLMHead
from selectune.lightning_modules.heads.question_answering import QuestionAnsweringHead

__all__ = [
    "CausalLMHead",
    "ClassificationHead",
    "Head",
    "MaskedLMHead",
    "Output",
    "QuestionAnsweringHead",
    "RegressionHead",
    "before_output",
    "load_network",
    "network_inputs",
    "widest",
]
