"""``python main.py verify RUN``: whether the files of a selection agree with its manifest, and its pool is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selectune.common.errors import SelectionError, UserError
from selectune.common.parser_errors import VerbParser
from selectune.common.run_files import RunFiles, SelectionFiles
from selectune.selection.manifest import Selection
from selectune.sharing.chosen import load_pool, selection_of

DESCRIPTION = "Compare the files of a run's selections with their manifests, and the data with the pool's fingerprint."


def main(args: list[str]) -> int:
    """Print a sentence for each mismatch, or that there is none. Returns the exit code: 0, or 1 where there is one.

    Raises:
        UserError: there is no such run, or it selected nothing.
    """
    parser = VerbParser("verify", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", type=str, help="Folder that --output of a fit or select named.")
    run = Path(parser.parse_args(args).run)
    selection_of(run)
    files, found = RunFiles(run), 0
    for folder in (files.selection, files.warm_up.selection):
        if folder.is_dir():
            mismatches = list(verified(run, folder))
            found += len(mismatches)
            print("\n".join(mismatches) or f"{folder}: rows, scores and pool are those of the manifest.")
    return 1 if found else 0


def verified(run: Path, folder: Path) -> Iterator[str]:
    """The mismatches of a selection, a sentence each.

    Args:
        run: its run directory.
        folder: of the selection.
    """
    try:
        selection = Selection.read_files(folder)
    except SelectionError as error:
        yield str(error)
        return
    if len(selection.rows) and (np.diff(selection.rows) <= 0).any():
        yield f"{SelectionFiles(folder).rows} holds a row twice, or rows out of order; select again."
    yield from _scores(selection, SelectionFiles(folder).scores)
    yield from _review(selection)
    try:
        data, _ = load_pool(run, folder)
        selection.check_pool(folder, data.pool)
    except UserError as error:
        yield str(error)


def _scores(selection: Selection, file: Path) -> Iterator[str]:
    """Whether the scores of the pool's rows are those of the rows kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, columns=["selected", "score"])
        selected, scores = (table[name].to_numpy() for name in ("selected", "score"))
    except (KeyError, ValueError, OSError, pa.ArrowException) as error:
        yield f"{file} cannot be read ({' '.join(str(error).split())[:200].rstrip('.')}); select again."
        return
    manifest = selection.manifest
    if len(selected) != manifest.pool_rows:
        yield f"{file} has {len(selected):,} rows, but the manifest a pool of {manifest.pool_rows:,}; select again."
    elif not np.array_equal(np.flatnonzero(selected), selection.rows):
        yield f"{file} marks other rows as selected than rows.parquet holds; select again."
    elif not np.array_equal(scores[selection.rows], selection.scores, equal_nan=True):
        yield f"{file} has other scores of the selected rows than rows.parquet; select again."


def _review(selection: Selection) -> Iterator[str]:
    """Whether the review that the pool went through is the file of that name."""
    review = selection.manifest.review
    if not review or not (file := Path(str(review.get("file")))).is_file():
        return  # where it is missing, the pool cannot be loaded, which says so
    if hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() != review.get("hash"):
        yield f"The review {file} is not the one that the pool went through; restore it, or select again."
