"""Hugging Face's way with SQuAD: windows by its tokenizer, and the best answer over each question's windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

N_BEST, LONGEST_ANSWER = 20, 30  # as this project's defaults, and the Trainer's example


def windows_of(rows: Any, tokenizer: Any, max_length: int, stride: int) -> list[dict[str, Any]]:
    """The windows of questions: tokens, the positions of the answer, and what an answer is read off by."""
    encoded = tokenizer(
        list(rows["question"]), list(rows["context"]), truncation="only_second", max_length=max_length, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    answers, found = rows["answers"], []
    for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
        offsets, parts = encoded["offset_mapping"][window], encoded.sequence_ids(window)
        context = [place for place, part in enumerate(parts) if part == 1]
        start = answers[row]["answer_start"][0]
        end = start + len(answers[row]["text"][0])
        inside = offsets[context[0]][0] <= start and end <= offsets[context[-1]][1]
        first = max((i for i in context if offsets[i][0] <= start), default=0) if inside else 0
        last = min((i for i in context if offsets[i][1] >= end), default=0) if inside else 0
        example = {name: encoded[name][window] for name in tokenizer.model_input_names}
        example |= {"start_positions": first, "end_positions": last}
        found.append({"example": example, "row": row, "offsets": offsets, "context": (context[0], context[-1])})
    return found


def answers_of(
    windows: Sequence[dict[str, Any]], starts: np.ndarray, ends: np.ndarray, contexts: Sequence[str]
) -> list[str]:
    """The answer to each question: the best pair of the likeliest starts and ends of its windows, pair by pair.

    Args:
        windows: of `windows_of`.
        starts: logits, shape (n_windows, longest).
        ends: the same of the ends.
        contexts: of the questions.
    """
    best: list[tuple[float, str]] = [(-np.inf, "")] * len(contexts)
    for window, start, end in zip(windows, starts, ends, strict=True):
        low, high = window["context"]
        row, offsets = window["row"], window["offsets"]
        for first in np.argsort(start[: high + 1])[: -N_BEST - 1 : -1]:
            for last in np.argsort(end[: high + 1])[: -N_BEST - 1 : -1]:
                if first < low or last < first or last - first >= LONGEST_ANSWER:
                    continue
                score = float(start[first] + end[last])
                if score > best[row][0]:
                    best[row] = score, contexts[row][offsets[first][0] : offsets[last][1]]
    return [text for _, text in best]
