"""Data modules, one a task, with selection as their preprocessing stage."""

from selectune.datamodules.base import SelectionDataModule
from selectune.datamodules.language_modeling import LanguageModeling
from selectune.datamodules.question_answering import QuestionAnswering
from selectune.datamodules.text_classification import TextClassification

__all__ = ["LanguageModeling", "QuestionAnswering", "SelectionDataModule", "TextClassification"]
