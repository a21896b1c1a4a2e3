"""Signals on disk: one array a signal, keyed by pool, model and definition; whole, or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selectune.costs import CostRecord
from selectune.paths import atomic_file, atomic_folder, clear_partials, held, write_json

Kind = Literal["text", "forward", "derived"]
SHARE = "encoder_share"  # of a pass, in its cost record: the part of its FLOPs that embeddings alone would take
WAIT_SECONDS = 1200  # below the half hour after which waiting ranks give up


@dataclass(frozen=True)
class Definition:
    """What a signal is, to the last argument: two signals with the same definition are the same array.

    Args:
        name: e.g. ``generative_entropy``.
        kind: whether it needs the text alone, forward passes, or other signals.
        pool: the pool's fingerprint.
        model: hash of the model's weights; of the tokenizer for a signal of the text.
        arguments: everything else that its values depend on, as JSON types.
    """

    name: str
    kind: Kind
    pool: str
    model: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of all of it, 16 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class SignalStore:
    """The signals of a cache folder.

    Args:
        cache: the folder; signals lie under ``signals/<pool>/<model>/<name>-<key>/``.
    """

    def __init__(self, cache: Path) -> None:
        self.root = cache / "signals"

    def folder(self, definition: Definition) -> Path:
        """Where a signal lies, whether or not it is there."""
        return self.root / definition.pool[:16] / definition.model[:16] / f"{definition.name}-{definition.key}"

    @contextmanager
    def lock(self, pool: str, model: str) -> Iterator[None]:
        """Hold all passes of a model over a pool: another process that wants one waits until this one is through.

        Raises:
            UserError: the other is not through after 20 minutes.
        """
        folder = self.root / pool[:16] / model[:16]
        with held(folder / "scoring.lock", WAIT_SECONDS, f"computing the same signals in {folder}"):
            yield

    def has(self, definition: Definition) -> bool:
        """Whether a signal is there, whole. A damaged one is removed with a warning, to be computed again."""
        folder = self.folder(definition)
        if not folder.is_dir():
            return False
        try:
            meta = json.loads((folder / "meta.json").read_text())
            if meta["checksum"] == _checksum(folder / "values.npy"):
                return True
        except (OSError, ValueError, KeyError):
            pass
        warnings.warn(f"The stored signal {folder.name} is damaged; it is computed again.", stacklevel=2)
        shutil.rmtree(folder)
        return False

    def read(self, definition: Definition) -> np.ndarray:
        """A signal as a memory map, shape (n_rows,) or (n_rows, width)."""
        return np.load(self.folder(definition) / "values.npy", mmap_mode="r", allow_pickle=False)

    def costs(self, definition: Definition) -> tuple[str, list[dict[str, Any]]]:
        """The pass that computed a signal, and its cost records.

        Signals of one pass share one cost; but an embedding's is what a pass for it alone would have cost.
        """
        meta = json.loads((self.folder(definition) / "meta.json").read_text())
        return meta["pass"], meta["costs"]

    def notes(self, definition: Definition) -> dict[str, Any]:
        """What was noted when a signal was computed, such as how far an estimate agrees with what it estimates."""
        notes: dict[str, Any] = json.loads((self.folder(definition) / "meta.json").read_text())["notes"]
        return notes

    def write(
        self,
        definition: Definition,
        values: np.ndarray,
        costs: list[dict[str, Any]],
        notes: dict[str, Any] | None = None,
    ) -> None:
        """Put a signal into the store, whole or not at all."""
        if definition.kind != "text":  # those are not held by a lock, as they are of the tokenizer alone
            self._sweep(definition)
        with atomic_folder(self.folder(definition)) as partial:
            np.save(partial / "values.npy", values, allow_pickle=False)
            self._seal(partial, definition, costs, "", notes or {})

    def merge(
        self,
        definitions: list[Definition],
        shards: Shards,
        n_rows: int,
        notes: dict[str, Any] | None = None,
        more_costs: list[dict[str, Any]] | None = None,
    ) -> None:
        """Put the shards of a pass together by row id, and remove them.

        Args:
            definitions: what the pass computed.
            shards: what its ranks wrote.
            n_rows: of the pool.
            notes: of each signal by name, where there is something to note.
            more_costs: records of what the pass needed beside itself.

        Raises:
            RuntimeError: the shards hold a row twice or not at all.
        """
        missing = [definition for definition in definitions if not self.folder(definition).is_dir()]
        for definition in missing:
            self._sweep(definition)
            with atomic_folder(self.folder(definition)) as partial:
                target: np.memmap | None = None
                seen = np.zeros(n_rows, dtype=np.uint8)
                costs: dict[tuple[str, int], dict[str, Any]] = {}
                for shard in shards.read():
                    values = shard[definition.name]
                    if target is None:
                        target = np.lib.format.open_memmap(
                            partial / "values.npy", mode="w+", dtype=values.dtype, shape=(n_rows, *values.shape[1:])
                        )
                    target[shard["rows"]] = values
                    np.add.at(seen, shard["rows"], 1)
                    cost = json.loads(str(shard["cost"]))
                    known = costs.setdefault((cost["started_at"], cost["rank"]), cost)
                    if cost["wall_s"] > known["wall_s"]:
                        costs[cost["started_at"], cost["rank"]] = cost
                if target is None or not (seen == 1).all():
                    raise RuntimeError(f"the shards of {definition.name} are not a permutation of the pool's rows")
                target.flush()
                noted = (notes or {}).get(definition.name, {})
                made_by, spent = shards.folder.name, [*(more_costs or []), *costs.values()]
                if definition.name == "embedding" and len(definitions) > 1:
                    made_by = f"{made_by}, embeddings alone"
                    spent = [part_of_cost(cost, cost.get(SHARE)) for cost in costs.values()]
                self._seal(partial, definition, spent, made_by, noted)
        shards.remove()

    def _sweep(self, definition: Definition) -> None:
        """Remove what a process that was killed had begun."""
        clear_partials(self.folder(definition).parent)

    @staticmethod
    def _seal(
        partial: Path, definition: Definition, costs: list[dict[str, Any]], made_by: str, notes: dict[str, Any]
    ) -> None:
        meta = {
            "definition": asdict(definition),
            "checksum": _checksum(partial / "values.npy"),
            "pass": made_by or definition.key,
            "costs": costs,
            "notes": notes,
        }
        write_json(partial / "meta.json", meta)


class Shards:
    """What the ranks of a pass have finished so far: files of some planned batches each, written whole.

    Args:
        folder: of this pass; its name says pool, model, definitions and plan.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, store: SignalStore, definitions: list[Definition], plan: dict[str, Any]) -> Shards:
        """The shards of a pass over one pool with one model."""
        text = json.dumps([[definition.key for definition in definitions], plan], sort_keys=True)
        key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return cls(store.folder(definitions[0]).parent / f"pass-{key}")

    def append(self, outputs: list[dict[str, np.ndarray]], cost: dict[str, Any]) -> None:
        """Write some batches' outputs as one file: ``batches``, ``rows`` and an array a signal.

        Args:
            outputs: of each batch.
            cost: the process's record of this pass so far, so that what a killed process spent is known with its work.
        """
        names = outputs[0].keys()
        with atomic_file(self.folder / f"{uuid.uuid4().hex}.npz") as partial, partial.open("wb") as handle:
            arrays: dict[str, Any] = {name: np.concatenate([output[name] for output in outputs]) for name in names}
            np.savez(handle, cost=np.array(json.dumps(cost)), **arrays)

    def read(self) -> Iterator[dict[str, np.ndarray]]:
        """All files that are whole; a damaged one is removed with a warning."""
        for file in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    content = {name: arrays[name] for name in arrays.files}
            except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
                warnings.warn(f"The shard {file.name} is damaged; its rows are computed again.", stacklevel=2)
                file.unlink()
                continue
            yield content

    def finished(self) -> set[int]:
        """Indices of the planned batches that are done."""
        return {int(batch) for shard in self.read() for batch in shard["batches"]}

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def part_of_cost(cost: dict[str, Any], share: float | None) -> dict[str, Any]:
    """A cost record of a part of some work; seconds and joules are taken to follow FLOPs.

    Args:
        cost: of the whole.
        share: of its FLOPs; None where it is not known, so that the whole is charged.
    """
    if share is None:
        return cost
    method = f"{cost['flops_method']}; the part that these signals alone would take"
    return cost | CostRecord.from_json(cost).times(share).to_json() | {"flops_method": method}


def _checksum(file: Path) -> str:
    value = 0
    with file.open("rb") as handle:
        while block := handle.read(1 << 22):
            value = zlib.crc32(block, value)
    return f"crc32:{value:08x}"
