"""A selection: row ids, their scores, and the manifest that proves where they came from."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectune import selectors
from selectune.common.errors import SelectionError
from selectune.common.files import atomic_file, read_mapping, write_json
from selectune.common.run_files import RunFiles, SelectionFiles

if TYPE_CHECKING:
    from selectune.data.pool import Pool

ROWS_AT_ONCE = 2**15
VERSIONED = ("selectune", "torch", "transformers", "tokenizers", "datasets", "lightning", "numpy")
EARLIER_NAMES = {"model": "scorer", "model_revision": "scorer_revision", "model_parameters": "scorer_parameters"}


KINDS: dict[type, tuple[str, ...]] = {  # of what a manifest must hold for a selection to be used
    str: ("pool_fingerprint", "rows_hash", "weights_hash", "tokenizer_hash"),
    int: ("n_rows", "pool_rows", "pool_tokens", "pool_input_tokens"),
    dict: ("selector", "budget", "diagnostics"),
    list: ("signals", "warnings", "costs"),
}


@dataclass(frozen=True)
class Manifest:
    """Everything that a selection depends on, and its outcome.

    ``pool_tokens`` counts tokens of the text alone, ``pool_input_tokens`` the special ones too; so do ``tokens`` and
    ``input_tokens`` of the budget. ``target`` are the rows that the pool was compared with, where the selector does so.
    ``prior`` are the shares of the classes where the model will be used, and whether they were given. ``screened``
    counts the rows that a pre-screen of data sets left. ``review`` names the file of a review that the pool went
    through, with the hash of its content and its counts of rows. ``scorer`` is the model that scored;
    ``scorer_parameters`` counts the weights of its checkpoint, and ``trained_on`` is the selection that it was itself
    trained on, where a run of ours made it. ``entropy_head`` says why entropies are exact or a probe's, where that was
    left to us.
    """

    n_rows: int
    rows_hash: str
    pool_fingerprint: str
    pool_rows: int
    pool_tokens: int
    pool_input_tokens: int
    source: str
    revision: str | None
    scorer: str
    scorer_revision: str | None
    weights_hash: str
    tokenizer_hash: str
    selector: dict[str, Any]
    budget: dict[str, Any]
    seed: int
    signals: list[dict[str, Any]]
    target: dict[str, Any] | None = None
    prior: dict[str, Any] | None = None
    screened: dict[str, Any] | None = None
    review: dict[str, Any] | None = None
    trained_on: dict[str, Any] | None = None
    entropy_head: dict[str, Any] | None = None
    diagnostics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=lambda: versions())
    commit: str = ""
    scorer_parameters: int | None = None
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of(cls, content: dict[str, Any]) -> Manifest:
        """The manifest of a file's content, of this or an earlier version.

        Raises:
            TypeError: a name is missing or unknown, or a value is of another kind.
        """
        if not isinstance(content, dict):
            raise TypeError("it is no mapping")
        if "scorer" not in content:
            content = {EARLIER_NAMES.get(name, name): value for name, value in content.items()}
        made = cls(**content)
        for kind, names in KINDS.items():
            if wrong := [name for name in names if not isinstance(getattr(made, name), kind)]:
                raise TypeError(f"{wrong[0]} is {getattr(made, wrong[0])!r}")
        return made

    def differs_from(self, asked: dict[str, Any]) -> str:
        """The names in which a request differs from the one that this selection answers, joined by commas.

        Args:
            asked: ``pool_fingerprint``, ``weights_hash``, ``selector``, ``budget``, ``seed``, ``signals``,
                ``target`` and ``prior``, or some of them; the same ones give the same rows.
        """
        answered = {
            "pool_fingerprint": self.pool_fingerprint,
            "weights_hash": self.weights_hash,
            "selector": _by_public_names(self.selector),
            "budget": self.budget.get("asked"),
            "seed": self.seed,
            "signals": self.signals,
            "target": self.target,
            "prior": self.prior or asked.get("prior"),  # earlier versions noted none
        }
        return ", ".join(name for name, value in answered.items() if name in asked and asked[name] != value)


@dataclass(frozen=True)
class Selection:
    """The selected rows of a pool.

    Args:
        rows: unique row ids, int64, ascending, shape (n,).
        scores: of these rows, float64, shape (n,).
        manifest: where they came from.
    """

    rows: np.ndarray
    scores: np.ndarray
    manifest: Manifest

    def write(self, folder: Path, pool: Pool, signals: Mapping[str, np.ndarray], tie_keys: np.ndarray) -> None:
        """Write ``rows.parquet``, ``scores.parquet`` and, last, ``manifest.json``.

        Args:
            folder: of the selection.
            pool: that it was made from.
            signals: the scalar signals that were used, each of shape (n_pool,).
            tie_keys: the order among equal scores, uint64, shape (n_pool,).
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = SelectionFiles(folder)
        files.manifest.unlink(missing_ok=True)
        known = {"source_row": pool.source_rows, "last_source_row": pool.last_source_rows, "domain": pool.domains}
        sources = {name: values for name, values in known.items() if values is not None}
        rows = {"row_id": self.rows, "score": self.scores} | {name: ids[self.rows] for name, ids in sources.items()}
        ids = np.arange(len(pool))
        scores = {"row_id": ids, **signals, "selected": np.isin(ids, self.rows), "tie_key": tie_keys, **sources}
        for file, columns in ((files.rows, rows), (files.scores, scores)):
            with atomic_file(file) as partial:
                _write_columns(partial, columns)
        write_json(files.manifest, asdict(self.manifest))

    @staticmethod
    def folder_of(path: Path) -> Path:
        """The folder of a selection, given by itself or by its run."""
        inside = RunFiles(path).selection
        return path if SelectionFiles(path).manifest.is_file() or not inside.is_dir() else inside

    @classmethod
    def read(cls, folder: Path, pool: Pool) -> Selection:
        """Read a selection and check it against the pool.

        Args:
            folder: of the selection, or of the run that it belongs to.
            pool: that it must have been made from.

        Raises:
            SelectionError: it is not there, damaged, or made for another pool; the message says what differs.
        """
        read = cls.read_files(folder)
        read.check_pool(cls.folder_of(folder), pool)
        return read

    @classmethod
    def read_files(cls, folder: Path) -> Selection:
        """Read a selection, as `read` does, and check its rows against its manifest alone."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = cls.folder_of(folder)
        try:
            manifest = Manifest.of(json.loads(SelectionFiles(folder).manifest.read_text()))
            table = pq.read_table(SelectionFiles(folder).rows)
            rows = table["row_id"].to_numpy().astype(np.int64)
            scores = table["score"].to_numpy()
        except FileNotFoundError:
            raise SelectionError(
                f"There is no selection in {folder} (manifest.json and rows.parquet); make one with `select`, or check "
                "data.selection."
            ) from None
        except (ValueError, TypeError, KeyError, OSError, pa.ArrowException) as error:
            raise SelectionError(
                f"The selection in {folder} cannot be read ({error}); remove that folder, and select again.",
                path=folder,
            ) from error
        if hash_rows(rows) != manifest.rows_hash or len(rows) != manifest.n_rows:
            message = f"The rows in {folder} are not those of its manifest; make the selection again."
            raise SelectionError(message, path=SelectionFiles(folder).rows)
        return cls(rows, scores, manifest)

    def check_pool(self, folder: Path, pool: Pool) -> None:
        """Raise SelectionError for another pool than the selection in a folder was made from."""
        manifest = self.manifest
        if manifest.pool_fingerprint != pool.fingerprint:
            raise SelectionError(
                f"The selection in {folder} was made for another pool: {manifest.pool_rows:,} rows of "
                f"{manifest.source} with fingerprint {manifest.pool_fingerprint[:12]}, while this pool has "
                f"{len(pool):,} rows of {pool.source} with fingerprint {pool.fingerprint[:12]}; select again, or use "
                "the same data, seed and data.max_train_rows."
            )


def _write_columns(file: Path, columns: Mapping[str, np.ndarray]) -> None:
    """A parquet file of columns of one length, in pieces, so that no second copy of a large pool is held."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.from_numpy_dtype(values.dtype)) for name, values in columns.items()])
    n_rows = len(next(iter(columns.values())))
    with pq.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for start in range(0, max(n_rows, 1), ROWS_AT_ONCE):
            piece = {name: values[start : start + ROWS_AT_ONCE] for name, values in columns.items()}
            writer.write_table(pa.table(piece, schema=schema))


