"""The entropy probe: a small perceptron that predicts the vocabulary entropy of a position from its hidden states.

H(p(. given x)) at a position is a smooth function of the hidden states there, and a perceptron of them costs a
hundredth of the vocabulary product. It is fitted on exact entropies of a few rows, checked on others of the same pool,
and given up when it ranks those badly.

Nearest relative: J. Kossen, J. Han, M. Razzak, L. Schut, S. Malik, Y. Gal, "Semantic Entropy Probes: Robust and Cheap
Hallucination Detection in LLMs", arXiv 2406.15927 (2024), linear probes of a generation's semantic entropy.
Experiments and measurements: docs/probe.md.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from selectune.common.errors import DataError
from selectune.common.files import atomic_file
from selectune.common.flop_formulas import adamw_flops
from selectune.selectors.base import tie_keys
from selectune.selectors.ordering import key_order

HIDDEN = 256
POSITIONS = 36_864  # more of them is all that helps: 20,000 rank SST-2 with 0.939, 41,000 with 0.953
CHECK_ROWS, CHECK_POSITIONS, MIN_CHECK_ROWS = 512, 12_288, 128
EPOCHS, BATCH, LEARNING_RATE = 8, 256, 3e-3
ORDER = 0x70726F6265  # seeds the order of texts, which is then not the one of ties or k-means
MIN_AGREEMENT = 0.85  # Spearman, of a sample: 128 rows of IMDB gave 0.04 less than all of them
MAX_SHARE = 0.5  # of the pool's positions; beyond it, exact entropies of all cost little more


class UnfitProbeError(RuntimeError):
    """A probe that cannot pay for itself or agrees too little; the caller goes back to exact entropies and warns."""


class EntropyProbe(nn.Module):
    """Hidden states to entropies: a perceptron with two hidden layers of 256 units.

    Args:
        width: of the hidden states of all its layers, concatenated.
        max_entropy: ln of the vocabulary's size, nats; predictions are clamped to [0, max_entropy].
    """

    def __init__(self, width: int, max_entropy: float) -> None:
        super().__init__()
        self.width, self.max_entropy = width, max_entropy
        self.first, self.second, self.last = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, states: Tensor) -> Tensor:
        """Entropy of each position, nats, float32, shape (n,), from states of any precision, shape (n, width)."""
        with torch.autocast(states.device.type, enabled=False):
            return self.unclamped(states.float()).clamp(0.0, self.max_entropy)

    def unclamped(self, states: Tensor) -> Tensor:
        """`forward` without its bounds, which have no gradient, and in the precision of the states."""
        return self.last(F.relu(self.second(F.relu(self.first(states))))).squeeze(1)

    def flops(self) -> int:
        """FLOPs of one position: 2 (256 w + 256^2 + 256)."""
        return 2 * HIDDEN * (self.width + HIDDEN + 1)


def fit_flops(width: int, n_positions: int, epochs: int = EPOCHS) -> int:
    """FLOPs of `fit_probe`: matrix products of every visit of a position, and AdamW at every step."""
    # a visit is three times a forward pass, without the gradient of the states, which nobody needs
    visit = 3 * 2 * HIDDEN * (width + HIDDEN + 1) - 2 * HIDDEN * width
    n_parameters = HIDDEN * (width + 1 + HIDDEN + 1 + 1) + 1
    return epochs * (n_positions * visit + math.ceil(n_positions / BATCH) * adamw_flops(n_parameters))


def fit_probe(states: Tensor, entropies: Tensor, max_entropy: float, seed: int, epochs: int = EPOCHS) -> EntropyProbe:
    """Fit a probe by least squares: AdamW over shuffled batches, one cycle of the learning rate.

    States and entropies are standardised for it, and the returned probe has that folded into its weights.
    Global random states are left alone; the same seed and device give the same bits.

    Args:
        states: of content positions of whole rows, layers concatenated, any precision, shape (n, width).
        entropies: exact ones of these positions, nats, shape (n,), on the same device.
        max_entropy: ln of the vocabulary's size, nats.
        seed: of the first weights and of the shuffles.
        epochs: visits of each position.

    Raises:
        DataError: there are no positions, or states or entropies that are not finite.
    """
    if len(states) == 0:
        raise DataError("There are no positions to fit an entropy probe on: the rows have no content.")
    finite = torch.cat([block.isfinite().all(dim=1) for block in states.split(8192)]) & entropies.isfinite()
    if n_bad := int((~finite).sum()):
        raise DataError(
            f"{n_bad} of {len(states)} positions have hidden states or entropies that are not finite; the scoring "
            "model's weights are damaged or its precision is too low: name another scorer.checkpoint."
        )
    # one thread: a step is too small for two, which would wait for each other, on busy cores for minutes (tried)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # gradients and float32, also inside a prediction loop that has turned both off
        with (
            torch.inference_mode(False), torch.enable_grad(), torch.autocast(states.device.type, enabled=False),
            torch.random.fork_rng(devices=[]),
        ):  # fmt: skip
            return _fit(states, entropies, max_entropy, seed, epochs)
    finally:
        torch.set_num_threads(threads)


def _fit(states: Tensor, entropies: Tensor, max_entropy: float, seed: int, epochs: int) -> EntropyProbe:
    torch.default_generator.manual_seed(seed)  # not those of the GPUs, which are not needed and not restored
    probe = EntropyProbe(states.shape[1], max_entropy).to(states.device)
    std, mean = torch.std_mean(states.float(), dim=0, correction=0)
    scale = torch.where(std > 0, 1 / std, 0.0)
    target_std, target_mean = torch.std_mean(entropies.float(), dim=0, correction=0)
    targets = (entropies.float() - target_mean) / target_std.clamp(min=1e-6)

    optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.01, fused=True)
    steps = epochs * math.ceil(len(states) / BATCH)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, cycle_momentum=False)
    for _ in range(epochs):
        for batch in torch.randperm(len(states)).to(states.device).split(BATCH):
            standardised = (states[batch].float() - mean) * scale
            loss = F.mse_loss(probe.unclamped(standardised), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()

    with torch.no_grad():  # the first layer standardises its input and the last undoes the target's, as affine maps
        probe.first.weight.mul_(scale)
        probe.first.bias.sub_(probe.first.weight @ mean)
        probe.last.weight.mul_(target_std)
        probe.last.bias.mul_(target_std).add_(target_mean)
    return probe.eval().requires_grad_(False)


def fit_rows(
    text_hash: np.ndarray, lengths: np.ndarray, positions: int = POSITIONS, check_rows: int = CHECK_ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit a probe on and rows to check it on, in the order of the hash of their text, which selects them.

    So they do not depend on the order of the pool (of equal texts the first stands for all) nor on the number of
    processes, and no text is in both. The check comes first: up to `check_rows` rows, and fewer where these would have
    more than 12,288 positions, but at least 128. Then rows to fit, up to and including the one that reaches
    `positions`. `lengths` are content positions of each row; rows without content are left out.

    Raises:
        UnfitProbeError: the pool is so small that exact entropies of these rows are over half of all the work.
    """
    keys = tie_keys(text_hash, ORDER)
    order = key_order(keys)
    ordered = keys[order]
    order = order[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(order)]]  # the first of equal ones
    order = order[lengths[order] > 0]
    reached = np.cumsum(lengths[order])
    n_check = min(check_rows, max(MIN_CHECK_ROWS, int(np.searchsorted(reached, CHECK_POSITIONS, side="right"))))
    before = int(reached[:n_check][-1:].sum())
    end = int(np.searchsorted(reached, before + positions)) + 1
    needed, total = before + positions, int(lengths.sum())
    if end > len(order) or needed > MAX_SHARE * total:
        raise UnfitProbeError(
            f"the pool has {total:,} positions, and an entropy probe needs exact entropies of {needed:,} of them to be "
            "fitted and checked, so it would save little"
        )
    return order[n_check:end], order[:n_check]


