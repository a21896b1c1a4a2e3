"""Checks of what a table's config holds, each refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from selectune.common.errors import UserError


def check(holds: object, message: str) -> None:
    """Raise a UserError with the message unless something holds."""
    if not holds:
        raise UserError(message)


def fields_of(cls: type, given: Any, where: str) -> dict[str, Any]:
    """A mapping whose names are all fields of a class, with `config` as a list."""
    if not isinstance(given, Mapping):
        raise UserError(f"{where} must be a mapping of names to values.")
    names = [one.name for one in fields(cls) if one.name != "file"]
    for name in given:
        check(name in names, f"{where} has no setting '{name}'; it may have {', '.join(names)}.")
    values = dict(given)
    if isinstance(values.get("config"), str):
        values["config"] = [values["config"]]
    check_list(values.get("config", []), f"{where}: config", str)
    check(isinstance(values.get("set", {}), dict), f"{where}: set must be a mapping of settings to values.")
    return values


def check_list(given: Any, where: str, *kinds: type) -> None:
    """Refuse what is no list of values of some kinds, each once."""
    if not isinstance(given, list) or any(isinstance(one, bool) or not isinstance(one, kinds) for one in given):
        kind = "names" if str in kinds else "numbers" if float in kinds else "whole numbers"
        raise UserError(f"{where} must be a list of {kind}.")
    check(len(set(given)) == len(given), f"{where} names something twice.")