def trained_on(model: Path) -> dict[str, Any] | None:
    """The rows that an exported model was trained on, from the manifest beside it; None where there is none."""
    file = RunFiles(model.parent).manifest
    if not file.is_file():
        return None
    names = ("n_rows", "rows_hash", "pool_fingerprint", "source", "selector", "weights_hash", "tokenizer_hash")
    content = read_mapping(file, "name another model.checkpoint, or remove that folder", *names)
    return {name: content[name] for name in names}


def head_sentence(choice: Mapping[str, Any]) -> str:
    """The head that was chosen and why, in one sentence.

    Args:
        choice: ``entropy_head`` of a manifest.
    """
    layers = " and ".join(map(str, choice["layers"] or ()))
    probe = f"predicted by a probe{f' of layer {layers}' if layers else ''}"
    taken = "exact" if choice["taken"] == "exact" else probe
    return f"Entropies are {taken} (scorer.generative.head: auto), as {choice['why']}."


def hash_rows(rows: np.ndarray) -> str:
    """Hash of row ids in ascending order, 32 hexadecimal digits."""
    return hashlib.blake2b(np.sort(rows).astype("<i8").tobytes(), digest_size=16).hexdigest()


def describe(thing: Any) -> Any:
    """An object with its class and every argument, as JSON types."""
    if thing is None or isinstance(thing, bool | int | float | str | Path):
        return str(thing) if isinstance(thing, Path) else thing
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple | set | frozenset):
        return [describe(value) for value in thing]
    arguments = asdict(thing) if is_dataclass(thing) and not isinstance(thing, type) else vars(thing)
    kind = type(thing)
    public = {name: describe(value) for name, value in arguments.items() if not name.startswith("_")}
    return {"class": public_name(f"{kind.__module__}.{kind.__qualname__}"), "arguments": public}


def public_name(path: str) -> str:
    """The class path of a selector as users write it, which holds wherever its file lies; others stay as they are."""
    name = path.rpartition(".")[2]
    ours = path.startswith(f"{selectors.__name__}.") and name in selectors.__all__
    return f"{selectors.__name__}.{name}" if ours else path


def _by_public_names(described: Any) -> Any:
    """A selector as `describe` gives it; earlier versions named the file of each class."""

    def renamed(part: dict[str, Any]) -> dict[str, Any]:
        return part | {"class": public_name(part["class"])} if isinstance(part.get("class"), str) else part

    return json.loads(json.dumps(described), object_hook=renamed)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a selection depends on."""
    installed = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed
