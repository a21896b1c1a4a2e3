"""The libraries that are installed: their sources, their names, and how their names are masked in a text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePath

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


@dataclass
class Library:
    """A library, of one distribution or of several."""

    versions: dict[str, str] = field(default_factory=dict)  # by distribution
    files: dict[str, Path] = field(default_factory=dict)  # by path relative to their root
    names: set[str] = field(default_factory=set)  # in lower case


def installed_in(roots: Sequence[Path]) -> dict[str, tuple[str, Distribution]]:
    """Return version and distribution by normalised name, sorted; the first root wins, as it does for an import."""
    installed: dict[str, tuple[str, Distribution]] = {}
    for root in roots:
        for distribution in distributions(path=[str(root)]):
            metadata = distribution.metadata  # parsed anew at each access
            name = re.sub(r"[-_.]+", "-", metadata["Name"] or "").lower()
            if name and name not in _EXCLUDED:
                installed.setdefault(name, (metadata["Version"] or "", distribution))
    return dict(sorted(installed.items()))


def libraries_of(installed: Mapping[str, tuple[str, Distribution]]) -> dict[str, Library]:
    """Return the libraries that the distributions make up, with their source files and all of their names."""
    libraries: dict[str, Library] = defaultdict(Library)
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


def masking(names: Iterable[str]) -> re.Pattern[str]:
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
