"""Hugging Face's Trainer on the rows of a data module, and its way with SQuAD: windows by its tokenizer, and the best
answer over each question's windows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

BATCH, RATE = 32, 1e-4
N_BEST, LONGEST_ANSWER = 20, 30  # as this project's defaults, and the Trainer's example


def hugging_face(work: Any, by_length: bool) -> dict[str, float]:
    """Hugging Face's Trainer on the same rows: of classes the tokens of this project's data module, of questions its
    tokenizer's windows."""
    import torch
    import transformers

    from selectune.data.sources import find_model
    from selectune.data.tokens import load_tokenizer
    from selectune.lightning_modules.heads.squad import em_f1

    times: dict[str, float] = {}

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times["started"] = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            work.step_ended()

    work.module.load()
    source = find_model(work.checkpoint)
    tokenizer = load_tokenizer(source.folder)
    if work.classifies:
        auto, sets = "AutoModelForSequenceClassification", {
            split: examples(work.module, split, tokenizer) for split in ("train", "test")
        }  # fmt: skip
        kept = {"num_labels": len({example["labels"] for example in sets["train"]})}
    else:
        auto, kept = "AutoModelForQuestionAnswering", {}
        windows = {split: windows_of(work.module.splits[split], tokenizer, work.module.max_length,
                                     work.module.doc_stride) for split in ("train", "test")}  # fmt: skip
        sets = {split: [one["example"] for one in some] for split, some in windows.items()}
    made = getattr(transformers, auto).from_pretrained(source.folder, dtype=torch.float32, **kept)
    grouped = {"train_sampling_strategy": "group_by_length", "max_grad_norm": 0.0} if by_length else {}
    arguments = transformers.TrainingArguments(
        output_dir=str(work.folder), per_device_train_batch_size=BATCH, learning_rate=RATE, seed=work.seed,
        num_train_epochs=work.epochs, save_strategy="no", report_to="none", disable_tqdm=True, bf16=work.bf16,
        use_cpu=work.device == "cpu", **grouped,
    )  # fmt: skip
    trainer = transformers.Trainer(
        made, arguments, train_dataset=sets["train"], eval_dataset=sets["test"],
        data_collator=transformers.DataCollatorWithPadding(tokenizer), callbacks=[Clock()],
    )  # fmt: skip
    called = time.perf_counter()
    trainer.train()
    ended = time.perf_counter()
    found = trainer.predict(sets["test"])
    if work.classifies:
        metric = {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}
    else:
        rows = work.module.splits["test"]
        texts = answers_of(windows["test"], *found.predictions[:2], list(rows["context"]))
        golds = [answer["text"] for answer in rows["answers"]]
        metric = {"f1": 100 * float(np.mean([em_f1(text, gold)[1] for text, gold in zip(texts, golds, strict=True)]))}
    numbers = work.numbers(called, times["started"], ended) | {"evaluate_s": time.perf_counter() - ended}
    lengths = np.array([len(example["input_ids"]) for example in sets["train"]])
    order = np.array(list(trainer._get_train_sampler(sets["train"])))
    padding = padding_of([lengths[order[start : start + BATCH]] for start in range(0, len(order), BATCH)])
    return numbers | metric | {"padding": padding}


def examples(module: Any, split: str, tokenizer: Any) -> list[dict[str, Any]]:
    """Tokens and label of each row of a split."""
    tokens = module.tokenized(split, tokenizer)
    labels = module.labels[split]
    ids = [tokens.padded(np.array([row]), 0)["input_ids"][0].tolist() for row in range(len(tokens))]
    return [{"input_ids": one, "labels": int(label)} for one, label in zip(ids, labels, strict=True)]


def padding_of(batches: list[np.ndarray]) -> float:
    """Share of padding in batches of rows of these lengths."""
    return 1 - sum(int(one.sum()) for one in batches) / sum(int(one.max()) * len(one) for one in batches)


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
