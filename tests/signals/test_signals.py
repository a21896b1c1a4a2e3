"""Signals on disk are whole, or not there."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from selectune.common import files as paths
from selectune.common.errors import UserError
from selectune.signals import store as signals
from selectune.signals.store import Definition, Shards, SignalStore
from tests.costs.records import record
from tests.mistakes import mistake, warned

ENTROPY = Definition("generative_entropy", "forward", "pool" * 8, "model" * 6, {"max_length": 32})
EMBEDDING = Definition("embedding", "forward", "pool" * 8, "model" * 6, {"max_length": 32})


def cost(rank: int, wall_s: float) -> dict:
    return {"started_at": f"then-{rank}", "rank": rank, "wall_s": wall_s}


def outputs(batch: int, rows: list[int]) -> dict[str, np.ndarray]:
    ids = np.array(rows)
    values = {"generative_entropy": ids / 10, "embedding": np.stack([ids, -ids], axis=1).astype(np.float32)}
    return {"batches": np.array([batch]), "rows": ids, **values}


def left_by_a_killed_process(target: Path) -> Path:
    """Name of a partial file or folder that a dead process of this machine had begun."""
    return target.with_name(f".{target.name}.{paths._machine()}-{0:012x}.partial")


def test_shards_merge_by_row_id(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    shards = Shards.of(store, [ENTROPY, EMBEDDING], {"batches": 3})
    shards.append([outputs(2, [4, 0])], cost(0, 1.0))
    shards.append([outputs(0, [3])], cost(1, 5.0))
    shards.append([outputs(1, [1, 2])], cost(0, 3.0))
    assert shards.finished() == {0, 1, 2}
    store.merge([ENTROPY, EMBEDDING], shards, 5)
    np.testing.assert_array_equal(store.read(ENTROPY), np.arange(5) / 10)
    np.testing.assert_array_equal(store.read(EMBEDDING)[:, 1], -np.arange(5))
    assert store.has(ENTROPY)
    assert sorted(record["wall_s"] for record in store.meta(ENTROPY)["costs"]) == [3.0, 5.0], "the last of each process"
    assert not shards.folder.exists()


def test_what_a_killed_process_began_is_removed(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    begun = left_by_a_killed_process(store.folder(ENTROPY))
    for write in ("merge", "write"):
        begun.mkdir(parents=True)
        (begun / "values.npy").write_bytes(b"half")
        if write == "merge":
            shards = Shards.of(store, [ENTROPY], {"batches": 1})
            shards.append([outputs(0, [0, 1])], cost(0, 1.0))
            store.merge([ENTROPY], shards, 2)
        else:
            shutil.rmtree(store.folder(ENTROPY))
            store.write(ENTROPY, np.arange(2.0), [])
        assert not begun.exists()
        assert store.has(ENTROPY)


def a_pass(store: SignalStore, definitions: list[Definition], n_batches: int = 1) -> Shards:
    """A pass over two rows a batch, whole."""
    shards = Shards.of(store, definitions, {"batches": n_batches, "probe": False})
    for batch in range(n_batches):
        shards.append([outputs(batch, [2 * batch, 2 * batch + 1])], cost(0, 1.0))
    return shards


def test_shards_stay_as_long_as_a_signal_of_their_pass_is_not_there(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    alone, both = a_pass(store, [ENTROPY]), a_pass(store, [EMBEDDING, ENTROPY])
    store.merge([ENTROPY], alone, 2)
    assert not alone.folder.exists()
    assert both.finished() == {0}
    store.sweep([ENTROPY])
    assert both.finished() == {0}
    store.merge([EMBEDDING], both, 2)
    assert not both.folder.exists()


def test_what_a_kill_left_between_the_last_signal_and_the_end_of_its_shards_is_removed(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    store.merge([ENTROPY], a_pass(store, [ENTROPY]), 2)
    left = a_pass(store, [ENTROPY]).folder
    begun = left.with_name("pass-begun")  # killed before it noted what it serves
    begun.mkdir()
    hidden = left.with_name(".probe-0.json.7.partial")
    hidden.touch()
    store.sweep([EMBEDDING])
    assert not any(path.exists() for path in (left, begun, hidden))
    assert store.has(ENTROPY)


def test_a_pass_that_was_killed_between_two_of_its_signals_is_not_made_again(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    both, plan = a_pass(store, [EMBEDDING, ENTROPY], 2), {"batches": 2, "probe": False}
    store.merge([EMBEDDING], both, 4)
    resumed = Shards.of(store, [ENTROPY], plan)
    assert resumed.finished() == {0, 1}
    store.merge([ENTROPY], resumed, 4)
    np.testing.assert_array_equal(store.read(ENTROPY), np.arange(4) / 10)
    assert not list(tmp_path.rglob("*.npz"))
    assert "alone" in store.meta(EMBEDDING)["pass"], "its pass made another signal too"


@pytest.mark.parametrize("differs", ["a batch is missing", "another plan", "an entropy by a probe"])
def test_a_pass_for_more_signals_serves_only_when_it_is_whole_and_made_alike(differs: str, tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    arguments = ENTROPY.arguments | ({"head": "probe"} if "probe" in differs else {})
    entropy = Definition(ENTROPY.name, "forward", ENTROPY.pool, ENTROPY.model, arguments)
    both = a_pass(store, [EMBEDDING, entropy], 2)
    if "missing" in differs:
        next(both.folder.glob("*.npz")).unlink()
    plan = {"batches": 3 if "plan" in differs else 2, "probe": "probe" in differs}
    assert Shards.of(store, [entropy], plan).finished() == set()
    alike = Shards.of(store, [EMBEDDING], plan).finished()
    assert alike == ({0, 1} if "probe" in differs else set()), "no probe stands in for an embedding"


def test_a_signal_of_the_text_is_written_under_its_own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SignalStore(tmp_path)
    text = Definition("information_entropy", "text", "pool" * 8, "tokenizer" * 4)
    begun = store.folder(text).with_name(f".{store.folder(text).name}-0f")
    begun.mkdir(parents=True)
    store.write(text, np.arange(3.0), [])
    assert not begun.exists()
    store.write(text, np.zeros(3), [])
    np.testing.assert_array_equal(store.read(text), np.arange(3.0), err_msg="that of another run stays")
    monkeypatch.setattr(signals, "WAIT_SECONDS", 0.1)
    with store.lock(text.pool, text.model), mistake(UserError, store.folder(text).parent, option="--cache"):
        store.write(text, np.arange(3.0), [])


def test_an_embedding_made_beside_others_costs_what_it_would_alone(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    shards = Shards.of(store, [ENTROPY, EMBEDDING], {"batches": 2})
    spent = [record("score", wall_s=wall, device_s=4.0, flops=100).to_json() for wall in (1.0, 2.0)]
    moment = {"started_at": spent[0]["started_at"]}
    shards.append([outputs(0, [0, 1])], spent[0] | moment | {"encoder_share": 0.5})
    shards.append([outputs(1, [2])], spent[1] | moment | {"encoder_share": 0.25})
    store.merge([ENTROPY, EMBEDDING], shards, 3, more_costs=[cost(0, 9.0)])
    ([_, whole], [alone]) = (store.meta(each)["costs"] for each in (ENTROPY, EMBEDDING))
    assert store.meta(ENTROPY)["pass"] != store.meta(EMBEDDING)["pass"]
    assert (whole["wall_s"], whole["flops"]) == (2.0, 100)
    assert (alone["wall_s"], alone["device_s"], alone["flops"], alone["energy_j"]) == (0.5, 1.0, 25.0, None)
    assert "alone" in alone["flops_method"]


@pytest.mark.parametrize("rows", [[0, 1], [0, 1, 2, 2]])
def test_a_row_twice_or_missing_is_no_signal(rows: list[int], tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    shards = Shards.of(store, [ENTROPY], {"batches": 1})
    shards.append([outputs(0, rows)], cost(0, 1.0))
    with mistake(RuntimeError, ENTROPY.name):
        store.merge([ENTROPY], shards, 3)
    assert not store.has(ENTROPY)


def test_a_damaged_signal_is_removed_with_a_warning(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    store.write(ENTROPY, np.arange(9.0), [])
    file = store.folder(ENTROPY) / "values.npy"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    with warned(UserWarning, store.folder(ENTROPY).name):
        assert not store.has(ENTROPY)
    assert not file.exists()


def test_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    shards = Shards.of(SignalStore(tmp_path), [ENTROPY], {"batches": 2})
    shards.append([outputs(0, [0, 1])], cost(0, 1.0))
    shards.append([outputs(1, [2])], cost(0, 2.0))
    file = sorted(shards.folder.glob("*.npz"))[0]
    file.write_bytes(file.read_bytes()[:-40])
    with warned(UserWarning, file.name):
        assert len(shards.finished()) == 1


def test_two_definitions_are_two_arrays() -> None:
    other = Definition("generative_entropy", "forward", ENTROPY.pool, ENTROPY.model, {"max_length": 64})
    assert other.key != ENTROPY.key
    assert Definition(**vars(ENTROPY)).key == ENTROPY.key


def test_a_second_run_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SignalStore(tmp_path)
    order: list[str] = []

    def second() -> None:
        with store.lock(ENTROPY.pool, ENTROPY.model):
            order.append("second")

    with store.lock(ENTROPY.pool, ENTROPY.model):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.7)
        order.append("first")
    thread.join(timeout=300)
    assert order == ["first", "second"]
    monkeypatch.setattr(signals, "WAIT_SECONDS", 0.2)
    with (
        store.lock(ENTROPY.pool, ENTROPY.model),
        mistake(UserError, store.folder(ENTROPY).parent, option="--cache"),
        store.lock(ENTROPY.pool, ENTROPY.model),
    ):
        pass
