"""Cost of a selection by the size of its pool, stage by stage, from a thousand rows to a million.

    python benchmarks/growth.py --csv results/growth.csv --picture docs/growth.png  # 20 minutes on two cores
    python benchmarks/growth.py --rows 1000 10000 100000                            # smaller, and no exponents
    python benchmarks/growth.py --csv results/growth.csv --check   # exits with 1 where an exponent is over 1.05

Made-up rows of 3 to 8 words and a tiny random model (`benchmarks/memory.py` makes both), each size three times in
processes of its own with an empty cache, of which these are the medians. `load` reads a parquet file, splits it and
fingerprints its rows, once a small file was loaded, so that imports are not in it; `tokenise` makes the pool's tokens;
the other stages are those of the ledger of `python main.py select`: `score` (three entropies and embeddings) and
`select` by `IGSE`, the median of three runs of which two find the signals in the cache, `solve` by `GOTD` towards
1,000 rows; `report` is the page of a run of each size made again, in turns in one process without a look for garbage:
the smallest one's median of 31, and what the others take more in the same round, also the median. Its pictures are
composed and not rendered: that depends on their labels by more than on the rows. `render` is what it takes more, the
median of five, without an exponent.

`exponent` is that of the growth from a tenth of the largest size to it once the constant is removed, which is the least
that a smaller size takes: the slope of a line through the logarithms of rows and of seconds more. `peak_rss_anon_mb`
is the most anonymous memory of a `select`.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _table import Row, finish, parser
from memory import make_data, make_model, rss_anon

from selectune.common.run_files import RunFiles

REPOSITORY = Path(__file__).resolve().parent.parent
BAR = 1.05
STAGES = ("load", "tokenise", "score", "select", "solve", "report")
TIMES, SELECTS, PAGES, RENDERED = 3, 3, 31, 5
BILLION = 10**9


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 300_000, 1_000_000])
    made.add_argument("--picture", type=Path, metavar="PATH", help="draw the curves too")
    made.add_argument("--child", nargs=2, metavar=("WHAT", "PATH"), help="used by the script itself")
    options = made.parse_args()
    if options.child:
        print(json.dumps({"load": loaded, "report": reported}[options.child[0]](Path(options.child[1]))))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as runs:
        for n_rows in sorted(options.rows):
            rows += medians([measure(n_rows, Path(runs, str(n_rows))) for _ in range(TIMES)])
            print(f"{n_rows:,} rows: done", file=sys.stderr, flush=True)
        pages = child("report", Path(runs), dict(os.environ))
    rows += [Row(*stage_and_size.split(","), "wall_s", seconds) for stage_and_size, seconds in pages.items()]
    exponents = [] if max(options.rows) < 1_000_000 else growth(rows)
    unknown = sorted(set(STAGES) - {row.case for row in exponents}) if exponents else []
    missed = [
        f"{row.case} grows with exponent {row.value:.2f}, and may with {BAR}" for row in exponents if row.value > BAR
    ]
    missed += [f"{stage} grows by less than its constant is off, so its exponent is not known" for stage in unknown]
    if options.picture:
        draw(rows, options.picture)
    finish(rows + exponents, missed, options)


def medians(found: list[list[Row]]) -> list[Row]:
    """The median of each number over several measurements."""
    return [one[0]._replace(value=statistics.median(row.value for row in one)) for one in zip(*found, strict=True)]


def measure(n_rows: int, kept: Path) -> list[Row]:
    """Seconds of each stage with so many rows, and the memory of both selections; the run of `IGSE` is kept."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _measured(n_rows, Path(folder))
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(Path(folder, "IGSE"), kept)
    return rows


