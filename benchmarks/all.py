"""Run every benchmark of speed and memory, and write the table that the README shows.

    python benchmarks/all.py                        # all of them one after the other; three hours on two cores
    python benchmarks/all.py --only training growth # some of them
    python benchmarks/all.py --table                # run nothing; write the table anew from results/

Each benchmark writes its CSV under results/ and checks its bars; one that misses a bar or fails is told, and the others
go on. The table lies in docs/benchmarks.md between two marks, and its short form in the README. SELECTUNE_DATA and
SELECTUNE_MODELS must have what the benchmarks name, as what stands in for it is not what the table says.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from selectune.common.files import atomic_file
from selectune.data.sources import find_data, find_model

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = ("docs/benchmarks.md", "README.md")
MARKS = "<!-- table of benchmarks/all.py -->", "<!-- end of the table -->"
# need no data but what they make
MADE_UP = {"training_tiny", "dropout", "kept_memory", "growth", "igse", "memory", "startup"}
CASES = ("sst2", "SST-2"), ("imdb", "IMDB")
Values = dict[tuple[str, str, str], float]  # by case, variant and metric


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder, and the file that it writes under results/."""

    name: str
    words: tuple[str, ...] = ()
    script: str = ""

    @property
    def command(self) -> list[str]:
        """The words of its command line."""
        return ["python", f"benchmarks/{self.script or self.name}.py", *self.words, "--csv", f"results/{self.name}.csv"]

    @property
    def values(self) -> Values:
        """Its numbers, as committed; none where they are not there."""
        file = REPOSITORY / "results" / f"{self.name}.csv"
        if not file.is_file():
            return {}
        with file.open(newline="") as handle:
            return {
                (line["case"], line["variant"], line["metric"]): float(line["value"]) for line in csv.DictReader(handle)
            }


BENCHMARKS = (
    Benchmark("training", ("--variants", "selectune", "plain", "drawn", "hf_length", "hf_default")),
    Benchmark("training_whole", ("--variants", "selectune", "whole", "--rounds", "3"), "training"),
    Benchmark(
        "training_bf16",
        ("--precision", "bf16", "--variants", "selectune", "hf_length", "--rounds", "3"),
        "training",
    ),
    Benchmark("training_tiny", ("--tiny", "--variants", "in_turns"), "training"),
    Benchmark(
        "training_squad",
        ("--task", "squad", "--rows", "400", "--variants", "selectune", "uncut", "hf_length", "--rounds", "3"),
        "training",
    ),
    Benchmark("dropout"),
    Benchmark("kept_memory"),
    Benchmark("scoring"),
    Benchmark("transport"),
    Benchmark("minhash"),
    Benchmark("growth", ("--picture", "docs/growth.png")),
    Benchmark("igse"),
    Benchmark("memory"),
    Benchmark("startup"),
    Benchmark("forecast"),
)


@dataclass(frozen=True)
class Claim:
    """A line of the table: what is measured, by which benchmark, and the bar that it is held against.

    Args:
        says: what the number is.
        of: name of the benchmark.
        number: from the benchmark's numbers; raises KeyError where it was not run so far.
        bar: at least or at most so much.
        most: the bar is an upper one.
        short: stands in the README too.
    """

    says: str
    of: str
    number: Callable[[Values], float]
    bar: float
    most: bool = False
    short: bool = False

    def line(self) -> str:
        """Its line of the table."""
        values = next(one for one in BENCHMARKS if one.name == self.of).values
        try:
            number = self.number(values)
        except KeyError:
            return f"| {self.says} | not measured yet | | |"
        met = number <= self.bar if self.most else number >= self.bar
        sign = "≤" if self.most else "≥"
        return f"| {self.says} | {number:.2f} | {sign} {self.bar:.4g} | {'yes' if met else '**no**'} |"


def _only(values: Values, variant: str, metric: str) -> float:
    """The number of a variant of a benchmark of one case."""
    found = [value for (_, of, name), value in values.items() if (of, name) == (variant, metric)]
    if not found:
        raise KeyError(variant, metric)
    return found[0]


