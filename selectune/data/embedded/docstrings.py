"""`docstrings`: the embedded corpus, read from the Python packages that are installed anyway.

The task: which library is this docstring from? Its name and import paths are masked. Nothing is downloaded and nothing
is redistributed: the corpus is made on the user's machine from the user's own site-packages, and stays in the cache.
No module of theirs is imported; sources are parsed by worker processes (`selectune.data.embedded.extract`).

`uneven` is the corpus of the same libraries as it stands there: copies stay, and some libraries have thirty times as
many rows as others.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path, PurePath
from typing import Any

from selectune.common.errors import DataError
from selectune.common.files import atomic_file
from selectune.common.progress import progress
from selectune.data.embedded import extract
from selectune.data.embedded.held_out import a_tenth, digest, even
from selectune.data.embedded.kept import made_once
from selectune.data.embedded.libraries import Library, installed_in, libraries_of, masking

FORMAT = 1  # part of the key: raise it whenever the same packages would give another corpus
MASK = "_"


def docstrings(
    cache: Path,
    roots: Sequence[Path] | None = None,
    *,
    floor: int = 8,
    cap: int = 120,
    at_least: int = 500,
    at_most: int = 5000,
) -> Path:
    """Return the folder of the corpus, in the hub's layout, building it when it is not in the cache, or damaged there.

    The folder holds ``train.parquet`` and ``test.parquet`` (``text``: string; ``label``: ClassLabel with the names of
    the libraries) and ``corpus.json`` (versions, counts, content fingerprint). It is the same for the same versions of
    the same packages and of Python. The held-out tenth is drawn by hash, near-duplicates together.

    Args:
        cache: the cache folder; the corpus is put into ``embedded/docstrings-<key>`` there.
        roots: folders that packages are installed in; by default the site-packages on ``sys.path``.
        floor: docstrings under so many words are left out.
        cap: longer docstrings are cut to so many words.
        at_least: libraries with fewer docstrings are left out.
        at_most: so many docstrings are taken of a library, chosen by the hash of their text.

    Raises:
        DataError: fewer than two libraries have enough docstrings.
    """
    shape = {"floor": floor, "cap": cap, "at_least": at_least, "at_most": at_most}
    return _corpus("docstrings", cache, roots, shape)


def uneven(
    cache: Path,
    roots: Sequence[Path] | None = None,
    *,
    floor: int = 8,
    cap: int = 120,
    at_least: int = 500,
    held_out: int = 40,
) -> Path:
    """Return the folder of the corpus as it stands, building it when it is not in the cache, or damaged there.

    Each docstring is a row, as often as it is there. ``test.parquet`` has as many rows of each library, no two of them
    near-duplicates, and ``natural.parquet`` a twentieth of all rows, by hash, in the shares and with the copies that
    libraries have. No near-duplicate of either is in ``train.parquet``.

    Args:
        cache: the cache folder; the corpus is put into ``embedded/docstrings-uneven-<key>`` there.
        roots: see `docstrings`, as for the other arguments.
        held_out: rows of each library in the test split.

    Raises:
        DataError: fewer than two libraries have enough docstrings.
    """
    shape = {"floor": floor, "cap": cap, "at_least": at_least, "held_out": held_out}
    return _corpus("docstrings-uneven", cache, roots, shape)


def _corpus(name: str, cache: Path, roots: Sequence[Path] | None, shape: dict[str, int]) -> Path:
    if roots is None:
        roots = [Path(p) for p in sys.path if PurePath(p).name in ("site-packages", "dist-packages")]
    installed = installed_in(roots)
    versions = {name: version for name, (version, _) in installed.items()}
    key = digest(json.dumps([FORMAT, sys.version_info[:2], shape, versions])).hex()
    target = cache / "embedded" / f"{name}-{key}"

    def make(scratch: Path) -> None:
        libraries, at_least = libraries_of(installed), shape["at_least"]
        read = digest(json.dumps([FORMAT, sys.version_info[:2], shape["floor"], shape["cap"], versions])).hex()
        texts = _read_once(cache / "docstrings" / f"{read}.parquet", libraries, shape["floor"], shape["cap"])
        enough = {name: of_library for name, of_library in texts.items() if len(of_library) >= at_least}
        if len(enough) < 2:
            counts = Counter({name: len(of_library) for name, of_library in texts.items()}).most_common(5)
            raise DataError(
                f"The embedded corpus needs at least two installed libraries with {at_least} docstrings or more; there "
                f"are {', '.join(f'{name} ({count})' for name, count in counts) or 'none'} in "
                f"{', '.join(map(str, roots)) or 'sys.path, which has no site-packages'}: install more packages, or "
                "name a data set of your own."
            )
        # of a corpus as it stands, a row for each time that a text is there
        most = shape.get("at_most")
        rows = sorted(
            (key, text, name)
            for name, of_library in enough.items()
            for key, (text, count) in sorted(of_library.items())[:most]
            for _ in range(1 if most else count)
        )
        about = {"format": FORMAT, "key": key, "python": list(sys.version_info[:2]), **shape}
        _write(scratch, [(text, name) for _, text, name in rows], about, libraries, shape.get("held_out", 0))

    return made_once(target, make)


Texts = dict[str, dict[bytes, tuple[str, int]]]  # by library and hash: a text, and how often it is there


def _read_once(file: Path, libraries: Mapping[str, Library], floor: int, cap: int) -> Texts:
    """`_read`, kept in a file, as the corpora share it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(OSError, KeyError, TypeError, ValueError, pa.ArrowException):  # it is not there, or damaged
        known: Texts = {}
        for row in pq.read_table(file).to_pylist():
            known.setdefault(row["library"], {})[row["key"]] = row["text"], row["count"]
        return known
    texts = _read(libraries, floor, cap)
    rows = [
        {"library": name, "key": key, "text": text, "count": count}
        for name, of_library in texts.items()
        for key, (text, count) in of_library.items()
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    return texts


def _read(libraries: Mapping[str, Library], floor: int, cap: int) -> Texts:
    """Return the masked docstrings of each library by their hash, in any case of letters, and how often each is there.

    A text that two libraries share has no right label, so it is left out.
    """
    patterns = {name: masking(library.names) for name, library in libraries.items()}
    files = [(path, name, file) for name, library in libraries.items() for path, file in library.files.items()]
    files.sort(key=lambda file: digest(file[0]))  # large files and small ones mixed, so that workers end together
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    # Cut for good only when it is masked: a name may lie across the end. Closed here: an error must end the workers.
    extraction = closing(_extract([file for *_, file in files], floor, 2 * cap))
    with progress("Reading docstrings", len(files)) as advance, extraction as extracted:
        for (_, name, _), of_file in zip(files, extracted):
            for text in of_file:
                words = patterns[name].sub(MASK, text).split()
                if len(words) >= floor:
                    texts[name][" ".join(words[:cap])] += 1
            advance()
    keyed: Texts = {name: {} for name in texts}
    for name, own in texts.items():
        for text, count in sorted(own.items()):
            key = digest(text.casefold())
            keyed[name][key] = text, count + keyed[name].get(key, ("", 0))[1]
    libraries_with = Counter(key for own in keyed.values() for key in own)
    return {name: {key: found for key, found in own.items() if libraries_with[key] == 1} for name, own in keyed.items()}


def _extract(files: Sequence[Path], floor: int, cap: int) -> Generator[list[str], None, None]:
    """Yield the docstrings of each file, in order, from one worker process a core."""
    count = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
    with ExitStack() as stack:
        outputs = []
        for i in range(count):
            jobs = {"floor": floor, "cap": cap, "files": [str(file) for file in files[i::count]]}
            command = [sys.executable, "-I", str(Path(extract.__file__))]
            worker = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(worker.kill)
            assert worker.stdin is not None
            assert worker.stdout is not None
            with worker.stdin as stdin:
                stdin.write(json.dumps(jobs).encode())
            outputs.append(worker.stdout)
        for i, file in enumerate(files):
            line = outputs[i % count].readline()
            if not line:
                raise RuntimeError(f"the process that read docstrings died on {file}")
            yield json.loads(line)


def _write(
    folder: Path, rows: Sequence[tuple[str, str]], about: dict[str, Any], libraries: Mapping[str, Library], each: int
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Features, Value

    names = sorted({library for _, library in rows})
    schema = Features({"text": Value("string"), "label": ClassLabel(names=names)}).arrow_schema
    texts = [text for text, _ in rows]
    splits = even(texts, [library for _, library in rows], each) if each else a_tenth(texts)
    content = hashlib.blake2b(digest_size=16)
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for split in ("train", "test", *(["natural"] if each else [])):
        part = [row for row, own in zip(rows, splits) if own == split]
        for name, count in Counter(library for _, library in part).items():
            counts[name][split] = count
        content.update(json.dumps([split, part]).encode())
        columns = {"text": [text for text, _ in part], "label": [names.index(library) for _, library in part]}
        pq.write_table(pa.table(columns, schema=schema), folder / f"{split}.parquet")
    about = {
        **about,
        "fingerprint": content.hexdigest(),
        "rows": sum(map(bool, splits)),
        "mean_words": round(sum(len(text.split()) for text in texts) / len(rows), 1),
        "libraries": {name: {"versions": libraries[name].versions, **counts[name]} for name in names},
    }
    (folder / "corpus.json").write_text(json.dumps(about, indent=2) + "\n")
