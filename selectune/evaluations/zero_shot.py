"""Zero-shot classification by the likelihood of verbalised labels."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import DataError
from selectune.data.pool import text_hashes
from selectune.evaluations.base import Evaluated, Evaluation, as_key, rows_of
from selectune.evaluations.language_model import CausalModel
from selectune.evaluations.parts import Parts


class ZeroShot(Evaluation):
    """The class whose verbalisation a language model finds likeliest after a prompt, by ``lm-evaluation-harness``.

    Three decisions: ``accuracy`` by the sum of the log probabilities of a verbalisation's tokens; ``accuracy_norm`` by
    that sum over the number of its characters; ``accuracy_calibrated`` by the sum less that after the same prompt with
    every field empty (Holtzman et al. 2021), which takes away what the label is as likely for by itself.
    ``majority_accuracy`` is that of always answering the most frequent class.

    Args:
        dataset: see `Evaluation`, as for all other arguments.
        template: of the prompt; ``{column}`` stands for a column of the data set.
        labels: verbalisations, in the order of the classes, as they follow the prompt; a space is put before each.
        label_column: of the class: a number, or false and true.
        max_rows: draw so many rows.
    """

    def __init__(
        self,
        dataset: str,
        template: str,
        labels: list[str],
        label_column: str = "label",
        max_rows: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, **kwargs)
        checks.at_least("max_rows of a ZeroShot evaluation", max_rows, 1, DataError)
        self.fields = [field for _, field, _, _ in string.Formatter().parse(template) if field]
        if len(set(labels)) < 2 or len(set(labels)) < len(labels):
            raise DataError(f"The labels of {self.name} are {labels}; give each of at least two classes another one.")
        if not self.fields:
            raise DataError(f"The template of {self.name} names no column; write such as '{{text}}' into it.")
        self.template, self.labels, self.label_column, self.max_rows = template, labels, label_column, max_rows
        self.prompts: list[str] = []
        self.true = np.zeros(0, dtype=np.int64)
        self.source = ""

    def check(self, root: str | None) -> None:
        """Load the rows.

        Raises:
            DataError: no such data, or a class without a verbalisation.
        """
        found = self.find(root)
        rows = rows_of(found, self.split, [*self.fields, self.label_column], self.max_rows, self.seed)
        self.source, self.true = found.described, np.asarray(rows[self.label_column]).astype(np.int64)
        if not ((self.true >= 0) & (self.true < len(self.labels))).all():
            raise DataError(
                f"{self.source} has classes up to {self.true.max()}, but {self.name} has {len(self.labels)} labels; "
                "give one for each class, from 0 on."
            )
        values = zip(*(rows[field] for field in self.fields))
        self.prompts = [self.template.format(**dict(zip(self.fields, row))) for row in values]

    def run(self, model: CausalModel, parts: Parts | None = None) -> Evaluated:
        """Score every label after every prompt, and after the empty one."""
        n_labels, empty = len(self.labels), self.template.format(**dict.fromkeys(self.fields, ""))
        contexts = [prompt for prompt in [*self.prompts, empty] for _ in range(n_labels)]
        following = [f" {label}" for label in self.labels] * (len(self.prompts) + 1)
        scored = model.score(contexts, following).log_probability.reshape(-1, n_labels)
        sums, alone = scored[:-1], scored[-1]
        decisions = {
            "accuracy": sums,
            "accuracy_norm": sums / np.array([len(label) for label in self.labels]),
            "accuracy_calibrated": sums - alone,
        }
        guessed = {name: values.argmax(axis=1) for name, values in decisions.items()}
        metrics = {name: float((guess == self.true).mean()) for name, guess in guessed.items()}
        metrics["majority_accuracy"] = float(np.bincount(self.true).max() / len(self.true))
        columns: dict[str, np.ndarray] = {"row_id": np.arange(len(self.true)), "label": self.true}
        columns |= {f"log_probability_{i}": sums[:, i] for i in range(n_labels)}
        return Evaluated(metrics, columns | {f"prediction_{name}": guess for name, guess in guessed.items()})

    @property
    def text_hash(self) -> np.ndarray:
        """Of the prompts."""
        return text_hashes(self.prompts)

    @property
    def key(self) -> list[Any]:
        """The prompts with their labels."""
        return as_key(kind="ZeroShot", prompts=self.prompts, labels=self.labels, template=self.template)
