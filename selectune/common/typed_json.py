"""Typed dataclasses from their JSON, every field checked."""

from __future__ import annotations

import math
import types
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from selectune.common.errors import UserError


def from_json(kind: Any, content: Any, name: str, later: Collection[str] = (), left_out: Collection[str] = ()) -> Any:
    """A value of a type, from its JSON: a dataclass, a literal, a finite number, a text, or None where that is allowed.

    Args:
        kind: a dataclass whose fields are such types, or such a type.
        content: as `json.loads` gives it.
        name: of the value, for messages.
        later: names of fields that have a default and may be missing, as files of earlier versions lack them.
        left_out: names of what stands beside the fields for the reader.

    Raises:
        UserError: it is another; the message names it.
    """
    if get_origin(kind) in (Union, types.UnionType):
        if content is None:
            return None
        options = [one for one in get_args(kind) if one is not type(None)]
        return from_json(options[0], content, name, later, left_out)
    if is_dataclass(kind):
        names = {field.name for field in fields(kind)}
        if not isinstance(content, dict) or not names.difference(later) <= content.keys() <= names.union(left_out):
            raise UserError(f"{name} does not have the fields of a {kind.__name__}.")  # type: ignore[union-attr]
        hints = get_type_hints(kind)
        values = {
            key: from_json(hints[key], value, f"{name}.{key}", later, left_out)
            for key, value in content.items()
            if key in names
        }
        return kind(**values)  # type: ignore[operator]
    if get_origin(kind) is Literal:
        fits = content in get_args(kind)
    else:
        number = (int, float) if kind is float else kind
        fits = isinstance(content, number) and isinstance(content, bool) == (kind is bool)
        fits = fits and (not isinstance(content, float) or math.isfinite(content))
    if not fits:
        raise UserError(f"{name} is {content!r}.")
    return content
