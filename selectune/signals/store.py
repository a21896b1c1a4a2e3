"""Signals on disk: one array a signal, keyed by pool, model and definition, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selectune.common.files import atomic_file, atomic_folder, write_json
from selectune.common.locks import locked
from selectune.costs.record import CostRecord

Kind = Literal["text", "forward", "trained", "derived"]
SHARE = "encoder_share"  # of a pass, in its cost record: the part of its FLOPs that embeddings alone would take
NOTE = "pass.json"  # in the folder of a pass: which signals it serves
WAIT_SECONDS = 1200  # below the half hour after which waiting ranks give up


@dataclass(frozen=True)
class Definition:
    """A signal and everything that its values depend on: two signals with the same definition are the same array.

    Args:
        name: e.g. ``generative_entropy``.
        kind: whether it needs the text alone, forward passes, a training, or other signals.
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
        return _hash(asdict(self))


class SignalStore:
    """The signals of a cache folder.

    Args:
        cache: the folder; signals lie under ``signals/<pool>/<model>/<name>-<key>/``.
    """

    def __init__(self, cache: Path) -> None:
        self.root = cache / "signals"

    def folder(self, definition: Definition) -> Path:
        """The folder of a signal, whether or not it is stored."""
        return self.root / definition.pool[:16] / definition.model[:16] / f"{definition.name}-{definition.key}"

    def lock(self, pool: str, model: str) -> AbstractContextManager[None]:
        """Hold all passes of a model over a pool: another process that wants one waits until this one is through.

        Raises:
            UserError: on entry, when the other is not through after 20 minutes.
        """
        folder = self.root / pool[:16] / model[:16]
        return locked(folder / "scoring.lock", WAIT_SECONDS, f"computing the same signals in {folder}")

    def has(self, definition: Definition) -> bool:
        """Whether a signal is stored whole. A damaged one is removed with a warning, to be computed again."""
        folder = self.folder(definition)
        if not folder.is_dir():
            return False
        with suppress(OSError, ValueError, KeyError, TypeError):
            meta = self.meta(definition)
            whole = isinstance(meta["costs"], list) and isinstance(meta["notes"], dict) and meta["pass"]
            if whole and meta["checksum"] == _checksum(folder / "values.npy"):
                return True
        warnings.warn(f"The stored signal {folder.name} is damaged; it is computed again.", stacklevel=2)
        shutil.rmtree(folder)
        return False

    def read(self, definition: Definition) -> np.ndarray:
        """A signal as a memory map, shape (n_rows,) or (n_rows, width)."""
        return np.load(self.folder(definition) / "values.npy", mmap_mode="r", allow_pickle=False)

    def meta(self, definition: Definition) -> dict[str, Any]:
        """Metadata stored beside the values of a signal.

        Returns:
            ``pass``: names the pass that computed it; ``costs``: that pass's cost records, which all its signals share
            (but an embedding's are what a pass for it alone would have cost); ``notes``: e.g. how far an estimate
            agrees with what it estimates; ``checksum`` and ``definition``.
        """
        content: dict[str, Any] = json.loads((self.folder(definition) / "meta.json").read_text())
        return content

    def write(self, definition: Definition, values: np.ndarray, costs: list[dict[str, Any]]) -> None:
        """Store a signal. The caller holds the lock of its model; for a signal of the text, whose key has no model but
        the tokenizer, the lock is taken here."""
        text = definition.kind == "text"
        with self.lock(definition.pool, definition.model) if text else nullcontext():
            if text and self.folder(definition).is_dir():
                return  # a run with another model has stored it meanwhile
            self.sweep([definition])
            with atomic_folder(self.folder(definition)) as partial:
                np.save(partial / "values.npy", values, allow_pickle=False)
                self._seal(partial, definition, costs, definition.key, {})

    def merge(
        self,
        definitions: list[Definition],
        shards: Shards,
        n_rows: int,
        notes: dict[str, Any] | None = None,
        more_costs: list[dict[str, Any]] | None = None,
    ) -> None:
        """Merge the shards of a pass over a pool by row id, and remove them once all signals that it serves are stored.

        Notes by signal, and cost records of work that the pass needed beforehand, are stored with the signals.

        Raises:
            RuntimeError: the shards hold a row twice or not at all.
        """
        costs = shards.costs()
        missing = (definition for definition in definitions if not self.folder(definition).is_dir())
        # Embeddings first: where a kill leaves them alone, no other signal of the pass has been charged its rest.
        for definition in sorted(missing, key=lambda one: one.name != "embedding"):
            with atomic_folder(self.folder(definition)) as partial:
                target: np.memmap | None = None
                seen = np.zeros(n_rows, dtype=np.uint8)
                for shard in shards.read():
                    values = shard[definition.name]
                    if target is None:
                        target = np.lib.format.open_memmap(
                            partial / "values.npy", mode="w+", dtype=values.dtype, shape=(n_rows, *values.shape[1:])
                        )
                    target[shard["rows"]] = values
                    np.add.at(seen, shard["rows"], 1)
                if target is None or not (seen == 1).all():
                    raise RuntimeError(f"the shards of {definition.name} are not a permutation of the pool's rows")
                target.flush()
                made_by, spent = shards.folder.name, [*(more_costs or []), *costs.values()]
                if definition.name == "embedding" and len(serves(shards.folder)) > 1:
                    made_by = f"{made_by}, embeddings alone"
                    spent = [part_of_cost(cost, cost.get(SHARE)) for cost in costs.values()]
                self._seal(partial, definition, spent, made_by, (notes or {}).get(definition.name, {}))
        self.sweep(definitions)

    def sweep(self, definitions: Iterable[Definition]) -> None:
        """Remove what killed processes left beside some signals: half-written files, and shards no longer needed.

        The caller holds the lock of the pool and the model, so no process is at work there.
        """
        for folder in {self.folder(definition).parent for definition in definitions}:
            # Shards are needed as long as one of the signals that their pass serves is not stored.
            passes = (each for each in folder.glob("pass-*") if all((folder / one).is_dir() for one in serves(each)))
            for left in (*folder.glob(".*"), *passes):
                left.unlink(missing_ok=True) if left.is_file() else shutil.rmtree(left, ignore_errors=True)

    @staticmethod
    def _seal(
        partial: Path, definition: Definition, costs: list[dict[str, Any]], made_by: str, notes: dict[str, Any]
    ) -> None:
        checksum = _checksum(partial / "values.npy")
        meta = {"definition": asdict(definition), "checksum": checksum, "pass": made_by, "costs": costs, "notes": notes}
        write_json(partial / "meta.json", meta)


