"""Evaluations of a language model beside its loss: zero-shot classification, toxicity, perplexity of other texts."""

from selectune.evaluations.base import Evaluation
from selectune.evaluations.perplexity import Perplexity
from selectune.evaluations.toxicity import Toxicity
from selectune.evaluations.zero_shot import ZeroShot

__all__ = ["Evaluation", "Perplexity", "Toxicity", "ZeroShot"]
