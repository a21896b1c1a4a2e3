"""Training, scoring and transport on a GPU, part by part, with the memory that each took.

    python benchmarks/gpu.py --csv results/gpu/a_card.csv   # 8 minutes at most; nothing is fetched from a network
    python benchmarks/gpu.py --parts transport_200k         # some of it
    python benchmarks/gpu.py --device cpu --scale 0.01      # whether it runs at all, without a GPU; no bar holds
    python benchmarks/gpu.py --csv out.csv --check          # exits with 1 where a bar is missed

Each part is a process of its own that may take 53 seconds; it prints a line of JSON, and one that fails or takes longer
says so in its place. Models are random ones of all-MiniLM-L6-v2's size, made on the spot; texts are made up.

    training_*      `benchmarks/training.py`'s variants in bfloat16, two epochs: `first_step_s` from the start of `fit`,
                    `steps_per_s` of the second epoch
    scoring         generative entropy and embeddings as `select` computes them (`exact`) beside the encoder alone
                    (`encoder`) and the encoder with the masked-LM head's product (`bare`), bfloat16, the same batches
    transport_*     200,000 or 5 million rows to 1,000, d = 384, eps 0.05 of the cost's standard deviation, float32,
                    embeddings on the device, to a marginal error of 1e-3, the second of two solves
    ott_*           OTT-JAX from the same arrays on the device, compiled and warm, to the same error with the same eps,
                    its products in full float32 as ours

`peak_cuda_mb` is what torch, of `ott_*` what JAX, held at most.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _table import Row, finish, parser

SECONDS = 53  # of nine parts, so that all of them end within eight minutes
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else JAX takes most of the card at once
VARIANTS = ("selectune", "plain", "hf_length", "hf_default")
TRANSPORT = {"200k": 200_000, "5m": 5_000_000}
PARTS = (
    *(f"training_{variant}" for variant in VARIANTS), "scoring",
    *(f"{solver}_{size}" for size in TRANSPORT for solver in ("transport", "ott")),
)  # fmt: skip
BARS = [  # a part's metric is at least so many times another's
    ("training_selectune", "steps_per_s", "training_hf_length", "steps_per_s", 1.3),
    ("scoring", "exact_tokens_per_s", "scoring", "bare_tokens_per_s", 0.85),
    ("ott_5m", "seconds", "transport_5m", "seconds", 5.0),
]
TRANSPORT_5M_S = 2.0


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    made.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    made.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    made.add_argument("--child", choices=PARTS, help="used by the script itself")
    options = made.parse_args()
    if options.child:
        print(json.dumps(run(options.child, options.device, options.scale)))
        return
    card = card_of(options.device)
    found = {}
    for part in options.parts:
        found[part] = child(part, options)
        print(json.dumps({"card": card, "part": part} | found[part]), flush=True)
    rows = [
        Row(card, part, name, value)
        for part, numbers in found.items()
        for name, value in numbers.items()
        if isinstance(value, int | float)
    ]
    finish(rows, missed_bars(found) if options.device == "cuda" else [], options)


def child(part: str, options: Any) -> dict[str, Any]:
    """The numbers of a part, or what became of it."""
    words = ["--child", part, "--device", options.device, "--scale", str(options.scale)]
    try:
        done = subprocess.run(
            [sys.executable, __file__, *words], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"it took over {SECONDS} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["nothing was said"])[-1]}
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def missed_bars(found: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each part that failed and each bar that was missed."""
    missed = [f"{part}: {numbers['failed']}" for part, numbers in found.items() if "failed" in numbers]
    for part, metric, other, base, bar in BARS:
        values = found.get(part, {}).get(metric), found.get(other, {}).get(base)
        if None not in values and values[0] / values[1] < bar:
            missed.append(f"{part}: {metric} is {values[0] / values[1]:.2f} of {other}'s {base}, under {bar}")
    seconds = found.get("transport_5m", {}).get("seconds", 0.0)
    return missed + ([f"transport_5m takes {seconds:.1f} s, over {TRANSPORT_5M_S}"] if seconds > TRANSPORT_5M_S else [])


def card_of(device: str) -> str:
    """Name of the device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("There is no GPU here; --device cpu --scale 0.01 shows whether the script runs.")
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def run(part: str, device: str, scale: float) -> dict[str, Any]:
    """Measure a part in this process."""
    import torch

    kind, _, rest = part.partition("_")
    if kind == "training":
        numbers = trained(rest, device, max(64, int(8_000 * scale)))
    elif kind == "scoring":
        numbers = scored(device, max(64, int(40_000 * scale)))
    else:
        numbers = (solved if kind == "transport" else solved_by_ott)(int(TRANSPORT[rest] * scale), device)
    if device == "cuda" and kind != "ott":
        numbers["peak_cuda_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return numbers


def texts_of(n_rows: int) -> list[str]:
    """Made-up texts of 5 to 60 words."""
    from memory import WORDS

    random, words = np.random.default_rng(0), np.array(WORDS)
    return [" ".join(words[random.integers(len(words), size=random.integers(5, 61))]) for _ in range(n_rows)]


def made_data(folder: Path, n_rows: int) -> Any:
    """A data module of made-up rows with a model of MiniLM's size beside it, in a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from memory import make_model
    from transformers import BertConfig, BertForMaskedLM

    from selectune.datamodules import TextClassification

    make_model(folder / "model")  # for its tokenizer; its weights are replaced
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30_522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    BertForMaskedLM(config).save_pretrained(folder / "model")
    labels = np.random.default_rng(1).integers(2, size=n_rows)
    pq.write_table(pa.table({"text": texts_of(n_rows), "label": labels}), folder / "rows.parquet")
    return TextClassification(str(folder / "rows.parquet"), max_length=64, batch_size=32, max_dev_rows=50, seed=0)


