"""The data and the model of the quickstart, made on this machine of what is installed, so nothing is downloaded."""

from selectune.data.embedded.docstrings import docstrings, uneven
from selectune.data.embedded.tiny_bert import tiny_bert

__all__ = ["docstrings", "tiny_bert", "uneven"]
