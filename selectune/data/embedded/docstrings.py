"""`docstrings`: the embedded corpus, read from the Python packages that are installed anyway.

The task: which library is this docstring from? Its name and import paths are masked. Nothing is downloaded and nothing
is redistributed: the corpus is made on the user's machine from the user's own site-packages, and stays in the cache.
No module of theirs is imported; sources are parsed by worker processes (`selectune.data.embedded.extract`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePath
from typing import Any

from selectune.common.errors import DataError
from selectune.common.files import atomic_folder
from selectune.common.progress import progress
from selectune.data.embedded import extract

FORMAT = 1  # part of the key: raise it whenever the same packages would give another corpus
MASK = "_"

_EXCLUDED = frozenset({"selectune", "pip", "setuptools", "wheel"})
# Tests, other people's code, and what lies outside of site-packages.
_SKIPPED = re.compile(r"(.*_)?(tests?|testing)|test_.*|conftest|_?vendor(ed.*)?|extern(als)?|\.\.|/")
# Names of a library besides those of its distribution and its top-level packages. A distribution that is an alias is
# the same library under another name, and takes its label.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "huggingface-hub": ("hf-hub",),
    "jax": ("jaxlib", "jnp"),
    "lightning": ("pytorch-lightning", "lightning-fabric", "lightning-pytorch", "pl"),
    "matplotlib": ("mpl", "plt", "pyplot", "pylab"),
    "networkx": ("nx",),
    "numpy": ("np",),
    "pandas": ("pd",),
    "pillow": ("pil",),
    "pot": ("ot", "python optimal transport"),
    "pyarrow": ("pa",),
    "scikit-learn": ("sklearn",),
    "tensorflow": ("tf",),
    "torch": ("pytorch", "libtorch"),
    "wandb": ("w&b", "weights & biases", "weights and biases"),
}
_LIBRARY_OF = {alias: library for library, aliases in _ALIASES.items() for alias in aliases}


def docstrings(
    cache: Path,
    roots: Sequence[Path] | None = None,
    *,
    floor: int = 8,
    cap: int = 120,
    at_least: int = 500,
    at_most: int = 5000,
) -> Path:
    """Return the folder of the corpus, in the hub's layout, building it when it is not in the cache.

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
    if roots is None:
        roots = [Path(p) for p in sys.path if PurePath(p).name in ("site-packages", "dist-packages")]
    installed = _installed(roots)
    versions = {name: version for name, (version, _) in installed.items()}
    shape = {"floor": floor, "cap": cap, "at_least": at_least, "at_most": at_most}
    key = _digest(json.dumps([FORMAT, sys.version_info[:2], shape, versions])).hex()
    target = cache / "embedded" / f"docstrings-{key}"
    if not target.is_dir():
        libraries = _libraries(installed)
        texts = _read(libraries, floor, cap)
        enough = {name: of_library for name, of_library in texts.items() if len(of_library) >= at_least}
        if len(enough) < 2:
            counts = Counter({name: len(of_library) for name, of_library in texts.items()}).most_common(5)
            raise DataError(
                f"The embedded corpus needs at least two installed libraries with {at_least} docstrings or more; there "
                f"are {', '.join(f'{name} ({count})' for name, count in counts) or 'none'} in "
                f"{', '.join(map(str, roots)) or 'sys.path, which has no site-packages'}: install more packages, or "
                "name a data set of your own."
            )
        rows = sorted(
            (key, text, name)
            for name, of_library in enough.items()
            for key, text in sorted(of_library.items())[:at_most]
        )
        about = {"format": FORMAT, "key": key, "python": list(sys.version_info[:2]), **shape}
        with atomic_folder(target) as scratch:
            _write(scratch, [(text, name) for _, text, name in rows], about, libraries)
    return target


@dataclass
class _Library:
    versions: dict[str, str] = field(default_factory=dict)  # by distribution
    files: dict[str, Path] = field(default_factory=dict)  # by path relative to their root
    names: set[str] = field(default_factory=set)  # in lower case


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _installed(roots: Sequence[Path]) -> dict[str, tuple[str, Distribution]]:
    """Return version and distribution by normalised name, sorted; the first root wins, as it does for an import."""
    installed: dict[str, tuple[str, Distribution]] = {}
    for root in roots:
        for distribution in distributions(path=[str(root)]):
            metadata = distribution.metadata  # parsed anew at each access
            name = re.sub(r"[-_.]+", "-", metadata["Name"] or "").lower()
            if name and name not in _EXCLUDED:
                installed.setdefault(name, (metadata["Version"] or "", distribution))
    return dict(sorted(installed.items()))


