"""The data sets and models that configs need: listed, checked, downloaded, and copied for another machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selectune.common.errors import CheckpointError, DataError, MissingCheckpointError, MissingDataError
from selectune.data.hub import About, Here, about, check_room, copy_of, place_of
from selectune.data.needs import Need, needs_of

MISSING, UNKNOWN = "missing", "unknown"


@dataclass(frozen=True)
class Makers:
    """The makers of data sets and models that no hub has.

    Args:
        table: the folder that stands in configs for that of their table; None where they are of no table.
        commands: that leave them in a folder, by that folder.
    """

    table: Path | None = None
    commands: Mapping[str, str] = field(default_factory=dict)

    def by_table(self, need: Need) -> bool:
        """Whether the table makes it when it is run."""
        return self.table is not None and Path(need.name).is_relative_to(self.table)

    def command_of(self, need: Need) -> str | None:
        """The command that makes it, if one is named."""
        made = (command for folder, command in self.commands.items() if Path(need.name).is_relative_to(folder))
        return next(made, None)


def fetch(configs: Sequence[Mapping[str, Any]], listed: bool, copy_to: Path | None, makers: Makers) -> bool:
    """Print what configs need and where it lies, and download what is missing. Returns whether everything is there.

    Args:
        configs: of ``fit``, with all defaults.
        listed: download nothing.
        copy_to: a folder to copy everything into that is no file of the user.
        makers: of what is made on this machine.

    Raises:
        UserError: something cannot be had or is damaged, or the disk has no room for it.
    """
    all_needs = needs_of(configs)
    needs = [need for need in all_needs if not makers.by_table(need)]
    here = {need: found for need in needs if (found := _here(need)) is not None}
    missing = [need for need in needs if need not in here]
    to_make = [need for need in missing if need.own]
    to_load = [need for need in missing if not need.own]
    known = {need: about(need) for need in needs if _is_asked(need, here.get(need))} if _online() else {}
    for need in all_needs:
        text = "made by the table" if makers.by_table(need) else _told(need, here.get(need), known.get(need), makers)
        print(f"{need.kind:5}  {need.title}: {text}", flush=True)
    if listed and missing:
        rest = "; the same command without --list downloads " + (f"{len(to_load)} of them" if to_make else "them")
        print(f"{len(missing)} of {len(needs)} are missing{rest if to_load else ''}.")
        return False
    if to_load:
        cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
        check_room(cache, sum(known[need].size or 0 for need in to_load if need in known))
    for need in to_load:
        print(f"{need.title}: {place_of(need, network=True).described}", flush=True)
    if to_make:
        print(f"{len(to_make)} of {len(needs)} are still to be made on this machine, see above.")
        return False
    print(f"All {len(needs)} are on this machine and can be read.")
    if copy_to is not None:
        for need in needs:
            if not need.own:
                print(f"{need.title}: {copy_of(need, copy_to)}", flush=True)
        folder = copy_to.resolve()
        print(f"To use them: export SELECTUNE_DATA={folder / 'data'} SELECTUNE_MODELS={folder / 'models'}")
    return True


def _here(need: Need) -> Here | None:
    try:
        return place_of(need, network=False)
    except (MissingDataError, MissingCheckpointError):
        return None
    except (DataError, CheckpointError):
        if need.own and not Path(need.name).exists():  # a path, to something that a command may yet make
            return None
        raise


def _is_asked(need: Need, here: Here | None) -> bool:
    """Whether the hub is asked about something: whatever is missing, and a licence that no card beside it names.

    A name without an owner that lies in a local folder may be another one's on the hub.
    """
    if need.own:
        return False
    return here is None or (not here.licence and ("/" in need.name or here.described.startswith("hub:")))


def _online() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() not in ("1", "ON", "YES", "TRUE")


def _told(need: Need, here: Here | None, found: About | None, makers: Makers) -> str:
    """Place, size and licence of something, or what is known of it where it is missing."""
    licence = (here and here.licence) or (found and found.licence) or UNKNOWN
    if here is not None:
        return f"{here.described}, {_megabytes(here.size)}, licence {licence}"
    if need.own:
        command = makers.command_of(need)
        return f"{MISSING}, made by `{command}`" if command else f"{MISSING}, and yours to make; or correct its path"
    if found is None:
        return f"{MISSING} (HF_HUB_OFFLINE is set)"
    if found.problem:
        return f"{MISSING}; the hub says nothing of it ({found.problem})"
    return f"{MISSING}, {_megabytes(found.size)}, licence {licence}"


def _megabytes(size: int | None) -> str:
    return "of unknown size" if size is None else f"{size / 1e6:,.1f} MB"
