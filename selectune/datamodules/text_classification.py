"""Classify one text, or a pair of texts, or give it a number."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from selectune.common import checks
from selectune.common.errors import DataError, EmptyDataError, first_few
from selectune.data.class_prior import ClassPrior, Stated, by_class, check_stated
from selectune.data.given import Given
from selectune.data.labels import Classes, labels_of, numbers_of, with_class_labels, with_number_labels
from selectune.datamodules.base import SelectionDataModule
from selectune.lightning_modules.heads import ClassificationHead, RegressionHead
from selectune.lightning_modules.heads.classification import (
    CLASS_METRICS,
    NUMBER_METRICS,
    check_metrics,
    known_classes,
)

if TYPE_CHECKING:
    from datasets import Dataset

    from selectune.data.sources import ModelSource

HEADER = re.compile(
    r"(approved|archive-name|article-i\.d\.|date|distribution|expires|followup-to|from|in-reply-to|keywords|lines"
    r"|message-id|newsgroups|nntp-posting-host|organi[sz]ation|path|references|reply-to|sender|subject|summary|to|xref"
    r"|x-[\w-]+):",
    re.IGNORECASE,
)
ATTRIBUTION = re.compile(r"^(in|from) (article )?<|\b(writes|wrote|says|said):\s*$", re.IGNORECASE)


class TextClassification(SelectionDataModule):
    """Texts, or pairs of texts, and one label each: a class, or a number.

    Args:
        dataset: see `TaskData`, as for all other arguments.
        text_column: of the text.
        pair_column: of the second text, for tasks on pairs.
        label_column: of the label: class names, or whole numbers, which are classes in their order; with ``regression``
            any numbers. Names of numbered classes are taken from the data set's features, or from a column of that name
            with ``_text`` behind it.
        metrics: names of the metrics; the first one, on ``dev``, selects the checkpoint. Of classes ``accuracy``,
            ``macro_f1``, ``micro_f1``, ``matthews`` (default the first two), of numbers ``pearson``, ``spearman``.
        regression: labels are numbers, and the loss is the squared error.
        class_weights: of a row's loss by its class: ``balanced`` (rows / (classes * rows of the class), of the whole
            train split), numbers by the names of classes, 1 for those left out, or a number for each class in their
            order; default all alike.
        prior: how frequent the classes will be where the model is used: ``balanced``, all alike (the default);
            ``train``, as in the whole train split; or the share of each class by its name, sum 1. `Balanced` keeps
            rows by it, and a diagnosis calls classes rare by it.
        more_test_splits: evaluated as well at the end of a fit and by ``test``, as ``test/<split>/<metric>``.
        strip_headers: of newsgroup posts: keep the author's own words (see `strip_post`); drop those with none.
        drop_empty: drop rows without a text, and say how many, instead of refusing them.
        numbers_are_classes: take labels such as 0.5 and 1.5 as classes; by default they are refused, as numbers to be
            learned with ``regression`` may be meant.
    """

    head_class = ClassificationHead
    label_column: str

    def __init__(
        self,
        dataset: Given,
        text_column: str = "text",
        pair_column: str | None = None,
        label_column: str = "label",
        metrics: list[str] | None = None,
        regression: bool = False,
        class_weights: Literal["balanced"] | list[float] | dict[str, float] | None = None,
        prior: Stated | None = None,
        more_test_splits: list[str] | None = None,
        strip_headers: bool = False,
        drop_empty: bool = False,
        numbers_are_classes: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.text_columns = (text_column, pair_column) if pair_column else (text_column,)
        self.label_column = label_column
        self.side_columns = (f"{label_column}_text",)  # names of classes, in data sets without named features
        self.regression, self.has_classes = regression, not regression
        self.numbers_are_classes = numbers_are_classes
        known, kind = (NUMBER_METRICS, "numbers") if regression else (CLASS_METRICS, "classes")
        self.metrics = check_metrics(known[:2] if metrics is None else metrics, known, kind)
        self.class_weights, self.stated_prior = class_weights, prior
        self.weights: list[float] | None = None
        self.strip_headers, self.drop_empty = strip_headers, drop_empty
        self.label_names: list[str] = []
        self._classes: Classes | None = None
        columns = {"text_column": text_column, "pair_column": pair_column or None, "label_column": label_column}
        checks.distinct_columns(columns)
        check_stated(prior)
        super().__init__(dataset, **kwargs)
        self.more_test_splits = more_test_splits or []
        if regression and class_weights is not None:
            raise DataError("data.class_weights weighs classes, but with data.regression there are none; drop one.")
        if regression and prior is not None:
            raise DataError("data.prior has shares of classes, but with data.regression there are none; drop one.")

    @property
    def monitor(self) -> tuple[str, str]:
        """The first metric."""
        return f"val/{self.metrics[0]}", "max"

    @property
    def num_labels(self) -> int:
        """Number of classes in the unselected train split; 1 where labels are numbers."""
        return 1 if self.regression else len(self.label_names)

    def clean(self, split: Dataset, where: str) -> tuple[Dataset, np.ndarray]:
        """Rows with a text, stripped if asked for."""
        n_rows, rows = len(split), np.arange(len(split))
        if self.drop_empty and set(self.text_columns) <= set(split.column_names):
            rows = _filled({column: split[column] for column in self.text_columns})
            split = split.select(rows)
        split, _ = super().clean(split, where)
        if self.strip_headers:
            from datasets import Dataset

            texts = {column: [strip_post(text) for text in split[column]] for column in self.text_columns}
            left = _filled(texts)
            split, rows = Dataset.from_dict(split[:] | texts, features=split.features).select(left), rows[left]
        if not len(rows):
            raise EmptyDataError(f"{where} has no row with a text; check data.text_column.")
        if lost := n_rows - len(rows):
            warnings.warn(f"{where} has {lost:,} of {n_rows:,} rows without a text; they are dropped.", stacklevel=2)
        return split, rows

    def with_labels(self, split: Dataset, where: str) -> Dataset:
        """The split, its labels in the form in which classes or numbers are compared."""
        return (with_number_labels if self.regression else with_class_labels)(split, self.label_column, where)

    def read_labels(self, splits: dict[str, Dataset]) -> dict[str, np.ndarray]:
        """Labels as numbers; the classes are those of the unselected train split."""
        where = {role: f"the {role.partition('/')[2] or role} split of {self.title}" for role in splits}
        written = {role: labels_of(split, self.label_column) for role, split in splits.items()}
        if self.regression:
            return {role: numbers_of(labels, where[role]) for role, labels in written.items()}
        if names := getattr(splits["train"].features[self.label_column], "names", None):
            classes = Classes(tuple(names), tuple(range(len(names))))
        else:
            classes = self._named_beside(splits["train"]) or Classes.of(
                written["train"], where["train"], bool(self.numbers_are_classes)
            )
        self._classes, self.label_names = classes, list(classes.names)
        numbers = {role: classes.encode(labels, where[role]) for role, labels in written.items()}
        if len(present := np.unique(numbers["train"])) < 2:
            raise DataError(
                f"All labels of {where['train']} are '{self.label_names[present[0]]}', but one class leaves nothing to "
                "learn; check data.label_column, or add rows of another class."
            )
        self.weights = self._weights(numbers["train"])
        self.prior = ClassPrior.of(self.stated_prior, numbers["train"], classes)
        return numbers

    def take_labels_of(self, source: ModelSource) -> None:
        """The names of the classes."""
        self.label_names = known_classes(source)

    def new_labels(self, labels: list[Any], where: str) -> tuple[list[Any], np.ndarray]:
        """Labels of a review, by name or number of the class, or as numbers that are learned."""
        if self._classes is None:
            try:
                values = [label if isinstance(label, int) else float(label) for label in labels]
            except ValueError as error:
                message = f"{where} has a label that is no number ({error}); correct it."
                raise DataError(message, option="data.review") from None
            return values, numbers_of(values, where)
        numbers = self._classes.numbers_by_label(labels)
        if unknown := sorted((str(label) for label, number in numbers.items() if number is None)):
            names = first_few(self.label_names, 20)
            message = f"{where} has the label '{unknown[0]}', but the train split has only {names}; correct it."
            raise DataError(message, option="data.review")
        of_rows = np.array([numbers[label] for label in labels], dtype=np.int64)
        return [self._classes.written(number) for number in of_rows.tolist()], of_rows

    def head(self) -> ClassificationHead | RegressionHead:
        """Softmax over the classes, or one number."""
        if self.regression:
            return RegressionHead(self.metrics)
        return ClassificationHead(self.label_names, self.metrics, self.weights)

    def training_key(self) -> list[Any]:
        """The kind of loss, and its weights, as well."""
        return [*super().training_key(), self.regression, self.class_weights]

    def extras(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """The labels, int64 (float32 of numbers), shape (rows,); nothing of rows without one."""
        return {} if self.unlabelled else {"labels": torch.from_numpy(self.labels[split][rows])}

    def references(self) -> dict[str, float]:
        """Accuracy on the held-out splits of always answering the largest class of the train split."""
        if "accuracy" not in self.metrics:
            return {}
        largest = np.bincount(self.labels["train"]).argmax()
        prefixes = dict(zip(self.held_out, ("", *(f"{name}/" for name in self.more_test_splits))))
        return {f"{name}majority_accuracy": float((self.labels[s] == largest).mean()) for s, name in prefixes.items()}

    def constant_metrics(self) -> dict[str, float]:
        """Metrics of always answering the largest class of the train split, or always the same number."""
        if self.regression:
            return {"pearson": 0.0, "spearman": 0.0}
        metrics, labels = self.head().metrics(), torch.from_numpy(self.labels["test"])
        metrics.update(torch.full_like(labels, int(np.bincount(self.labels["train"]).argmax())), labels)
        return {name: float(value) for name, value in metrics.compute().items()}

    def _named_beside(self, train: Dataset) -> Classes | None:
        """Classes of whole numbers and their names from the column beside them, if each has one name of its own."""
        (column,) = self.side_columns
        if column not in train.column_names:
            return None
        pairs = set(zip(train[self.label_column][:], train[column][:]))
        if not all(isinstance(number, int) and isinstance(name, str) for number, name in pairs):
            return None
        numbers, names = zip(*sorted(pairs))
        one_each = len(set(numbers)) == len(set(names)) == len(pairs)
        return Classes(names, numbers) if one_each else None

    def _weights(self, numbers: np.ndarray) -> list[float] | None:
        """Weight of a row's loss by its class."""
        weights = self.class_weights
        if weights is None:
            return None
        if weights == "balanced":
            counts = np.bincount(numbers, minlength=self.num_labels)
            present = int((counts > 0).sum())
            return [len(numbers) / (present * count) if count else 1.0 for count in counts.tolist()]
        if isinstance(weights, dict):
            assert self._classes is not None
            named = by_class(weights, self._classes, "data.class_weights", "weight")
            weights = [named.get(number, 1.0) for number in range(self.num_labels)]
        if len(weights) != self.num_labels or not all(0 < weight < np.inf for weight in map(float, weights)):
            raise DataError(
                f"data.class_weights are {self.class_weights}, but must be {self.num_labels} numbers over 0, one for "
                f"each of {', '.join(self.label_names)}."
            )
        return [float(weight) for weight in weights]


def strip_post(text: str) -> str:
    """The author's own words in a newsgroup post.

    Names and addresses give the group away, so these are dropped: the blocks of header lines that it begins with
    (subject included), up to a blank line; lines quoted with ``>`` and those that name their author; and the signature,
    from a line of ``--`` on.
    """
    lines = text.strip().splitlines()
    while lines and HEADER.match(lines[0]):
        end = next((i for i, line in enumerate(lines) if not line.strip()), len(lines))
        lines = "\n".join(lines[end:]).strip().splitlines()
    signature = next((i for i, line in enumerate(lines) if line.rstrip() == "--"), len(lines))
    own = [line for line in lines[:signature] if not line.lstrip().startswith(">") and not ATTRIBUTION.search(line)]
    return "\n".join(own).strip()


def _filled(texts: dict[str, Any]) -> np.ndarray:
    """Positions of the rows in which every column has a text."""
    filled = [[isinstance(text, str) and bool(text.strip()) for text in column] for column in texts.values()]
    return np.flatnonzero(np.all(filled, axis=0))
