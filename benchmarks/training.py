"""Fine-tuning speed against Hugging Face's Trainer and a plain loop, on the same rows.

    python benchmarks/training.py --csv results/training.csv   # 7 rounds of all; over an hour on two cores
    python benchmarks/training.py --precision bf16             # every variant in bfloat16 autocast
    python benchmarks/training.py --task squad --rows 400      # questions, in windows of 384 tokens
    python benchmarks/training.py --tiny --variants in_turns  # the loop's own time, by the embedded model
    python benchmarks/training.py --rows 500 --rounds 3        # smaller
    python benchmarks/training.py --csv out.csv --check        # exits with 1 where a bar is missed

Rows of SST-2 by ``minilm-l6-mlm``; where these are not in SELECTUNE_DATA and SELECTUNE_MODELS, the embedded corpus and
model stand in and no bar holds. With ``--task squad`` questions of SQuAD, tried on half as many. An epoch in batches of
32, AdamW with a linear fall from 1e-4. Bars are the same for both.

Variants, each in a process of its own, in rounds, in turns from the first and from the last:
    selectune   this project's Trainer, data module and fine-tuner, with the ledger
    plain       a bare loop of PyTorch over the very same batches
    whole       the same, its last layer computed at all positions and not where the classifier reads alone
    uncut       the same, a batch for which memory has room read at once and not in parts that the cache holds
    drawn       the same, dropout drawn as PyTorch does it
    hf_length   `transformers.Trainer`, batches grouped by length
    hf_default  `transformers.Trainer` as it comes, which clips gradients
    in_turns    this project's way and two bare loops in one process, a step of each in turns; only where it is named

`train_s` is the training alone, without import, tokens, the model's load and the optimizer's making, but with the
ledger's count of FLOPs; `first_step_s` the time from the call of `fit` or `train` to the end of the first step,
`steps_per_s` that of the second half; `evaluate_s` the evaluation of the held-out rows by the same way (`plain` has
none), of questions with the search for their answers, which beside the Trainer is a plain loop over the best starts and
ends of each window; `accuracy`, or `f1`, is on these. `padding` is the share of all tokens that the network read which
is padding, `evaluation_padding` that of the held-out rows. Ratios are medians over rounds of the ratio within a round,
with their quartiles; `overhead_ms` is the mean time of a step of the second half less that of the plain loops in turns
with it, and `nothing_ms` one of these less the other, which should be nothing. With `--tiny` the embedded corpus and
model are taken, and the bar is `overhead_ms`.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _hugging_face import BATCH, RATE, hugging_face, padding_of
from _table import Row, finish, parser

LONGEST = 128
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "sst2": (
        "TextClassification",
        {
            "dataset": "stanfordnlp/sst2", "text_column": "sentence", "test_split": "validation", "max_length": LONGEST
        },
    ),
    "squad": ("QuestionAnswering", {"dataset": "rajpurkar/squad", "test_split": "validation"}),
}  # fmt: skip
# over the median ratio of seconds to this project's, at least; the plain loop's at least so near
BARS = {"hf_length": 1.15, "hf_default": 2.5, "plain": 1 / 1.05}
MOST_MS = 3.0  # of a step over the plain loop's, of a tiny model


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=int, default=4_000)
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--task", choices=list(DATA), default="sst2")
    made.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    made.add_argument("--tiny", action="store_true", help="the embedded corpus and model")
    made.add_argument("--variants", nargs="+", choices=TRAINED, default=[one for one in TRAINED if one != "in_turns"])
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    made.add_argument("--child", help="used by the script itself")
    options = made.parse_args()
    if options.task == "squad" and options.tiny:
        made.error("--tiny is of the embedded corpus, which has no questions; leave out --task squad")
    if options.child:
        print(json.dumps(run(options.child, options)))
        return
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in options.variants}
    for turn in range(options.rounds):
        for variant in options.variants[:: 1 if turn % 2 == 0 else -1]:
            found[variant].append(child(variant, turn, options))
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
    what = "rows" if options.task == "sst2" else f"rows of {options.task}"
    case = f"{options.rows} {what}, {options.precision}{', tiny' if options.tiny else ''}"
    rows = [
        Row(case, variant, name, statistics.median(one[name] for one in runs))
        for variant, runs in found.items()
        for name in runs[0]
    ]
    missed = []
    rivals = [one for one in options.variants if one not in ("selectune", "in_turns")]
    for rival in rivals if "selectune" in found else []:
        for name in ("train_s", "evaluate_s") if rival != "plain" else ("train_s",):
            pairs = zip(found[rival], found["selectune"], strict=True)
            quartiles = np.quantile([theirs[name] / ours[name] for theirs, ours in pairs], [0.25, 0.5, 0.75])
            labels = (f"{name}_ratio_{label}" for label in ("low", "median", "high"))
            rows += [Row(case, rival, *one) for one in zip(labels, map(float, quartiles))]
            if name == "train_s" and found["selectune"][0]["real"] and quartiles[1] < BARS.get(rival, 0):
                missed.append(f"{rival} takes {quartiles[1]:.2f} times as long, and should take {BARS[rival]:.2f}")
    if "in_turns" in found:
        for name in ("overhead_ms", "nothing_ms"):
            low, more, high = map(float, np.quantile([one[name] for one in found["in_turns"]], [0.25, 0.5, 0.75]))
            rows += [Row(case, "in_turns", f"{name}_low", low), Row(case, "in_turns", f"{name}_high", high)]
            if options.tiny and name == "overhead_ms" and more > MOST_MS:
                missed.append(f"a step takes {more:.1f} ms more than a plain loop's, and may take {MOST_MS:g}")
    finish(rows, missed, options)


def child(variant: str, seed: int, options: Any) -> dict[str, float]:
    """The numbers of a variant, of a process of its own."""
    words = ["--child", variant, "--rows", str(options.rows), "--precision", options.precision, "--task", options.task]
    command = [sys.executable, __file__, *words, "--device", options.device, *(["--tiny"] if options.tiny else [])]
    environment = os.environ | {"SEED": str(seed)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    numbers: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
    return numbers


@dataclass
class Work:
    """A training: its rows, its model, and where and for how long it runs."""

    module: Any
    checkpoint: str
    seed: int
    bf16: bool
    device: str
    folder: Path
    epochs: int = 1
    ends: list[float] = field(default_factory=list)

    def now(self) -> float:
        """The time, when all is done that was asked of the device."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def step_ended(self) -> None:
        """Take the time at the end of a step."""
        looked_at = len(self.ends) in (0, self.halfway - 1, 2 * self.halfway - 1)
        self.ends.append(self.now() if looked_at else time.perf_counter())

    @property
    def classifies(self) -> bool:
        """Whether rows are classified; else questions are answered."""
        return bool(self.module.has_classes)

    @property
    def halfway(self) -> int:
        """Steps of the first half of the training; a last step more, of an odd number, is not timed."""
        return self.epochs * math.ceil(len(self.module.pool) / BATCH) // 2

    def numbers(self, called: float, started: float, ended: float) -> dict[str, float]:
        """Seconds of the training and to the end of its first step, and steps a second of its second half."""
        half = self.halfway
        return {
            "train_s": ended - started,
            "first_step_s": self.ends[0] - called,
            "steps_per_s": half / (self.ends[2 * half - 1] - self.ends[half - 1]),
        }