def _ratio(case: str, first: str, second: str, metric: str) -> Callable[[Values], float]:
    return lambda values: values[case, first, metric] / values[case, second, metric]


def _paired(case: str, variant: str, metric: str, values: Values) -> float:
    return values[case, variant, f"{metric}_ratio_median"]


def _apart(case: str) -> Callable[[Values], float]:
    return lambda values: abs(values[case, "forecast", "wall_s"] / values[case, "measured", "wall_s"] - 1)


def _steepest(values: Values) -> float:
    exponents = [value for (_, _, metric), value in values.items() if metric == "exponent"]
    if not exponents:
        raise KeyError("exponent")
    return max(exponents)


CLAIMS = (
    Claim("training, Hugging Face's Trainer grouped by length over ours, seconds", "training",
          lambda v: _only(v, "hf_length", "train_s_ratio_median"), 1.15, short=True),
    Claim("training, Hugging Face's Trainer as it comes over ours, seconds", "training",
          lambda v: _only(v, "hf_default", "train_s_ratio_median"), 2.5),
    Claim("training, ours over a bare loop of PyTorch on the same batches, seconds", "training",
          lambda v: 1 / _only(v, "plain", "train_s_ratio_median"), 1.05, most=True),
    Claim("training, dropout drawn as PyTorch does it over ours, seconds", "training",
          lambda v: _only(v, "drawn", "train_s_ratio_median"), 1),
    Claim("training, the last layer at all positions over where it is read alone, seconds", "training_whole",
          lambda v: _only(v, "whole", "train_s_ratio_median"), 1),
    Claim("a step of the embedded tiny model, ours less a bare loop's, milliseconds", "training_tiny",
          lambda v: _only(v, "in_turns", "overhead_ms"), 3, most=True),
    Claim("evaluation of SST-2, share of padding", "training",
          lambda v: _only(v, "selectune", "evaluation_padding"), 0.1, most=True),
    Claim("evaluation, Hugging Face's Trainer as it comes over ours, seconds", "training",
          lambda v: _only(v, "hf_default", "evaluate_s_ratio_median"), 1.0),
    Claim("dropout alone, as PyTorch draws it over ours", "dropout",
          partial(_paired, "alone", "pytorch", "dropout_ms"), 1),
    *(
        Claim(f"a training step in {name}, dropout as PyTorch draws it over ours", "dropout",
              partial(_paired, precision, "pytorch", "step_ms"), 1)
        for precision, name in (("fp32", "float32"), ("bf16", "bfloat16"))
    ),
    *(
        Claim(f"{says} in {name}, freed memory going back to the system over its being kept", "kept_memory",
              partial(_paired, precision, "returned", metric), 1)
        for metric, says in (("step_ms", "a training step"), ("forward_ms", "a forward pass"))
        for precision, name in (("fp32", "float32"), ("bf16", "bfloat16"))
    ),
    Claim("training in bfloat16, Hugging Face's grouped by length over ours, seconds", "training_bf16",
          lambda v: _only(v, "hf_length", "train_s_ratio_median"), 1.15),
    *(
        Claim(f"{says} of SQuAD, Hugging Face's Trainer grouped by length over ours, seconds", "training_squad",
              partial(_only, variant="hf_length", metric=f"{metric}_ratio_median"), bar)
        for says, metric, bar in (("training", "train_s", 1.15), ("evaluation", "evaluate_s", 1.0))
    ),
    *(
        Claim(f"{says} of SQuAD, a batch read at once over in parts of 2,048 tokens", "training_squad",
              partial(_only, variant="uncut", metric=f"{metric}_ratio_median"), 1)
        for says, metric in (("training", "train_s"), ("evaluation", "evaluate_s"))
    ),
    *(
        Claim(f"scoring {name}, exact entropies over the bare product, rows a second", "scoring",
              _ratio(case, "exact", "bare", "rows_per_s"), 0.9)
        for case, name in CASES
    ),
    *(
        Claim(f"scoring {name}, {says} over the encoder alone, rows a second", "scoring",
              _ratio(case, variant, "encoder", "rows_per_s"), bar,
              short=(case, variant) == ("sst2", "probe_early"))
        for variant, says, bar in (("probe", "entropy probe", 0.9), ("probe_early", "early probe", 1.8))
        for case, name in CASES
    ),
    Claim("transport of 200,000 rows, POT's `sinkhorn_log` over ours, seconds an iteration", "transport",
          _ratio("n200k_std0.05", "pot_sinkhorn_log", "dense", "seconds_per_iteration"), 60, short=True),
    Claim("the same, POT's `sinkhorn` over ours, eps 0.1", "transport",
          _ratio("n200k_abs0.1", "pot_sinkhorn", "dense", "seconds_per_iteration"), 2),
    Claim("near copies among 5,000 texts, datasketch over ours, seconds", "minhash",
          lambda v: _only(v, "datasketch", "ratio"), 1),
    Claim("growth with the pool, steepest exponent of a stage (pages without rendering)", "growth",
          _steepest, 1.05, most=True),
    Claim("a million rows over ten thousand, anonymous memory more, MB", "memory",
          lambda v: v["select", "difference", "peak_rss_anon_mb"], 200, most=True, short=True),
    Claim("`fit --help`, seconds", "startup", lambda v: v["startup", "help", "median_s"], 2, most=True),
    Claim("a mistake in a config, seconds", "startup", lambda v: v["startup", "mistake", "median_s"], 2, most=True),
    Claim("`fit` to its first step over the imports of Lightning, transformers and datasets, seconds", "startup",
          lambda v: v["startup", "first step over stack", "ratio"], 1.3, most=True, short=True),
    *(
        Claim(f"forecast of wall time off by, {name}", "forecast", _apart(case), 0.25, most=True)
        for case, name in (("quickstart", "the quickstart"), ("docstrings", "docstrings"), CASES[0])
    ),
)  # fmt: skip


