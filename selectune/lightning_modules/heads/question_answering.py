"""The head that answers a question by a span of its context."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from selectune.data.sources import ModelSource
from selectune.lightning_modules.heads import squad
from selectune.lightning_modules.heads.base import Head, Output, network_inputs

THRESHOLD = "null_threshold"
LOWEST = torch.finfo(torch.float32).min  # stands for a logit of -inf, but adds up without NaN


class Answers(NamedTuple):
    """Of each row: the text of the best span, its score, and the score of no answer over it, float32, shape (rows,)."""

    texts: list[str]
    scores: np.ndarray
    null_odds: np.ndarray


class QuestionAnsweringHead(Head):
    """Start and end of an answer, each by one score a token (Devlin et al. 2019, sections 4.2 and 4.3).

    An answer that a window does not hold, or that does not exist, is at the window's first token.

    Args:
        n_best: starts, and ends, of each window that an answer is made of.
        max_answer_tokens: longer answers are not given.
        null_answers: whether a question may have no answer.
        null_threshold: null odds over which no answer is given; default the threshold that suits ``dev`` best.
    """

    auto_class = "AutoModelForQuestionAnswering"
    monitor, mode = "val/f1", "max"
    row_metrics = ("em", "f1")

    def __init__(
        self,
        n_best: int = 20,
        max_answer_tokens: int = 30,
        null_answers: bool = False,
        null_threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.n_best, self.max_answer_tokens = n_best, max_answer_tokens
        self.null_answers, self.null_threshold = null_answers, null_threshold

    @property
    def threshold(self) -> float:
        """The null threshold: the fixed one, else the one that ``dev`` chose, else 0."""
        return self.null_threshold if self.null_threshold is not None else self.state.get(THRESHOLD, 0.0)

    def build(self, source: ModelSource, trained: bool = False) -> Any:
        """As for all heads; an exported model brings its threshold along."""
        network = super().build(source, trained)
        if isinstance(exported := getattr(network.config, THRESHOLD, None), float):
            self.state[THRESHOLD] = exported
        return network

    def forward(self, network: nn.Module, batch: dict[str, Any]) -> Output:
        """Cross-entropy in nats, the mean of start and end, padding left out; its items are windows.

        To evaluate, predictions are null odds, EM and F1 if answered, shape (rows, 3), and targets whether there is an
        answer, shape (rows,).
        """
        start, end = self._logits(network, batch)
        loss_of = partial(nn.functional.cross_entropy, reduction="sum")
        loss = (loss_of(start, batch["start"]) + loss_of(end, batch["end"])) / 2
        if "golds" not in batch:
            return Output(loss, len(start), start.new_zeros(0), start.new_zeros(0))
        answers = self.answers(start.detach(), end.detach(), batch)
        em_f1 = [squad.em_f1(text, golds) for text, golds in zip(answers.texts, batch["golds"])]
        predictions = torch.from_numpy(np.column_stack([answers.null_odds, np.array(em_f1, dtype=np.float32)]))
        has_answer = torch.tensor([bool(golds) for golds in batch["golds"]])
        return Output(loss, len(start), predictions.to(start.device), has_answer.to(start.device))

    def predict(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
        """``id``, ``prediction`` (empty for no answer), ``score`` of the best span, and ``null_odds``."""
        texts, scores, null_odds = self.answers(*self._logits(network, batch), batch)
        if self.null_answers:
            texts = [text if odds <= self.threshold else "" for text, odds in zip(texts, null_odds)]
        return {"id": batch["ids"], "prediction": texts, "score": scores, "null_odds": null_odds}

    def of_rows(self, output: Output) -> dict[str, Any]:
        """EM and F1 of each question, no answer given where the null odds are over the threshold."""
        null_odds, *values = output.predictions.cpu().double().numpy().T
        if self.null_answers:
            has_answer = output.targets.cpu().numpy()
            values = [squad.with_threshold(null_odds, one, has_answer, self.threshold) for one in values]
        return dict(zip(self.row_metrics, values))

    def answers(self, start: Tensor, end: Tensor, batch: dict[str, Any]) -> Answers:
        """The best span of each row over all its windows, from logits of shape (windows, L)."""
        spans = best_spans(start, end, batch["in_context"], self.n_best, self.max_answer_tokens)
        score, first, last = (values.cpu().numpy() for values in spans)
        question = batch["question"].cpu().numpy()
        order = np.lexsort((-score, question))  # stable, so that the first of equal windows wins
        rows, at = np.unique(question[order], return_index=True)
        best = order[at]
        null = np.full(len(rows), np.inf, dtype=np.float32)
        np.minimum.at(null, question, (start[:, 0] + end[:, 0]).cpu().numpy())
        starts, ends = batch["characters"]
        spans_of_rows = zip(batch["contexts"], starts[best, first[best]], ends[best, last[best]], score[best] > LOWEST)
        texts = [context[a:b].strip() if exists else "" for context, a, b, exists in spans_of_rows]
        return Answers(texts, score[best], null - score[best])

    def after_validation(self, metrics: Mapping[str, Any]) -> None:
        """Store the threshold that ``dev`` chose."""
        if (best := metrics.get(f"val/{THRESHOLD}")) is not None:
            self.state[THRESHOLD] = float(best)

    def finish(self, network: Any) -> None:
        """Write the threshold into the config, as ``null_threshold``."""
        if self.null_answers:
            setattr(network.config, THRESHOLD, self.threshold)

    def metrics(self) -> MetricCollection:
        """EM and F1; with null answers also of either kind of question, and the threshold."""
        return self.metrics_for("test")

    def metrics_for(self, split: str) -> MetricCollection:
        """As `metrics`; ``val`` tunes the threshold."""
        return MetricCollection({"squad": AnswerMetric(self, tune=split == "val")})

    def _logits(self, network: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        output = network(**network_inputs(network, batch))
        padding = batch["attention_mask"] == 0
        return tuple(x.float().masked_fill(padding, LOWEST) for x in (output.start_logits, output.end_logits))


def best_spans(
    start: Tensor, end: Tensor, in_context: Tensor, n_best: int, max_answer_tokens: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The span of each window with the highest sum of start and end logits, among its `n_best` starts and ends.

    Returns its score (the least float32 where no span is valid), first and last position, each of shape (windows,).
    Logits and `in_context`, where spans may lie, have the shape (windows, L).
    """
    n = min(n_best, start.shape[1])
    s, first = start.float().masked_fill(~in_context, LOWEST).topk(n)
    e, last = end.float().masked_fill(~in_context, LOWEST).topk(n)
    length = last[:, None, :] - first[:, :, None] + 1
    valid = (length >= 1) & (length <= max_answer_tokens)
    valid &= in_context.gather(1, first)[:, :, None] & in_context.gather(1, last)[:, None, :]
    score, at = (s[:, :, None] + e[:, None, :]).masked_fill(~valid, LOWEST).flatten(1).max(1)
    return score, first.gather(1, (at // n)[:, None])[:, 0], last.gather(1, (at % n)[:, None])[:, 0]


class AnswerMetric(Metric):
    """EM and F1 from the predictions of each question, gathered over all ranks, so that all have one threshold.

    Args:
        head: knows the threshold, and whether there is one.
        tune: find the threshold whose F1 is best, unless it is fixed.
    """

    full_state_update = False
    predictions: list[Tensor]
    has_answer: list[Tensor]

    def __init__(self, head: QuestionAnsweringHead, tune: bool) -> None:
        super().__init__()
        self.head, self.tune = head, tune
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("has_answer", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add `predictions` and `targets` of the head."""
        self.predictions.append(preds)
        self.has_answer.append(target)

    def compute(self) -> dict[str, Tensor]:
        """The metrics, by name; EM and F1 from 0 to 100, as SQuAD's script has them."""
        null_odds, em, f1 = dim_zero_cat(self.predictions).cpu().double().numpy().T
        has_answer = dim_zero_cat(self.has_answer).cpu().numpy()
        if not self.head.null_answers:
            return {name: torch.tensor(100 * values.mean()).float() for name, values in (("em", em), ("f1", f1))}
        threshold = self.head.threshold
        if self.tune and self.head.null_threshold is None:
            threshold = squad.best_threshold(null_odds, f1, has_answer)
        metrics: dict[str, float] = {}
        for name, values in (("em", em), ("f1", f1)):
            reached = squad.with_threshold(null_odds, values, has_answer, threshold)
            metrics[name] = 100 * reached.mean()
            for kind, rows in (("has_ans", has_answer), ("no_ans", ~has_answer)):
                if rows.any():
                    metrics[f"{kind}_{name}"] = 100 * reached[rows].mean()
        metrics[THRESHOLD] = threshold
        return {name: torch.tensor(value).float() for name, value in metrics.items()}