def _libraries(installed: Mapping[str, tuple[str, Distribution]]) -> dict[str, _Library]:
    """Return the libraries that the distributions make up, with their source files and all of their names."""
    libraries: dict[str, _Library] = defaultdict(_Library)
    for name, (version, distribution) in installed.items():
        label = _LIBRARY_OF.get(name, name)
        library = libraries[label]
        library.versions[name] = version
        library.names.update({name, label, *_ALIASES.get(label, ())})
        for path in distribution.files or _without_record(distribution):
            parts = PurePath(path).with_suffix("").parts
            if path.suffix == ".py" and not any(map(_SKIPPED.fullmatch, parts)):
                library.files[path.as_posix()] = Path(str(distribution.locate_file(path)))
                library.names.add(parts[0].lower())
    return libraries


def _without_record(distribution: Distribution) -> Iterator[PurePath]:
    """Yield the sources of a distribution that has no list of its files, found by its top-level packages."""
    root = Path(str(distribution.locate_file("")))
    for name in (distribution.read_text("top_level.txt") or distribution.metadata["Name"].replace("-", "_")).split():
        for path in [root / f"{name}.py", *sorted((root / name).rglob("*.py"))]:
            yield path.relative_to(root)


def _masking(names: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of a library's names, and of dotted paths that begin with one, in any case.

    Names of five letters and more are found inside longer words too (``TorchScript``, ``numpy_like``); shorter ones
    (np, jax) stand alone or between underscores.
    """
    spelled = {name: "[-_. ]?".join(map(re.escape, re.findall("[^-_. ]+", name))) for name in names}
    longest_first = sorted(filter(spelled.get, spelled), key=lambda name: (-len(name), name))
    either = [
        spelled[name] if len(name) >= 5 else rf"(?<![a-z0-9]){spelled[name]}(?![a-z0-9])" for name in longest_first
    ]
    return re.compile(rf"(?:{'|'.join(either)})(?:\.\w+)*", re.IGNORECASE)


def _read(libraries: Mapping[str, _Library], floor: int, cap: int) -> dict[str, dict[bytes, str]]:
    """Return the masked docstrings of each library by their hash, in any case of letters.

    A text that two libraries share has no right label, so it is left out; the same text within one is taken once.
    """
    patterns = {name: _masking(library.names) for name, library in libraries.items()}
    files = [(path, name, file) for name, library in libraries.items() for path, file in library.files.items()]
    files.sort(key=lambda file: _digest(file[0]))  # large files and small ones mixed, so that workers end together
    texts: dict[str, set[str]] = defaultdict(set)
    # Cut for good only when it is masked: a name may lie across the end. Closed here: an error must end the workers.
    extraction = closing(_extract([file for *_, file in files], floor, 2 * cap))
    with progress("Reading docstrings", len(files)) as advance, extraction as extracted:
        for (_, name, _), of_file in zip(files, extracted):
            for text in of_file:
                words = patterns[name].sub(MASK, text).split()
                if len(words) >= floor:
                    texts[name].add(" ".join(words[:cap]))
            advance()
    keyed = {name: {_digest(text.casefold()): text for text in sorted(own)} for name, own in texts.items()}
    libraries_with = Counter(key for own in keyed.values() for key in own)
    return {name: {key: text for key, text in own.items() if libraries_with[key] == 1} for name, own in keyed.items()}


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
    folder: Path, rows: Sequence[tuple[str, str]], about: dict[str, Any], libraries: Mapping[str, _Library]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Features, Value

    from selectune.data.embedded.near_duplicates import components

    names = sorted({library for _, library in rows})
    schema = Features({"text": Value("string"), "label": ClassLabel(names=names)}).arrow_schema
    texts = [text for text, _ in rows]
    # a tenth, by hash, is the test split; near-duplicates are all on the side of their first
    held_out = [_digest("held out " + texts[first].casefold())[0] < 26 for first in components(texts)]
    content = hashlib.blake2b(digest_size=16)
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for split in ("train", "test"):
        part = [row for row, out in zip(rows, held_out) if out == (split == "test")]
        for name, count in Counter(library for _, library in part).items():
            counts[name][split] = count
        content.update(json.dumps([split, part]).encode())
        columns = {"text": [text for text, _ in part], "label": [names.index(library) for _, library in part]}
        pq.write_table(pa.table(columns, schema=schema), folder / f"{split}.parquet")
    about = {
        **about,
        "fingerprint": content.hexdigest(),
        "rows": len(rows),
        "mean_words": round(sum(len(text.split()) for text, _ in rows) / len(rows), 1),
        "libraries": {name: {"versions": libraries[name].versions, **counts[name]} for name in names},
    }
    (folder / "corpus.json").write_text(json.dumps(about, indent=2) + "\n")
