"""The lock of a release: everything that it installs, at the versions that are tested, each with its hashes."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

LOCK, CONSTRAINTS = REPOSITORY / "requirements.lock", REPOSITORY / "constraints.txt"


def versions(text: str) -> dict[str, str]:
    """Pinned versions by normalized names."""
    pins = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def test_every_package_has_hashes_and_nothing_else() -> None:
    for block in re.split(r"^(?=\w)", LOCK.read_text(), flags=re.MULTILINE):
        if block.strip():
            first, *hashes = [line.strip().rstrip("\\").strip() for line in block.strip().splitlines()]
            assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[^\s;]+( ; .*)?", first), first
            assert hashes, f"{first} has no hash"
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), first


def test_what_a_release_installs_is_there_at_the_versions_that_are_tested() -> None:
    locked, tested = versions(LOCK.read_text()), versions(CONSTRAINTS.read_text())
    apart = {
        name: (locked[name], tested[name]) for name in locked.keys() & tested.keys() if locked[name] != tested[name]
    }
    assert not apart
    needed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {canonicalize_name(Requirement(one).name) for one in needed}
    assert names <= locked.keys(), "make lock"
    assert names <= tested.keys()


def test_every_extra_is_pinned_but_what_the_page_on_security_names() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tested = versions(CONSTRAINTS.read_text())
    names = {name: [canonicalize_name(Requirement(one).name) for one in needed] for name, needed in extras.items()}
    free = [name for name, packages in names.items() if not set(packages) <= tested.keys()]
    assert f"all extras but {', '.join(f'`{name}`' for name in free)}" in (REPOSITORY / "SECURITY.md").read_text()


def test_all_that_these_need_is_there_too() -> None:
    locked = versions(LOCK.read_text())
    for name in locked:
        with suppress(PackageNotFoundError):  # not on this platform
            for needed in map(Requirement, requires(name) or []):
                if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                    assert canonicalize_name(needed.name) in locked, f"{needed} of {name}"
    assert {"nvidia-cublas", "triton"} <= locked.keys(), "a GPU has what it needs too"