def run(variant: str, options: Any) -> dict[str, float]:
    """Train and evaluate in this process."""
    from selectune import datamodules
    from selectune.common.errors import UserError
    from selectune.data.sources import find_model

    seed = int(os.environ.get("SEED", "0"))
    kind, data = DATA[options.task]
    try:
        find_model(checkpoint := "docstrings-bert" if options.tiny else "minilm-l6-mlm")
    except UserError:
        if options.task == "squad":
            raise
        checkpoint = "docstrings-bert"
    if checkpoint == "docstrings-bert":
        kind, data = "TextClassification", {"dataset": "docstrings", "max_length": LONGEST}
    eval_rows = options.rows // 2 if kind == "QuestionAnswering" else None
    module = getattr(datamodules, kind)(
        **data, max_train_rows=options.rows, max_eval_rows=eval_rows, batch_size=BATCH, max_dev_rows=50, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Work(module, checkpoint, seed, options.precision == "bf16", options.device, Path(folder))
        numbers = TRAINED[variant](work)
    return numbers | {"real": float(checkpoint != "docstrings-bert")}


def built(work: Work) -> tuple[Any, Any]:
    """The fine-tuner and its Trainer, with the ledger as a fit has it."""
    from lightning.pytorch import seed_everything

    from selectune import CostLedger, FineTuner, Trainer

    seed_everything(work.seed)
    trainer = Trainer(
        max_epochs=work.epochs, accelerator="gpu" if work.device == "cuda" else "cpu", devices=1, limit_val_batches=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[CostLedger()], precision="bf16-mixed" if work.bf16 else "32-true",
    )  # fmt: skip
    work.module.load()
    return FineTuner(work.checkpoint, learning_rate=RATE, warmup=0.0), trainer


def ours(work: Work) -> dict[str, float]:
    """This project's way."""
    from lightning.pytorch.callbacks import LambdaCallback

    from selectune.data.batches import EVALUATION_PADDING, plan_batches, split_batch, tokens_at_once

    model, trainer = built(work)
    times: dict[str, float] = {}
    clock = LambdaCallback(
        on_train_start=lambda *_: times.update(started=time.perf_counter()),
        on_train_batch_end=lambda *_: work.step_ended(),
        on_train_end=lambda *_: times.update(ended=time.perf_counter()),
    )
    trainer.callbacks.insert(0, clock)  # before the ledger, whose work counts
    called = time.perf_counter()
    trainer.fit(model, work.module)
    numbers = work.numbers(called, **times)
    began = time.perf_counter()
    (metrics,) = trainer.test(model, work.module, verbose=False)
    numbers["evaluate_s"] = time.perf_counter() - began
    tokens, metric = work.module.encoded("train"), "accuracy" if work.classifies else "f1"
    most = work.module.max_batch_tokens
    at_once = tokens_at_once(most, trainer.strategy.root_device)
    batches = work.module.train_dataloader().sampler.batches()
    parts = [split_batch(rows, tokens.padded_lengths, most, at_once) for rows in batches]
    padding = padding_of([tokens.lengths[rows] if work.classifies else tokens.window_lengths[tokens.of(rows)]
                          for recomputed, kept in parts for rows in (*recomputed, *kept)])  # fmt: skip
    tried = work.module.encoded("test")
    plan = plan_batches(tried.padded_lengths, at_once, padding=EVALUATION_PADDING)
    real, read = sum(map(tried.tokens_of, plan)), sum(math.prod(tried.shape_of(rows)) for rows in plan)
    return numbers | {metric: metrics[f"test/{metric}"], "padding": padding, "evaluation_padding": 1 - real / read}


def whole(work: Work) -> dict[str, float]:
    """This project's way, but for what it leaves out of the last layer."""
    from selectune.lightning_modules import fine_tuner

    fine_tuner.read_first_position = lambda network: False
    return ours(work)


def uncut(work: Work) -> dict[str, float]:
    """This project's way, but for the size of a pass on a CPU."""
    from selectune.data import batches

    batches.CPU_TOKENS = sys.maxsize
    return ours(work)


def drawn(work: Work) -> dict[str, float]:
    """This project's way, but for how dropout is drawn."""
    from selectune.lightning_modules import fine_tuner

    fine_tuner.CpuDropout = nullcontext
    return ours(work)


def plain(work: Work) -> dict[str, float]:
    """A bare loop over the batches of this project's loader, by its head and with its dropout."""
    loop = BareLoop(work)
    started = time.perf_counter()
    while loop.step():
        work.step_ended()
    return work.numbers(started, started, work.now())


class BareLoop:
    """A training of a model and optimizer of its own, one step a call."""

    def __init__(self, work: Work) -> None:
        model, trainer = built(work)
        trainer.fit_loop.max_epochs = 0
        trainer.fit(model, work.module)  # which sets all up, and trains on nothing
        trainer.fit_loop.max_epochs = work.epochs
        self.work, self.network, self.model = work, model.network.to(work.device).train(), model
        made = model.configure_optimizers()
        self.optimizer, self.schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        self.batches = iter(self.all_batches())

    def all_batches(self) -> Iterator[Any]:
        """Those of all epochs, as they are fetched."""
        loader = self.work.module.train_dataloader()
        for epoch in range(self.work.epochs):
            loader.sampler.set_epoch(epoch)
            yield from loader

    def step(self) -> bool:
        """Fetch a batch and train on it; false after the last."""
        import torch
        from lightning.fabric.utilities import move_data_to_device

        if (batch := next(self.batches, None)) is None:
            return False
        outputs = []
        for micro in batch["micro_batches"]:
            with torch.autocast(self.work.device, torch.bfloat16, enabled=self.work.bf16), self.model._dropout():
                outputs.append(self.model.head.forward(self.network, move_data_to_device(micro, self.work.device)))
        (sum(one.loss_sum for one in outputs) / sum(one.items for one in outputs)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        return True


def in_turns(work: Work) -> dict[str, float]:
    """This project's way and two bare loops in one process, a step of each in turns."""
    from lightning.pytorch.callbacks import LambdaCallback

    loops = BareLoop(work), BareLoop(work)
    model, trainer = built(work)
    times: list[tuple[float, ...]] = []  # of a step of ours, of the first loop and of the second
    last = 0.0

    def start(*_: Any) -> None:
        nonlocal last
        last = work.now()

    def turn(*_: Any) -> None:
        step, bare = work.now() - last, [0.0, 0.0]
        for one in (0, 1) if len(times) % 2 else (1, 0):
            began = work.now()
            loops[one].step()
            bare[one] = work.now() - began
        times.append((step, *bare))
        start()

    # before the ledger, whose work after a step counts to the next
    trainer.callbacks.insert(0, LambdaCallback(on_train_start=start, on_train_batch_end=turn))
    trainer.fit(model, work.module)
    step, bare, again = (1e3 * np.mean(times[len(times) // 2 :], axis=0)).tolist()
    return {"step_ms": step, "bare_step_ms": bare, "overhead_ms": step - (bare + again) / 2, "nothing_ms": again - bare}


TRAINED: dict[str, Callable[[Work], dict[str, float]]] = {
    "selectune": ours,
    "whole": whole,
    "uncut": uncut,
    "drawn": drawn,
    "plain": plain,
    "hf_length": partial(hugging_face, by_length=True),
    "hf_default": partial(hugging_face, by_length=False),
    "in_turns": in_turns,
}


if __name__ == "__main__":
    main()
