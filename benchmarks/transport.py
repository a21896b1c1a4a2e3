"""Speed and exactness of the transport of a pool to a target, against other solvers.

    python benchmarks/transport.py                           # all cases, within 20 minutes on two cores
    python benchmarks/transport.py --cases n20k_std0.05 --variants dense ott  # some of them
    python benchmarks/transport.py --skip_large              # without the case of 2 million rows (1.5 GB of disk)
    python benchmarks/transport.py --csv out.csv --check     # the numbers in long form too; exits 1 on a missed bar

Cases: 20,000 or 200,000 rows of pool and 1,000 of target, d = 384, on the unit sphere, squared Euclidean cost, with eps
0.1 or 0.05 of the cost's standard deviation. The rows are made from real embeddings: 4,000 texts of `pool_wikipedia`
and `pool_cs_abstracts` and 1,000 of `chemprot`, cut to 64 tokens, by `minilm-l6-mlm` (kept in the user's cache); the
pool's rows are drawn from its 4,000 with replacement, each moved by a little noise and put back on the sphere, as
embedding 200,000 texts would take hours on two cores. Where SELECTUNE_DATA or SELECTUNE_MODELS lacks them, synthetic
clusters stand in. ``n2m``: 2 million rows in float16 on disk, one iteration of `stream`.

Variants: POT's `pot_sinkhorn_log`, `pot_sinkhorn` and, at 20,000 rows, `pot_lazy` (float64), `geomloss` and `ott`
(float32); `dense` and `stream` are this project's (float32). Each runs in a process of its own.

Metrics: `seconds_per_iteration` is (time of 6 iterations - time of 1) / 5, the median of five pairs of runs (one pair
of `pot_sinkhorn_log` at 200,000 rows; within one run of this project's); what comes before is `set_up_s`.
`peak_rss_mb` is the most that the process held, its imports among it. At 20,000 rows `seconds` is the whole time to a
marginal error of 1e-3, rows and columns together; `marginal_error` is what was reached, in `iterations` (of GeomLoss
at most 160; this project's also wait for the lowest rows to stand still). `spearman` and `overlap_lowest_3pct` compare
the pool's potentials with those of POT's log domain in float64 at convergence, started from this project's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _embeddings import WIDTH, base_rows, jittered
from _table import Row, finish, parser
from memory import rss_anon

EPS: dict[str, dict[str, float]] = {"abs0.1": {"absolute": 0.1}, "std0.05": {"std": 0.05}}
SIZES = {"n20k": 20_000, "n200k": 200_000, "n2m": 2_000_000}
CASES = ("n20k_abs0.1", "n20k_std0.05", "n200k_abs0.1", "n200k_std0.05", "n2m")
VARIANTS = ("pot_sinkhorn_log", "pot_sinkhorn", "dense", "stream", "pot_lazy", "geomloss", "ott")
SMALL_ONLY = ("pot_lazy", "geomloss", "ott")
PACKAGES = {"geomloss": "geomloss", "ott": "ott"}
N_TARGET = 1_000
ANON_MB = 1_000
BARS = [  # variant at least so many times faster per iteration
    ("n200k_abs0.1", "dense", "pot_sinkhorn_log", 10.0),
    ("n200k_abs0.1", "dense", "pot_sinkhorn", 2.0),
    ("n200k_std0.05", "dense", "pot_sinkhorn_log", 60.0),
]


def measure(case: str, variants: list[str], base: tuple[np.ndarray, np.ndarray], folder: Path) -> list[Row]:
    """The numbers of a case."""
    size, stated = case.split("_")
    write_rows(base, SIZES[size], folder, np.float32)
    eps, small = find_eps(folder, EPS[stated]), SIZES[size] < 100_000
    if small:
        exact = child(["--child", "reference", "--folder", str(folder), "--eps", str(eps)])
        print(f"{case}: eps {eps:.4g}; the reference has a marginal error of {exact['marginal_error']:.1e}", flush=True)
    rows = []
    for variant in [name for name in VARIANTS if name in variants]:
        if variant in SMALL_ONLY and not small:
            continue
        package = PACKAGES.get(variant)
        if package and importlib.util.find_spec(package) is None:
            print(f"{case}: {variant} is skipped, as {package} is not installed (pip install selectune[bench])")
            continue
        command = ["--child", variant, "--folder", str(folder), "--eps", str(eps)]
        if small:
            command += ["--whole", "--iterations", str(exact["iterations"])]
        began = time.perf_counter()
        found = child(command)
        print(f"{case}: {variant} took {time.perf_counter() - began:.0f} s in all", flush=True)
        if small:
            found |= agreement(np.load(folder / "f.npy"), np.load(folder / f"f-{variant}.npy"))
        rows += [Row(case, variant, metric, value) for metric, value in found.items()]
    return rows


def agreement(exact: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Rank correlation, and the share of the lowest 3 % that are the same."""
    from scipy.stats import spearmanr

    k = int(0.03 * len(exact))
    lowest = [np.argpartition(f, k)[:k] for f in (exact, found)]
    return {
        "spearman": float(spearmanr(exact, found).statistic),
        "overlap_lowest_3pct": len(np.intersect1d(*lowest)) / k,
    }


