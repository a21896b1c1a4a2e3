"""Answer questions by a span of their context, as in SQuAD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selectune.common import checks
from selectune.common.errors import BadRowsError, DataError
from selectune.data.given import Given
from selectune.data.pool import check_column
from selectune.data.windows import BatchRows, Windows, make_windows
from selectune.datamodules.base import SelectionDataModule
from selectune.lightning_modules.heads import QuestionAnsweringHead
from selectune.lightning_modules.heads.question_answering import THRESHOLD

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from selectune.data.sources import ModelSource

Answer = tuple[str, int]


class QuestionAnswering(SelectionDataModule):
    """Questions, each with a context and the answers that are spans of it (SQuAD 1.1), or with none (SQuAD 2.0).

    Rows are questions. A context longer than `max_length` is read in overlapping windows, all of which stay in one
    batch with their question. Answers are found by their character offsets.

    Args:
        dataset: see `TaskData`, as for all other arguments.
        question_column: of the question.
        context_column: of the text that holds the answer.
        answers_column: of the answers, ``{text: [...], answer_start: [...]}``; both empty where there is none.
        id_column: of the ids, under which predictions are written.
        max_length: tokens of a window, question and special ones included; a row is scored cut to as many.
        doc_stride: context tokens that neighbouring windows share.
        max_question_tokens: longer questions are cut.
        max_answer_tokens: longer answers are not given.
        n_best: starts, and ends, of each window that an answer is made of.
        null_threshold: predict that there is no answer where its score exceeds that of the best span by more; default
            the best threshold on ``dev``. Without effect where every question has an answer.
    """

    head_class = QuestionAnsweringHead
    has_classes = False

    def __init__(
        self,
        dataset: Given,
        question_column: str = "question",
        context_column: str = "context",
        answers_column: str = "answers",
        id_column: str = "id",
        max_length: int = 384,
        doc_stride: int = 128,
        max_question_tokens: int = 64,
        max_answer_tokens: int = 30,
        n_best: int = 20,
        null_threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.question_column, self.context_column = question_column, context_column
        self.answers_column, self.id_column = answers_column, id_column
        self.text_columns, self.label_column = (question_column, context_column), answers_column
        self.side_columns = (id_column,)
        self.doc_stride, self.max_question_tokens = doc_stride, max_question_tokens
        self.max_answer_tokens, self.n_best, self.null_threshold = max_answer_tokens, n_best, null_threshold
        self.null_answers = False  # whether some question has none
        self.spans: dict[str, np.ndarray] = {}
        super().__init__(dataset, max_length=max_length, **kwargs)
        names = ("question_column", "context_column", "answers_column", "id_column")
        checks.distinct_columns({name: getattr(self, name) for name in names})
        for name, least in (("doc_stride", 0), ("max_question_tokens", 1), ("max_answer_tokens", 1), ("n_best", 1)):
            checks.at_least(f"data.{name}", getattr(self, name), least, DataError)
        if max_length <= max_question_tokens + doc_stride:
            raise DataError(
                f"data.max_length {max_length} leaves no room for a new part of the context beside data.doc_stride "
                f"{doc_stride} and data.max_question_tokens {max_question_tokens}; raise it, or lower them.",
                option="data.max_length",
            )

    def clean(self, split: Dataset, where: str) -> tuple[Dataset, np.ndarray]:
        """All rows, checked to have a question, a context, answers and an id, of which rows to predict need two."""
        for name in () if self.unlabelled else ("answers_column", "id_column"):
            check_column(split, getattr(self, name), where, f"data.{name}")
        return super().clean(split, where)

    def read_labels(self, splits: dict[str, Dataset]) -> dict[str, np.ndarray]:
        """No classes; but check the answers, and note whether some question has none.

        Raises:
            DataError: rows without proper answers, or training answers that are not where their start says.
        """
        self.null_answers = False
        for role, split in splits.items():
            where = f"the {role} split of {self.title}"
            answers = self._answers(split, where)
            self.null_answers |= not all(answers)
            if role != "train":
                continue
            pairs = enumerate(zip(split[self.context_column], answers))
            bad = [i for i, (context, row) in pairs if any(s < 0 or not context.startswith(text, s) for text, s in row)]
            if bad:
                raise BadRowsError(
                    f"{len(bad)} row(s) of {where}, column '{self.answers_column}' (rows {{rows}}) have an "
                    "answer that is not in the context where its answer_start says; correct or remove them.",
                    bad,
                )
        return {}

    def take_labels_of(self, source: ModelSource) -> None:
        """Whether some question has no answer."""
        from transformers import AutoConfig

        self.null_answers = hasattr(AutoConfig.from_pretrained(str(source.folder)), THRESHOLD)

    def constant_metrics(self) -> dict[str, float]:
        """EM and F1 of never giving an answer: the share of held-out questions that have none."""
        answers = self._answers(self.splits["test"], f"the test split of {self.title}")
        share = float(np.mean([not texts for texts in answers]))
        return {"em": 100 * share, "f1": 100 * share}

    def head(self) -> QuestionAnsweringHead:
        """Start and end of the answer."""
        return QuestionAnsweringHead(self.n_best, self.max_answer_tokens, self.null_answers, self.null_threshold)

    def encode(self, split: str, tokenizer: PreTrainedTokenizerBase) -> BatchRows:
        """A split's windows, and where in them the first answer of each question is."""
        rows = self.splits[split]
        windows = make_windows(
            rows[self.question_column], rows[self.context_column], tokenizer, self.max_length, self.doc_stride,
            self.max_question_tokens, f"the {split} split of {self.title}",
        )  # fmt: skip
        firsts = [answers[0] if answers else ("", -1) for answers in self._answers(rows, split)]
        starts = np.array([start for _, start in firsts])
        self.spans[split] = windows.token_spans(starts, starts + [len(text) for text, _ in firsts])
        return windows

    def extras(self, split: str, rows: np.ndarray) -> dict[str, Any]:
        """Start and end of the answer in each window, int64, (windows,); to evaluate, the texts and characters too."""
        windows = self.tokens[split]
        assert isinstance(windows, Windows)
        starts, ends = windows.labels(rows, self.spans[split])
        batch: dict[str, Any] = {"start": torch.from_numpy(starts), "end": torch.from_numpy(ends)}
        if split != "train":
            content = self.splits[split][rows]
            batch["contexts"] = list(content[self.context_column])
            batch["ids"] = list(content[self.id_column]) if self.id_column in content else self._places(rows)
            batch["golds"] = [[text for text, _ in answers] for answers in self._answers(content, split)]
            batch["characters"] = windows.characters(rows)
        return batch

    def _places(self, rows: np.ndarray) -> list[str]:
        """Ids of rows to predict that have none: their positions in the data set."""
        return [str(row) for row in self.pool.source_rows[rows]]

    def _answers(self, rows: Any, where: str) -> list[list[Answer]]:
        """Text and first character of each row's answers; rows to predict have none."""
        if self.unlabelled:
            return [[] for _ in rows[self.question_column]]
        answers: list[list[Answer]] = []
        bad: list[int] = []
        for i, value in enumerate(rows[self.answers_column]):
            if isinstance(value, list):  # of records, as in the original files
                records = [one for one in value if isinstance(one, dict)]
                value = {key: [one.get(key) for one in records] for key in ("text", "answer_start")}
            given = value if isinstance(value, dict) else {}  # a csv file has texts only
            texts, starts = (given.get(key, 0) for key in ("text", "answer_start"))
            proper = isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)
            pairs = list(zip(texts, starts)) if proper else []
            if not proper or not all(isinstance(text, str) and isinstance(start, int) for text, start in pairs):
                bad.append(i)
            answers.append([(text, start) for text, start in pairs if str(text).strip()])
        if bad:
            raise BadRowsError(
                f"{len(bad)} row(s) of {where} (rows {{rows}}) hold no answers in column "
                f"'{self.answers_column}'; each must have the lists 'text' and 'answer_start', of one length.",
                bad,
            )
        return answers