class Shards:
    """Finished batches of a pass, of all ranks: files that hold some planned batches each.

    Args:
        folder: of the pass; its name says pool, model, definitions and plan.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, store: SignalStore, definitions: list[Definition], plan: dict[str, Any]) -> Shards:
        """The shards of a pass over one pool with one model; rank 0 calls it, and notes the signals of the pass.

        The plan says how many ``batches`` there are, and whether a ``probe`` stands in for the head.
        """
        # All that values depend on beside the definition; a probe only replaces the head for signals that ask for it.
        exact = {name: value for name, value in plan.items() if name != "probe"}
        signals = {
            store.folder(one).name: plan if one.arguments.get("head") == "probe" else exact for one in definitions
        }
        parent = store.folder(definitions[0]).parent
        mine = cls(parent / f"pass-{_hash(signals)}")
        # A pass that serves more signals was killed when some of its signals were stored and these were not. It is
        # resumed only if it has all its batches, since the network would have to compute the other signals too.
        for other in map(cls, sorted(parent.glob("pass-*"))):
            known = serves(other.folder)
            covers = len(known) > len(signals) and all(known.get(each) == how for each, how in signals.items())
            if covers and len(other.finished()) == plan["batches"]:
                return other
        write_json(mine.folder / NOTE, signals)
        return mine

    def append(self, outputs: list[dict[str, np.ndarray]], cost: dict[str, Any]) -> None:
        """Write some batches' outputs as one file: ``batches``, ``rows`` and an array a signal.

        The process's cost record of this pass so far is stored with them: so the cost of a killed process is known.
        """
        with atomic_file(self.folder / f"{uuid.uuid4().hex}.npz") as partial, partial.open("wb") as handle:
            arrays: dict[str, Any] = {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}
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

    def costs(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The last cost record of each process that wrote files, by start of the record and rank.

        To be called after `finished`, which removes damaged files.
        """
        last: dict[tuple[str, int], dict[str, Any]] = {}
        for file in sorted(self.folder.glob("*.npz")):
            with np.load(file, allow_pickle=False) as arrays:
                cost = json.loads(str(arrays["cost"]))
            known = last.setdefault((cost["started_at"], cost["rank"]), cost)
            # Files have random names, so the latest of a process is the one of the longest time.
            if cost["wall_s"] > known["wall_s"]:
                last[cost["started_at"], cost["rank"]] = cost
        return last


def serves(folder: Path) -> dict[str, Any]:
    """The signals that a pass computes, by their folders, and how; none where it was killed before it noted them."""
    with suppress(OSError, ValueError):
        return json.loads((folder / NOTE).read_text())
    return {}


def part_of_cost(cost: dict[str, Any], share: float | None) -> dict[str, Any]:
    """The cost record of a share of some work's FLOPs; seconds and joules are taken to be in proportion.

    Where the share is not known (None), it is the record of the whole.
    """
    if share is None:
        return cost
    method = f"{cost['flops_method']}; the part that these signals alone would take"
    return cost | CostRecord.from_json(cost).times(share).to_json() | {"flops_method": method}


def _hash(content: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()


def _checksum(file: Path) -> str:
    value = 0
    with file.open("rb") as handle:
        while block := handle.read(1 << 22):
            value = zlib.crc32(block, value)
    return f"crc32:{value:08x}"
