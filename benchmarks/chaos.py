"""Kill a small run at random moments and at every call that changes a file: does it end as if nothing had happened?

    python benchmarks/chaos.py --kills 40 --warm_up --check      # at random moments of all stages
    python benchmarks/chaos.py --every_call --csv chaos.csv      # at each write, rename and delete; skips rows there
    python benchmarks/chaos.py --data stanfordnlp/sst2 --model bert-base-uncased --more data.text_column=sentence \
        data.test_split=validation

A run with a selector, two epochs and checkpoints in mid-epoch is made once undisturbed. Then each kill (SIGKILL) gets a
run and a cache of its own, and the same command is started again until it ends. The run lies in `--run_dir`, on a
memory file system where there is one, and cache and temporary files in `--work`, on another. Per kill: 1 or 0 for
whether selection, metrics (to 1e-6) and the saving in FLOPs are the undisturbed run's, and the number of files that are
there or missing in run and cache beyond its own. What differs is left in place, with the log beside it.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from _file_calls import Call
from _forked import forked
from _killed_runs import Place, differences
from _table import Row, finish, parser, write

ATTEMPTS = 4
KINDS = ["mkdir", "open", "write", "sync", "rename", "delete"]
CHECKPOINT_STEPS = 2
CLASSES, ROWS = 4, 1000  # of the embedded data
SMALL = [
    "--data.max_length", "32", "--data.batch_size", "8", "--data.selector", "IGSE", "--data.keep", "0.25",
    "--scorer.max_batch_tokens", "512", "--model.learning_rate", "1e-3", "--trainer.max_epochs", "2",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1",
]  # fmt: skip


class Chaos:
    """A small run that is made again and again, each time with another kill.

    Args:
        options: of the command line.
    """

    def __init__(self, options: Namespace) -> None:
        self.runs, self.work = options.run_dir.absolute(), options.work.absolute()
        self.embedded = {name: self.work / name for name in ("docstrings", "docstrings-bert")}
        named = [str(self.embedded.get(name, name)) for name in (options.data, options.model)]
        rows = ["--data.max_train_rows", str(options.rows), "--data.max_eval_rows", str(options.rows // 4)]
        data = ["--data", "TextClassification", "--data.dataset", named[0], "--model.checkpoint", named[1]]
        self.command = ["fit", *data, *rows, *SMALL, *options.more]
        for folder in (self.runs, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        if options.warm_up:
            texts = {"dataset": named[0], "max_length": 32, "batch_size": 8, "max_train_rows": options.rows}
            warm_up = {"data": {"class_path": "LanguageModeling", "init_args": texts}, "max_epochs": 1}
            (self.work / "warm_up.yaml").write_text(json.dumps({"warm_up": warm_up}))
            self.command += ["--config", str(self.work / "warm_up.yaml")]
        os.environ |= {
            "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_CACHE": str(self.work / "datasets"),
            "TMPDIR": str(self.work), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }  # fmt: skip
        tempfile.tempdir = None
        import selectune.tables.preload  # noqa: F401  (once for all attempts, which are forked)

        made, log = all(path.is_dir() for path in self.embedded.values()), self.work / "embedded.log"
        if {options.data, options.model} & self.embedded.keys() and not made:
            print("making the embedded data and model, which takes a minute or two", flush=True)
            if forked(self._make_embedded, log=log):
                sys.exit(f"The data could not be made:\n{log.read_text()[-3000:]}")

    def place(self, name: str) -> Place:
        """An empty place."""
        place = Place(self.runs / name, self.work / f"{name}-cache", self.work / f"{name}.log")
        place.remove()
        place.cache.mkdir()
        return place

    def undisturbed(self) -> tuple[Place, list[Call], float]:
        """The run that the others are compared with, the calls that it made, and its seconds."""
        place, calls = self.place("undisturbed"), list[Call]()
        began = time.monotonic()
        code = self.attempt(place, note=calls)
        if code:
            sys.exit(f"The undisturbed run failed:\n{place.log.read_text()[-3000:]}")
        return place, calls, time.monotonic() - began

    def attempt(
        self, place: Place, kill_at: Call | None = None, after_s: float | None = None, note: list[Call] | None = None
    ) -> int:
        """Start the command once; gives its exit code, below 0 for the signal that ended it."""

        def run() -> None:
            os.environ["SELECTUNE_CACHE"] = str(place.cache)
            self._checkpoints_in_mid_epoch()
            from selectune.cli import main

            main([*self.command, "--output", str(place.run)])

        return forked(run, kill_at, {"run": place.run, "cache": place.cache}, note, place.log, after_s)

    def trial(self, name: str, kill_at: Call | None, after_s: float | None) -> tuple[Place, int, int]:
        """Kill a run once and start it again until it ends; gives the place, the attempts and the last exit code."""
        place = self.place(name)
        code, attempts = self.attempt(place, kill_at, after_s), 1
        while code == -signal.SIGKILL and attempts < ATTEMPTS:
            code, attempts = self.attempt(place), attempts + 1
        return place, attempts, code

    def _make_embedded(self) -> None:
        """Some rows of the data and the model that are made on this machine, as folders."""
        from selectune.common.files import atomic_folder
        from selectune.data.embedded.docstrings import docstrings
        from selectune.data.embedded.tiny_bert import tiny_bert

        cache = self.work / "embedded"
        corpus, model = docstrings(cache), tiny_bert(cache)
        with atomic_folder(self.embedded["docstrings"]) as partial:
            for split in ("train", "test"):
                table = pq.read_table(corpus / f"{split}.parquet").replace_schema_metadata(None)
                few = table.filter(pc.field("label") < CLASSES)
                some = [*range(0, len(few), max(1, len(few) // ROWS))]
                pq.write_table(few.take(some), partial / f"{split}.parquet")
        shutil.copytree(model, self.embedded["docstrings-bert"])

    @staticmethod
    def _checkpoints_in_mid_epoch() -> None:
        """Save `last.ckpt` every few steps, which a real run does every few minutes."""
        from selectune.callbacks import checkpoints

        real = checkpoints.last_checkpoints

        def every_few_steps(folder: Path) -> list[Any]:
            by_step: dict[str, Any] = {"every_n_train_steps": CHECKPOINT_STEPS, "save_on_train_epoch_end": False}
            often = checkpoints._Last(folder, filename="last", save_top_k=1, enable_version_counter=False, **by_step)
            return [*real(folder), often]

        checkpoints.last_checkpoints = every_few_steps
        checkpoints.timedelta = lambda minutes: timedelta(hours=minutes)  # type: ignore[attr-defined]


def kills(options: Namespace, calls: list[Call], seconds: float) -> Iterator[tuple[str, Call | None, float | None]]:
    """Each kill: its name, the call or the second that it comes at."""
    draw = random.Random(options.seed)
    for number in range(options.kills):
        moment = draw.random()
        yield f"moment {number} at {moment:.0%}", None, moment * seconds
    for call in calls:
        if str(call) in options.at or (options.every_call and call.kind in options.kinds):
            yield str(call), call, None


def known(file: Path | None) -> list[Row]:
    """The rows that an earlier start of this has written."""
    if file is None or not file.is_file():
        return []
    with file.open(newline="") as handle:
        return [Row(row["case"], row["variant"], row["metric"], float(row["value"])) for row in csv.DictReader(handle)]


def main() -> None:
    made = parser(__doc__)
    memory = Path("/dev/shm")
    made.add_argument("--kills", type=int, default=20, help="at random moments")
    made.add_argument("--warm_up", action="store_true", help="with a warm-up before it, a further stage")
    made.add_argument("--every_call", action="store_true", help="and one at each call that changes a file")
    made.add_argument(
        "--kinds", nargs="*", choices=KINDS, default=KINDS, help="of the calls that --every_call means; default all"
    )
    made.add_argument(
        "--at", nargs="*", default=[], metavar="CALL", help="some of these calls, as the table names them"
    )
    made.add_argument("--seed", type=int, default=0, help="of the moments")
    made.add_argument("--data", default="docstrings", help="name of a data set")
    made.add_argument("--model", default="docstrings-bert", help="name of a model")
    made.add_argument("--rows", type=int, default=240, help="of the pool")
    made.add_argument(
        "--more", nargs="*", default=[], help="further arguments of fit, such as data.text_column=sentence"
    )
    made.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "selectune-chaos")
    made.add_argument("--run_dir", type=Path, default=(memory if memory.is_dir() else Path()) / "selectune-chaos")
    options = made.parse_args()
    options.more = [f"--{argument}" for argument in options.more]
    chaos = Chaos(options)
    expected, calls, seconds = chaos.undisturbed()
    print(f"undisturbed: {seconds:.1f} s, {len(calls)} calls that change files", flush=True)
    rows, missed = known(options.csv), []
    there = {row.case for row in rows}
    for number, (name, call, moment) in enumerate(kills(options, calls, seconds)):
        if name in there:
            continue
        place, attempts, code = chaos.trial(f"kill-{number}", call, moment)
        while attempts == 1 and code == 0 and moment is not None:  # it had ended before, so an earlier moment
            moment *= 0.8
            place, attempts, code = chaos.trial(f"kill-{number}", call, moment)
        found = {"attempts": float(attempts), "exit_code": float(code)}
        found |= differences(place, expected) if code == 0 else {}
        rows += [Row(name, "", metric, value) for metric, value in found.items()]
        if options.csv:
            write(rows, options.csv)
        good = found.get("stray_or_missing_files") == 0 and all(v == 1 for n, v in found.items() if n.endswith("equal"))
        print(f"{name}: {found}" + ("" if good else f", see {place.log}"), flush=True)
        if good:
            place.remove()
    cases: dict[str, dict[str, float]] = {}
    for row in rows:
        cases.setdefault(row.case, {})[row.metric] = row.value
    for name, found in cases.items():
        if found["exit_code"]:
            missed.append(f"{name}: the run did not end well")
        for metric, value in found.items():
            if (metric.endswith("equal") and value != 1) or (metric.startswith("stray") and value):
                missed.append(f"{name}: {metric} is {value:g}")
    finish(rows, missed, options)


if __name__ == "__main__":
    main()