def child(what: str, path: Path, environment: dict[str, str]) -> dict[str, float]:
    """The numbers of a process of its own."""
    command = [sys.executable, __file__, "--child", what, str(path)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _measured(n_rows: int, folder: Path) -> list[Row]:
    make_model(folder / "model")
    make_data(folder / "pool.parquet", n_rows)
    make_data(folder / "target.parquet", 1_000)
    environment = os.environ | {
        "SELECTUNE_CACHE": str(folder / "cache"),
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
    }

    seconds = child("load", folder, environment)
    peaks = {}
    for selector, data in (("IGSE", "TextClassification"), ("GOTD", "LanguageModeling")):
        run = folder / selector
        peaks[selector] = selected(selector, data, folder, run, environment)
        seconds |= {stage: taken for stage, taken in ledger_seconds(run).items() if stage not in seconds}
    again = [folder / f"again_{number}" for number in range(1, SELECTS)]
    for run in again:
        selected("IGSE", "TextClassification", folder, run, environment)
    seconds["select"] = statistics.median([seconds["select"], *(ledger_seconds(run)["select"] for run in again)])
    rows = [Row(stage, f"{n_rows} rows", "wall_s", seconds[stage]) for stage in STAGES if stage in seconds]
    return rows + [Row(name, f"{n_rows} rows", "peak_rss_anon_mb", peak / 2**20) for name, peak in peaks.items()]


def selected(selector: str, data: str, folder: Path, run: Path, environment: dict[str, str]) -> int:
    """Select a tenth of the pool's rows in a process; returns the peak of its anonymous memory, bytes."""
    target = ["--data.target", json.dumps({"dataset": str(folder / "target.parquet")})] if selector == "GOTD" else []
    command = [
        sys.executable, "main.py", "select", "--data", data, "--data.dataset", str(folder / "pool.parquet"), *target,
        "--data.selector", selector, "--data.keep", "0.1", "--data.max_length", "16",
        "--model.checkpoint", str(folder / "model"), "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false", "--output", str(run),
    ]  # fmt: skip
    process, peak = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        peak = max(peak, rss_anon(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return peak


def ledger_seconds(run: Path) -> dict[str, float]:
    """Wall seconds of each stage of a run, all its parts together."""
    seconds: dict[str, float] = {}
    for line in RunFiles(run).costs.read_text().splitlines():
        record = json.loads(line)
        seconds[record["stage"]] = seconds.get(record["stage"], 0.0) + record["wall_s"]
    return seconds


def loaded(folder: Path) -> dict[str, float]:
    """Seconds of reading the pool, and of making its tokens."""
    from selectune.data.tokens import load_tokenizer
    from selectune.datamodules import TextClassification

    TextClassification(str(folder / "target.parquet"), max_length=16, seed=0).load()
    data = TextClassification(str(folder / "pool.parquet"), max_length=16, seed=0)
    began = time.perf_counter()
    data.load()
    between = time.perf_counter()
    data.tokenized("train", load_tokenizer(folder / "model"))
    return {"load": between - began, "tokenise": time.perf_counter() - between}


def reported(runs: Path) -> dict[str, float]:
    """Seconds of making the page of each run again, ``report,1000 rows``, and of its pictures' ``render``, in turns."""
    from selectune.report import command, drawing

    sizes = sorted((folder.name for folder in runs.iterdir()), key=int)
    gc.disable()  # as `timeit` does

    def times(rounds: int) -> np.ndarray:
        seconds = np.empty((1 + rounds, len(sizes)))
        for row in seconds:
            for place, size in enumerate(sizes):
                gc.collect()
                began = time.perf_counter()
                command.main([str(runs / size)])
                row[place] = time.perf_counter() - began
        return seconds[1:]

    whole = np.median(times(RENDERED), axis=0)
    drawing.png = lambda figure: b""
    seconds = times(PAGES)
    least = seconds[:, :1]
    pages = np.median(least) + np.median(seconds - least, axis=0)
    told = {f"report,{size} rows": float(taken) for size, taken in zip(sizes, pages, strict=True)}
    return told | {f"render,{size} rows": float(taken) for size, taken in zip(sizes, whole - pages, strict=True)}


def growth(rows: list[Row]) -> list[Row]:
    """Exponent of each stage from a tenth of the largest size on, the constant removed."""
    found = []
    for stage in STAGES:
        by_size = _by_size(rows, stage)
        largest = max(by_size)
        constant = min(seconds for size, seconds in by_size.items() if size * 10 < largest)
        more = {size: seconds - constant for size, seconds in by_size.items() if size * 10 >= largest}
        if min(more.values()) > 0:
            exponent = float(np.polyfit(np.log(list(more)), np.log(list(more.values())), 1)[0])
            found.append(Row(stage, f"{min(more)} to {largest} rows", "exponent", exponent))
    return found


def _by_size(rows: list[Row], case: str, metric: str = "wall_s") -> dict[int, float]:
    return {int(row.variant.split()[0]): row.value for row in rows if (row.case, row.metric) == (case, metric)}


def table(rows: list[Row]) -> str:
    """The table of docs/growth.md: seconds of each stage by size, its exponent, and what a billion rows would take."""
    sizes = sorted(_by_size(rows, STAGES[0]))
    exponents = {row.case: f"{row.value:.2f}" for row in rows if row.metric == "exponent"}
    lines = [
        f"| seconds | {' | '.join(f'{size:,} rows' for size in sizes)} | exponent | 10⁹ rows, hours |",
        "| --- |" + " ---: |" * (len(sizes) + 2),
    ]
    for stage in STAGES:
        taken = _by_size(rows, stage)
        billion = (taken[sizes[-1]] - min(taken.values())) * BILLION / sizes[-1] / 3600
        shown = " | ".join(f"{taken[size]:.3g}" for size in sizes)
        lines.append(f"| `{stage}` | {shown} | {exponents.get(stage, '–')} | {billion:.1f} |")
    if rendered := _by_size(rows, "render"):
        lines.append(f"| `render` | {' | '.join(f'{rendered[size]:.3g}' for size in sizes)} | | |")
    for name in ("IGSE", "GOTD"):
        peaks = _by_size(rows, name, "peak_rss_anon_mb")
        lines.append(f"| memory of `{name}`, MB | {' | '.join(f'{peaks[size]:,.0f}' for size in sizes)} | | |")
    return "\n".join(lines)


def draw(rows: list[Row], file: Path) -> None:
    """Seconds and memory against rows, on logarithmic axes."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for axis, metric, label in zip(axes, ("wall_s", "peak_rss_anon_mb"), ("seconds", "anonymous memory, MB")):
        for case in dict.fromkeys(row.case for row in rows if row.metric == metric):
            points = [
                (int(row.variant.split()[0]), row.value) for row in rows if (row.case, row.metric) == (case, metric)
            ]
            axis.plot(*zip(*points), marker="o", label=case)
        axis.set(xscale="log", xlabel="rows of the pool", ylabel=label)
        axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes[0].set_yscale("log")
    axes[1].set_ylim(bottom=0)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