@dataclass(frozen=True)
class ProbeCheck:
    """Agreement of a probe with exact entropies, on rows that it was not fitted on."""

    r2: float  # share of the variance of the exact entropies of positions that it explains, at most 1
    spearman: float  # rank correlation of its row means with the exact ones; 0 where either is constant
    standard_error: float  # of a row's mean, nats: the root of the mean squared error
    fit_rows: int  # that it was fitted on
    fit_positions: int
    check_rows: int  # that it was checked on
    check_positions: int

    def demand(self, least: float = MIN_AGREEMENT) -> None:
        """Refuse a probe that ranks rows badly.

        Raises:
            UnfitProbeError: its rank correlation is below `least`.
        """
        if self.spearman < least:
            raise UnfitProbeError(
                f"the entropy probe ranks {self.check_rows} held-out rows with Spearman {self.spearman:.3f} to their "
                f"exact entropies, under the stated {least}"
            )


def check_probe(predicted: np.ndarray, exact: np.ndarray, lengths: np.ndarray, fit_lengths: np.ndarray) -> ProbeCheck:
    """Compare a probe with exact entropies on held-out rows.

    Args:
        predicted: by the probe, of all content positions of these rows, row by row, nats, shape (n,).
        exact: of the same positions, nats, shape (n,).
        lengths: content positions of each held-out row, none of them 0, shape (rows,).
        fit_lengths: the same of the rows that the probe was fitted on.
    """
    from scipy.stats import rankdata

    predicted, exact = predicted.astype(np.float64), exact.astype(np.float64)
    starts = np.cumsum(lengths) - lengths
    means = np.add.reduceat(predicted, starts) / lengths
    truth = np.add.reduceat(exact, starts) / lengths
    ranks, variance = (rankdata(means), rankdata(truth)), exact.var()
    constant = min(np.ptp(each) for each in ranks) == 0
    return ProbeCheck(
        r2=float(1 - ((predicted - exact) ** 2).mean() / variance) if variance > 0 else 0.0,
        spearman=0.0 if constant else float(np.corrcoef(*ranks)[0, 1]),
        standard_error=float(np.sqrt(((means - truth) ** 2).mean())),
        fit_rows=len(fit_lengths),
        fit_positions=int(fit_lengths.sum()),
        check_rows=len(lengths),
        check_positions=len(exact),
    )


def save_probe(probe: EntropyProbe, check: ProbeCheck, target: Path) -> None:
    """Write a probe and its check, as JSON in the header, into one safetensors file, whole or not at all."""
    header = {"max_entropy": probe.max_entropy, "width": probe.width, "check": asdict(check)}
    tensors = {name: values.cpu().contiguous() for name, values in probe.state_dict().items()}
    with atomic_file(target) as partial:
        partial.write_bytes(save(tensors, metadata={"probe": json.dumps(header)}))


def load_probe(source: Path) -> tuple[EntropyProbe, ProbeCheck]:
    """A probe on the CPU and its check, as `save_probe` wrote them.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    try:
        with safe_open(source, framework="pt") as file:
            header = json.loads(file.metadata()["probe"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        probe = EntropyProbe(header["width"], header["max_entropy"])
        probe.load_state_dict(tensors)
        check = ProbeCheck(**header["check"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{source} is no entropy probe, or damaged; delete it, and it is fitted again.") from error
    return probe.eval().requires_grad_(False), check