def table(short: bool) -> str:
    """The table in Markdown; a short one leaves out most lines."""
    lines = [claim.line() for claim in CLAIMS if claim.short or not short]
    return "\n".join(["| measured | value | bar | met |", "| --- | ---: | ---: | --- |", *lines])


def with_table(page: str, made: str) -> str:
    """A page with the table between the marks.

    Raises:
        ValueError: a mark is not in it once.
    """
    begin, end = (page.index(mark) for mark in MARKS)
    if page.count(MARKS[0]) != 1 or page.count(MARKS[1]) != 1 or end < begin:
        raise ValueError("The marks of the table must be there once each, in their order.")
    return f"{page[: begin + len(MARKS[0])]}\n{made}\n{page[end:]}"


def main() -> None:
    made = ArgumentParser(description=__doc__)
    made.add_argument("--only", nargs="+", choices=[one.name for one in BENCHMARKS], help="these alone")
    made.add_argument("--table", action="store_true", help="run nothing")
    options = made.parse_args()
    if not options.table and set(options.only or ["all"]) - MADE_UP:
        for find, name in (
            (find_data, "stanfordnlp/sst2"),
            (find_data, "stanfordnlp/imdb"),
            (find_model, "minilm-l6-mlm"),
        ):
            find(name)  # raises a UserError
    failed = []
    for benchmark in BENCHMARKS if not options.table else ():
        if options.only and benchmark.name not in options.only:
            continue
        began = time.monotonic()
        print("$", *benchmark.command, flush=True)
        code = subprocess.run([sys.executable, *benchmark.command[1:], "--check"], cwd=REPOSITORY).returncode
        print(f"{benchmark.name}: {(time.monotonic() - began) / 60:.0f} min, exit code {code}", flush=True)
        failed += [benchmark.name] if code else []
    for name in PAGES:
        page = REPOSITORY / name
        text = with_table(page.read_text(), table(short=name == "README.md"))
        with atomic_file(page) as partial:
            partial.write_text(text)
    if failed:
        sys.exit(f"missed a bar or failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