def trained(variant: str, device: str, n_rows: int) -> dict[str, Any]:
    """First step and steps a second of two epochs, by one of the variants of `benchmarks/training.py`."""
    import tempfile

    import training

    with tempfile.TemporaryDirectory() as folder:
        data = made_data(Path(folder), n_rows)
        work = training.Work(data, f"{folder}/model", 0, device == "cuda", device, Path(folder), epochs=2)
        return training.TRAINED[variant](work)


def scored(device: str, n_rows: int) -> dict[str, Any]:
    """Tokens a second of the encoder, of it with the head's product, and of the engine, the second time of each."""
    import tempfile

    import torch
    from scoring import Bench

    from selectune.data.sources import find_model

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        data = made_data(Path(folder), n_rows)
        bench = Bench(data, find_model(f"{folder}/model"), Path(folder) / "signals", device, 65_536)
        ids, numbers = np.arange(len(bench.rows.pool)), {}
        half = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
        for name, work in (("encoder", bench.encoder), ("bare", bench.bare), ("exact", bench.engine("exact"))):
            for some in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
                began = time.perf_counter()
                with half:
                    work(some)
                if device == "cuda":
                    torch.cuda.synchronize()
                taken = time.perf_counter() - began
            numbers[f"{name}_tokens_per_s"] = float(bench.rows.n_tokens[some].sum()) / taken
        return numbers


def clouds(n_rows: int, device: str) -> tuple[Any, Any]:
    """Unit rows around 40 directions and around 5 of them, float32 on the device, shapes (n_rows, 384), (1000, 384)."""
    import torch

    random = torch.Generator(device).manual_seed(0)

    def near(centres: torch.Tensor, n: int) -> torch.Tensor:
        rows = centres[torch.randint(len(centres), (n,), generator=random, device=device)]
        rows += torch.randn(rows.shape, generator=random, device=device) * (0.8 / rows.shape[1] ** 0.5)
        return torch.nn.functional.normalize(rows, dim=1)

    centres = torch.nn.functional.normalize(torch.randn(40, 384, generator=random, device=device), dim=1)
    pool = torch.empty(n_rows, 384, device=device)
    for start in range(0, n_rows, 500_000):
        part = pool[start : start + 500_000]
        part[:] = near(centres, len(part))
    return pool, near(centres[:5], 1_000)


def solved(n_rows: int, device: str) -> dict[str, Any]:
    """Seconds of this project's solver to the marginal error, of a second solve, and of an iteration."""
    from selectune.selectors.transport import dual_potentials

    pool, target = clouds(n_rows, device)
    for _ in range(2):
        found = dual_potentials(pool, target, eps={"std": 0.05}, tolerance=1e-3, device=device).diagnostics
    names = ("seconds", "iterations", "marginal_error", "backend", "eps")
    return {name: found[name] for name in names} | {"seconds_per_iteration": found["seconds"] / found["iterations"]}


def solved_by_ott(n_rows: int, device: str) -> dict[str, Any]:
    """Seconds of OTT-JAX, compiled and warm, to the same error with the same eps."""
    import jax
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    from selectune.selectors.transport import Eps
    from selectune.selectors.transport.problem import make_problem
    from selectune.selectors.transport.ranks import Ranks

    if device == "cuda" and jax.default_backend() != "gpu":
        sys.exit("jax has no GPU here; install jax[cuda12] for the ott parts")
    import torch

    pool, target = clouds(n_rows, device)
    stated = Eps(std=0.05), torch.float32, torch.device(device), Ranks()
    eps = make_problem(pool, target, None, None, "sqeuclidean", *stated)[0].eps
    arrays = [jax.numpy.asarray(one.cpu().numpy()) for one in (pool, target)]
    del pool, target
    torch.cuda.empty_cache()
    online = 2_048 if n_rows > TRANSPORT["200k"] else None
    solver = sinkhorn.Sinkhorn(threshold=1e-3, max_iterations=2_000)
    solve = jax.jit(
        lambda x, y: solver(linear_problem.LinearProblem(pointcloud.PointCloud(x, y, epsilon=eps, batch_size=online)))
    )
    with jax.default_matmul_precision("highest"):
        for _ in range(2):
            began = time.perf_counter()
            found = solve(*arrays)
            found.f.block_until_ready()
            seconds = time.perf_counter() - began
    errors = np.asarray(found.errors)  # of every tenth iteration, and -1 beyond the last
    last = float(errors[errors >= 0][-1])
    n_iterations = int(found.n_iters)
    numbers = {"seconds": seconds, "iterations": n_iterations, "marginal_error": last, "eps": eps}
    numbers["seconds_per_iteration"] = seconds / n_iterations
    held = jax.devices()[0].memory_stats() or {}
    return numbers | ({"peak_cuda_mb": held["peak_bytes_in_use"] / 2**20} if "peak_bytes_in_use" in held else {})


if __name__ == "__main__":
    main()
