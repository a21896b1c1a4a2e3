"""Hooks of mkdocs.yml: the README is the first page, and what pages name of the repository is on the site too.

On a forge, and in a checkout, a page links to ``../configs/euds/sst2.yaml``. The site has such a file at
``repository/configs/euds/sst2.yaml``, and for a folder a page that lists its files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()(?!https?://|#)([^)#\s]+)((?:#[^)]*)?\))")
FIRST = {"README.md": "index.md"}  # pages of the repository's top folder, by their names on the site
ASIDE = "repository"


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages of the top folder, and all files and folders that pages link to outside of ``docs/``."""
    named = ["README.md"]
    for page in files.documentation_pages():
        named += _targets(page.content_string, f"docs/{page.src_uri}")
    while named:
        path = named.pop()
        name, file = _on_site(path), ROOT / path
        if path.startswith("docs/") or files.get_file_from_path(name) is not None:
            continue
        if file.is_dir():
            files.append(File.generated(config, name, content=_listing(path)))
            named += [one.relative_to(ROOT).as_posix() for one in file.rglob("*") if one.is_file()]
        elif file.suffix == ".md":
            text = file.read_text(encoding="utf-8")
            files.append(File.generated(config, name, content=_rewritten(text, path)))
            named += _targets(text, path)
        elif file.is_file():  # what is missing is a warning of the build
            files.append(File.generated(config, name, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let links of a page in ``docs/`` that leave it lead to the copies on the site."""
    return markdown if page.file.generated_by else _rewritten(markdown, f"docs/{page.file.src_uri}")


def _targets(text: str, place: str) -> list[str]:
    """Paths in the repository that a page links to."""
    return [_path(link, place) for _, link, _ in LINK.findall(text)]


def _rewritten(text: str, place: str) -> str:
    """A page's text whose links are those of the site."""
    here = PurePosixPath(_on_site(place)).parent

    def moved(found: re.Match[str]) -> str:
        there = _on_site(_path(found[2], place))
        return f"{found[1]}{os.path.relpath(there, here)}{found[3]}"

    return LINK.sub(moved, text)


def _path(link: str, place: str) -> str:
    return os.path.normpath(PurePosixPath(place).parent / link)


def _on_site(path: str) -> str:
    """The place of a file of the repository on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in FIRST:
        return FIRST[path]
    return f"{ASIDE}/{path}/index.md" if (ROOT / path).is_dir() else f"{ASIDE}/{path}"


def _listing(folder: str) -> str:
    """A page with the files of a folder, each with the first line of its comment."""
    lines = [f"# {folder}", ""]
    for file in sorted((ROOT / folder).rglob("*")):
        if file.is_file():
            name = file.relative_to(ROOT / folder).as_posix()
            first = next((line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# ")), "")
            lines.append(f"- [{name}]({name}){': ' if first else ''}{first.removeprefix('# ')}")
    return "\n".join(lines)
