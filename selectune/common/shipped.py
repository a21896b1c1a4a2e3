"""Configs that come with selectune, found by their names: ``euds/sst2`` for ``configs/euds/sst2.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from textwrap import shorten

from selectune.common.errors import UserError

CONFIG_OPTIONS = ("-c", "--config")
CLOSE = 0.8  # likeness of two names, from 0 to 1, from which on one may have been meant
INLINE = "{:\n"  # characters of a config that is written out on the command line, and of no name here


def shipped_configs() -> Path:
    """The folder of the configs: inside the package where that was installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Names of all shipped configs, in the order of the alphabet, those of the top folder first."""
    folder = shipped_configs()
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return [str(_name(file)) for file in sorted(files, key=lambda file: (len(file.parts) > 1, file))]


def find_shipped(name: str) -> Path | None:
    """The file of a shipped config by its name, with or without ``configs/`` and ``.yaml``; None if there is none."""
    stem = name.removeprefix("configs/")
    if not stem or stem.startswith(("/", ".", "~")) or ".." in PurePosixPath(stem).parts:
        return None
    files = (shipped_configs() / one for one in (stem, f"{stem}.yaml"))
    return next((file for file in files if _is_file(file)), None)


def config_file(name: str) -> Path:
    """A config by its path, which wins, or by the name of a shipped one.

    Raises:
        UserError: there is neither.
    """
    if _is_file(Path(name)):
        return Path(name)
    file = find_shipped(name)
    if file is None:
        raise UserError(f"There is no config {name}, neither as a file nor by name; {_meant(name)}", option="--config")
    return file


def with_config_files(words: Sequence[str]) -> list[str]:
    """Arguments of a command in which names of shipped configs are paths to them.

    Raises:
        UserError: a config that is named is not there.
    """
    found = list(words)
    for place, (word, following) in enumerate(zip(words, [*words[1:], ""])):
        option, equals, value = word.partition("=")
        if option not in CONFIG_OPTIONS:
            continue
        name = value if equals else following
        if not name or name.startswith("--") or any(character in name for character in INLINE):
            continue  # told by the parser
        file = str(config_file(name))
        if equals:
            found[place] = f"{option}={file}"
        else:
            found[place + 1] = file
    return found


def listed_configs(width: int) -> Iterator[str]:
    """Lines with the name of each shipped config and the first sentence of its comment, at most so wide."""
    names = config_names()
    column = max(map(len, names)) + 2
    for name in names:
        told = _first_sentence(config_file(name).read_text(encoding="utf-8"))
        yield f"{name:{column}}{shorten(told, max(width - column, 20), placeholder=' ...')}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long for one
        return False


def _first_sentence(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("# ")]
    told = []
    for line in lines:
        if line.startswith("#   "):  # its command
            break
        told.append(line.removeprefix("# "))
    return " ".join(told).partition(". ")[0].rstrip(".")


def _name(file: Path) -> PurePosixPath:
    path = PurePosixPath(file.as_posix())
    return path.with_suffix("") if path.suffix == ".yaml" else path


def _meant(name: str) -> str:
    names = config_names()
    stem = name.removeprefix("configs/").removesuffix(".yaml")
    last = stem.rpartition("/")[2]
    close = [one for one in names if one.rpartition("/")[2] == last] or get_close_matches(stem, names, 1, CLOSE)
    if not close:
        last_parts = {one.rpartition("/")[2]: one for one in names}
        close = [last_parts[one] for one in get_close_matches(last, last_parts, 1, CLOSE)]
    if close:
        return f"did you mean {' or '.join(close[:3])}?"
    return "correct the path, or take a name that `selectune configs` lists."
