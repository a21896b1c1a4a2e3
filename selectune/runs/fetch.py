"""The data sets and models that configs need: listed, checked, downloaded, and copied for another machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selectune.common.errors import MissingCheckpointError, MissingDataError
from selectune.data.hub import About, about, check_room, copy_of, place_of
from selectune.data.needs import Need, needs_of

MISSING = "missing"


def fetch(configs: Sequence[Mapping[str, Any]], listed: bool, copy_to: Path | None) -> bool:
    """Print what configs need and where it lies, and download what is missing. Returns whether everything is there.

    Args:
        configs: of ``fit``, with all defaults.
        listed: download nothing.
        copy_to: a folder to copy everything into that is no file of the user.

    Raises:
        UserError: something cannot be had or is damaged, or the disk has no room for it.
    """
    needs = needs_of(configs)
    places = {need: _place(need) for need in needs}
    missing = [need for need in needs if places[need] == MISSING]
    known = {need: about(need) for need in missing} if _online() else {}
    for need in needs:
        print(f"{need.kind:5}  {need.title}: {_told(places[need], known.get(need))}", flush=True)
    if listed and missing:
        print(f"{len(missing)} of {len(needs)} are missing; the same command without --list downloads them.")
        return False
    if missing:
        cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
        check_room(cache, sum(one.size or 0 for one in known.values()))
    for need in missing:
        print(f"{need.title}: {place_of(need, network=True)}", flush=True)
    print(f"All {len(needs)} are on this machine and can be read.")
    if copy_to is not None:
        for need in needs:
            if not need.own:
                print(f"{need.title}: {copy_of(need, copy_to)}", flush=True)
        folder = copy_to.resolve()
        print(f"To use them: export SELECTUNE_DATA={folder / 'data'} SELECTUNE_MODELS={folder / 'models'}")
    return True


def _place(need: Need) -> str:
    try:
        return place_of(need, network=False)
    except (MissingDataError, MissingCheckpointError):
        return MISSING


def _online() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() not in ("1", "ON", "YES", "TRUE")


def _told(place: str, found: About | None) -> str:
    """A place, or what is known of something that is missing."""
    if place != MISSING:
        return place
    if found is None:
        return f"{MISSING} (HF_HUB_OFFLINE is set)"
    if found.problem:
        return f"{MISSING}; the hub says nothing of it ({found.problem})"
    size = "of unknown size" if found.size is None else f"{found.size / 1e6:,.1f} MB"
    return f"{MISSING}, {size}, licence {found.licence or 'not named'}"