def measure_large(base: tuple[np.ndarray, np.ndarray], folder: Path) -> list[Row]:
    """Anonymous memory of `stream` on 2 million rows in float16 on disk, in samples every 50 ms."""
    write_rows(base, SIZES["n2m"], folder, np.float16)
    command = [sys.executable, __file__, "--child", "large", "--folder", str(folder)]
    peak, process = 0, subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        peak = max(peak, rss_anon(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    assert process.stdout is not None
    found = {"peak_rss_anon_mb": peak / 2**20, **json.loads(process.stdout.read().splitlines()[-1])}
    return [Row("n2m", "stream", metric, value) for metric, value in found.items()]


def write_rows(base: tuple[np.ndarray, np.ndarray], n_rows: int, folder: Path, kind: type) -> None:
    """``x.npy`` and ``y.npy``, block by block."""
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=kind, shape=(n_rows, WIDTH))
    start = 0
    for block in jittered(base[0], n_rows):
        x[start : start + len(block)] = block
        start += len(block)
    x.flush()
    np.save(folder / "y.npy", base[1])


def find_eps(folder: Path, stated: dict[str, float]) -> float:
    """In units of the cost, for all variants alike."""
    from selectune.selectors.transport import dual_potentials

    if "absolute" in stated:
        return stated["absolute"]
    x, y = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")
    found = dual_potentials(x, y, eps=stated, backend="stream", max_iterations=1, allow_unconverged=True, device="cpu")
    return float(found.diagnostics["eps"])


def child(command: list[str]) -> dict[str, Any]:
    """The last line that this script prints when it is run with some options, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{__file__} {' '.join(command)} ended with {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def be_child(options: argparse.Namespace) -> None:
    """Measure one variant here and print its numbers."""
    import _transport_variants as variants

    if options.child == "reference":
        print(json.dumps(variants.reference(options.folder, options.eps)))
    elif options.child == "large":
        print(json.dumps(variants.one_streamed_iteration(options.folder)))
    else:
        arguments = options.child, options.folder, options.eps, options.whole, options.iterations
        print(json.dumps(variants.measure(*arguments)))


def missed_bars(rows: list[Row]) -> list[str]:
    """A sentence for each bar that was missed."""
    values = {(row.case, row.variant, row.metric): row.value for row in rows}
    missed = []
    for case, variant, base, bar in BARS:
        times = [values.get((case, name, "seconds_per_iteration")) for name in (base, variant)]
        if times[0] is not None and times[1] is not None:
            ratio = times[0] / times[1]
            print(f"{case}: an iteration of {variant} is {ratio:.1f} times faster than of {base}; the bar is {bar:g}")
            if ratio < bar:
                missed.append(f"{case}: {variant} is {ratio:.1f} times faster than {base}, under {bar:g}")
    for row in rows:
        if row.variant in ("dense", "stream"):
            bar = {"spearman": 0.999, "overlap_lowest_3pct": 0.99}.get(row.metric)
            if bar is not None and row.value <= bar:
                missed.append(f"{row.case}: {row.variant} has a {row.metric} of {row.value:.4f}, not over {bar}")
        if row.metric == "peak_rss_anon_mb" and row.value >= ANON_MB:
            missed.append(
                f"{row.case}: {row.variant} takes {row.value:.0f} MB of anonymous memory, not under {ANON_MB}"
            )
    return missed


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    made.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    made.add_argument("--skip_large", action="store_true", help="leave out the case n2m")
    for name, kind in (("child", str), ("folder", Path), ("eps", float), ("iterations", int)):
        made.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    made.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.child:
        be_child(options)
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    *base, described = base_rows(N_TARGET)
    print(f"rows made from {described}", flush=True)
    rows: list[Row] = []
    for case in options.cases:
        if case == "n2m" and (options.skip_large or "stream" not in options.variants):
            continue
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            rows += (
                measure_large(tuple(base), work)
                if case == "n2m"
                else measure(case, options.variants, tuple(base), work)
            )
    finish(rows, missed_bars(rows), options)


if __name__ == "__main__":
    main()
