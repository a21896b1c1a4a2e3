"""A probe learns a smooth function, on rows fixed by their texts, and is refused when it cannot be trusted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from selectune.common.errors import DataError
from selectune.common.flop_formulas import adamw_flops
from selectune.costs.flops import count_flops
from selectune.lightning_modules.scorers import probe as probes
from selectune.lightning_modules.scorers.probe import (
    EntropyProbe,
    ProbeCheck,
    UnfitProbeError,
    check_probe,
    fit_flops,
    fit_probe,
    fit_rows,
    load_probe,
    save_probe,
)
from tests.mistakes import mistake

WIDTH = 12
MOST = math.log(500)


def positions(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """States of very unlike scales, one of them constant, and entropies that are a smooth function of them."""
    random = torch.Generator().manual_seed(seed)
    plain = torch.randn(n, WIDTH, generator=random)
    entropies = 2 + torch.tanh(plain[:, 0] + plain[:, 1]) + 0.5 * torch.sin(plain[:, 2]) * plain[:, 3]
    states = plain * torch.logspace(-2, 2, WIDTH) + 3
    states[:, 5] = 7.0
    return states, entropies.clamp(0, MOST)


def r2(probe: EntropyProbe, states: Tensor, entropies: Tensor) -> float:
    return 1 - float(mse_loss(probe(states), entropies) / entropies.var())


@pytest.fixture(scope="module")
def fitted() -> EntropyProbe:
    return fit_probe(*positions(5_000), MOST, seed=0, epochs=20)


@pytest.fixture
def checked() -> ProbeCheck:
    random = np.random.default_rng(0)
    return check_probe(random.random(30), random.random(30), np.array([10, 5, 15]), np.array([4, 6]))


def same_bits(a: EntropyProbe, b: EntropyProbe) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_a_probe_recovers_a_smooth_function(fitted: EntropyProbe) -> None:
    assert r2(fitted, *positions(2_000, seed=1)) > 0.95


def test_a_probe_reads_half_precision(fitted: EntropyProbe) -> None:
    states, entropies = positions(2_000, seed=1)
    assert r2(fitted, states.half(), entropies) > 0.95
    assert fitted(states.half()).dtype == torch.float32


def test_one_seed_gives_the_same_bits_and_disturbs_no_random_state() -> None:
    states, entropies = positions(600)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = fit_probe(states, entropies, MOST, seed=3, epochs=2)
    assert torch.rand(1) == expected
    assert same_bits(first, fit_probe(states, entropies, MOST, seed=3, epochs=2))
    assert not same_bits(first, fit_probe(states, entropies, MOST, seed=4, epochs=2))


def test_it_is_fitted_alike_inside_a_prediction_loop() -> None:
    outside = fit_probe(*positions(600), MOST, seed=0, epochs=2)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        inside = fit_probe(*positions(600), MOST, seed=0, epochs=2)
        assert inside(positions(9)[0]).dtype == torch.float32
    assert same_bits(outside, inside)
    assert not any(values.requires_grad or values.is_inference() for values in inside.parameters())


def test_entropies_lie_in_their_bounds() -> None:
    probe, states = EntropyProbe(WIDTH, MOST), torch.randn(500, WIDTH, generator=torch.Generator().manual_seed(0))
    probe.last.weight.data = 100 * torch.linspace(-1, 1, probes.HIDDEN)[None]
    raw, entropies = probe.unclamped(states), probe(states)
    assert raw.min() < 0
    assert raw.max() > MOST
    assert torch.equal(entropies, raw.clamp(0, MOST))


def test_constant_entropies_are_learnt_as_they_are() -> None:
    states, _ = positions(300)
    probe = fit_probe(states, torch.full((300,), 1.5), MOST, seed=0)
    torch.testing.assert_close(probe(states), torch.full((300,), 1.5))


@pytest.mark.parametrize("where", ["states", "entropies"])
def test_what_is_not_finite_is_refused(where: str) -> None:
    states, entropies = positions(300)
    (states[7] if where == "states" else entropies[7:8])[0] = float("nan")
    with mistake(DataError, 1, 300):
        fit_probe(states, entropies, MOST, seed=0)


def test_no_positions_are_refused() -> None:
    with pytest.raises(DataError):
        fit_probe(torch.empty(0, WIDTH), torch.empty(0), MOST, seed=0)


def test_flops_are_those_that_are_counted() -> None:
    states, entropies = positions(2 * probes.BATCH - 3)
    probe = EntropyProbe(WIDTH, MOST)
    with torch.no_grad():
        assert count_flops(lambda: probe(states)) == len(states) * probe.flops()
    n_parameters = sum(values.numel() for values in probe.parameters())
    counted = count_flops(lambda: fit_probe(states, entropies, MOST, seed=0, epochs=3))
    assert fit_flops(WIDTH, len(states), epochs=3) == counted + 3 * 2 * adamw_flops(n_parameters)


def test_a_probe_comes_back_as_it_was_saved(fitted: EntropyProbe, checked: ProbeCheck, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "probe.safetensors"
    save_probe(fitted, checked, target)
    probe, check = load_probe(target)
    states, _ = positions(50, seed=3)
    assert torch.equal(probe(states), fitted(states))
    assert check == checked
    assert [file.name for file in target.parent.iterdir()] == [target.name], "no temporary file stays"


@pytest.mark.parametrize("content", [None, b"", b"{}", "cut"])
def test_a_damaged_probe_is_refused(
    content: bytes | str | None, fitted: EntropyProbe, checked: ProbeCheck, tmp_path: Path
) -> None:
    target = tmp_path / "probe.safetensors"
    save_probe(fitted, checked, target)
    whole = target.read_bytes()
    target.unlink()
    if content is not None:
        target.write_bytes(whole[:-10] if isinstance(content, str) else content)
    with mistake(DataError, target):
        load_probe(target)


def pool(n_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of texts, every tenth of them a text that another row has too, and lengths, some of them 0."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, n_rows, dtype=np.uint64)
    hashes[::10] = hashes[5]
    hashes[3::10] = hashes[4::10]
    return hashes, (hashes % np.uint64(20)).astype(np.int64)  # equal texts have equal lengths


def test_rows_to_fit_and_to_check_share_no_text() -> None:
    hashes, lengths = pool(2_000)
    fit, check = fit_rows(hashes, lengths, positions=3_000, check_rows=100)
    assert len(check) == 100
    assert lengths[fit].sum() >= 3_000 > lengths[fit[:-1]].sum()
    assert lengths[fit].min() > 0 < lengths[check].min()
    selected = np.concatenate([fit, check])
    assert len(np.unique(hashes[selected])) == len(selected)
    assert [int(np.flatnonzero(hashes == one)[0]) for one in hashes[selected]] == selected.tolist(), "the first of each"


def test_rows_do_not_depend_on_the_order_of_the_pool() -> None:
    hashes, lengths = pool(2_000)
    order = np.random.default_rng(1).permutation(2_000)
    for mine, theirs in zip(fit_rows(hashes, lengths, 3_000, 100), fit_rows(hashes[order], lengths[order], 3_000, 100)):
        np.testing.assert_array_equal(hashes[mine], hashes[order][theirs])


def test_long_rows_are_checked_on_fewer_of_them() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 1_000, dtype=np.uint64)
    assert len(fit_rows(hashes, np.full(1_000, 60), positions=10_000)[1]) == probes.CHECK_POSITIONS // 60
    assert len(fit_rows(hashes, np.full(1_000, 1_000), positions=10_000)[1]) == probes.MIN_CHECK_ROWS


@pytest.mark.parametrize("n_rows", [0, 1, 50, 600])
def test_a_pool_too_small_for_a_probe_says_so(n_rows: int) -> None:
    hashes, lengths = np.arange(n_rows, dtype=np.uint64), np.full(n_rows, 10)
    with mistake(UnfitProbeError, f"{10 * n_rows:,}"):
        fit_rows(hashes, lengths, positions=3_000, check_rows=10)
    enough = 2 * (3_000 // 10 + 10)
    fit, _ = fit_rows(np.arange(enough, dtype=np.uint64), np.full(enough, 10), positions=3_000, check_rows=10)
    assert len(fit) == 300


def test_a_check_is_that_of_a_slow_loop() -> None:
    random = np.random.default_rng(0)
    lengths = np.array([3, 1, 4, 2, 5])
    exact = random.random(15)
    predicted = exact + 0.3 * random.standard_normal(15)
    check = check_probe(predicted, exact, lengths, np.array([7, 8]))
    rows = np.split(np.arange(15), np.cumsum(lengths)[:-1])
    means = np.array([predicted[row].mean() for row in rows])
    truth = np.array([exact[row].mean() for row in rows])
    ranks = [np.argsort(np.argsort(values)) for values in (means, truth)]
    assert check.r2 == pytest.approx(1 - np.sum((predicted - exact) ** 2) / np.sum((exact - exact.mean()) ** 2))
    assert check.spearman == pytest.approx(1 - 6 * np.sum((ranks[0] - ranks[1]) ** 2) / (5 * 24))
    assert check.standard_error == pytest.approx(np.mean((means - truth) ** 2) ** 0.5)
    assert (check.fit_rows, check.fit_positions, check.check_rows, check.check_positions) == (2, 15, 5, 15)


def test_a_probe_that_ranks_badly_is_not_let_through() -> None:
    exact, ones = np.arange(20.0), np.ones(20, dtype=np.int64)
    check_probe(exact + 5, exact, ones, ones).demand()
    for predicted in (-exact, np.ones(20)):  # ranks turned round, and no ranks at all
        with mistake(UnfitProbeError, "Spearman", 0.85):
            check_probe(predicted, exact, ones, ones).demand()
