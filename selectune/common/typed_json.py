"""Typed dataclasses from their JSON, the type of every field checked; ranges are left to the dataclasses."""

from __future__ import annotations

import math
import types
from collections.abc import Collection
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from selectune.common.errors import UserError


def from_json(
    kind: Any, content: Any, name: str = "", later: Collection[str] = (), left_out: Collection[str] | None = ()
) -> Any:
    """A value of a type, from its JSON.

    The type is that of a field: a dataclass, a tuple, a literal, a finite number, a text, a dict whose content is not
    checked, or one of them or None.

    Args:
        kind: the type.
        content: as `json.loads` gives it.
        name: of the value, for messages; empty for the whole.
        later: names of fields that have a default and may be missing, as files of earlier versions lack them.
        left_out: names of what stands beside the fields for the reader; None leaves out whatever is not known.

    Raises:
        UserError: it is another; the message names it.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if content is None:
            return None
        options = [one for one in get_args(kind) if one is not type(None)]
        return from_json(options[0], content, name, later, left_out)
    if is_dataclass(kind) and isinstance(kind, type):
        return kind(**_fields(kind, content, name, later, left_out))
    if origin is tuple:
        if isinstance(content, list | tuple):
            return tuple(from_json(get_args(kind)[0], one, name, later, left_out) for one in content)
        fits = False
    elif origin is dict:
        fits = isinstance(content, dict)
    elif origin is Literal:
        fits = content in get_args(kind)
    else:
        number = (int, float) if kind is float else kind
        fits = isinstance(content, number) and isinstance(content, bool) == (kind is bool)
        fits = fits and (not isinstance(content, float) or math.isfinite(content))
    if not fits:
        raise UserError(f"{name} is {content!r}.")
    return content


def _fields(
    kind: type, content: Any, name: str, later: Collection[str], left_out: Collection[str] | None
) -> dict[str, Any]:
    """The fields of a dataclass by name."""
    hints = _hints(kind)
    if not isinstance(content, dict):
        raise UserError(f"{name or 'it'} is no JSON object.")
    if missing := [field for field in hints if field not in content and field not in later]:
        raise UserError(f"{name or 'it'} lacks {', '.join(missing)}.")
    if left_out is not None and (unknown := content.keys() - hints - set(left_out)):
        raise UserError(f"{name or 'it'} has {', '.join(sorted(map(str, unknown)))}, which is not known.")
    prefix = f"{name}." if name else ""
    given = [field for field in hints if field in content]
    return {field: from_json(hints[field], content[field], prefix + field, later, left_out) for field in given}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
