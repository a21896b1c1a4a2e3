"""Configs laid over each other, and settings by dotted names that reach into ``init_args``."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from selectune.common.errors import UserError
from selectune.common.parser_errors import check_aliases

Config = dict[str, Any]


def laid_over(base: Any, overlay: Any) -> Any:
    """A config with another one over it, as the command line takes several ``--config``.

    Mappings are merged; where both name a class, the arguments stay if it is the same one, and start afresh if not.
    """
    if not isinstance(base, Mapping) or not isinstance(overlay, Mapping):
        return deepcopy(overlay)
    if "class_path" in overlay and base.get("class_path") != overlay["class_path"]:
        return deepcopy(overlay)
    merged = deepcopy(dict(base))
    for name, value in overlay.items():
        merged[name] = laid_over(merged.get(name), value)
    return merged


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """A config with some settings changed.

    Args:
        config: as parsed; it stays as it is.
        settings: by name, dotted or nested: ``data.selector.combine: sum`` is the argument of the selector that the
            data module has, wherever ``init_args`` come between. A mapping without ``class_path`` changes what it
            names; any other value replaces the former one.
    """
    changed = deepcopy(config)
    for name, value in settings.items():
        _set(changed, str(name).split("."), value)
    return changed


def _set(node: dict[str, Any], parts: list[str], value: Any) -> None:
    name, *rest = parts
    if name not in ("class_path", "init_args") and ("class_path" in node or "init_args" in node):
        node = _mapping(node, "init_args")
    if rest:
        _set(_mapping(node, name), rest, value)
    elif isinstance(value, Mapping) and "class_path" not in value and value:
        inner = _mapping(node, name)
        for key, one in value.items():
            _set(inner, str(key).split("."), one)
    else:
        node[name] = laid_over(node.get(name), value)


def _mapping(node: dict[str, Any], name: str) -> dict[str, Any]:
    """The mapping of a name, made where there is none; a class given by its name alone can get arguments."""
    value = node.get(name)
    if isinstance(value, str):
        value = {"class_path": value}
    node[name] = value if isinstance(value, dict) else {}
    return node[name]


def setting(config: Any, name: str) -> Any:
    """The value of a dotted name, None where there is none."""
    for part in name.split("."):
        if not isinstance(config, Mapping):
            return None
        arguments = config.get("init_args") or {}
        config = config.get(part) if part in config or part not in arguments else arguments[part]
    return config


def without_place(config: Any, folder: Path) -> Any:
    """A config with paths below a folder made relative to it, so that it is the same wherever the folder lies."""
    if isinstance(config, Mapping):
        return {name: without_place(value, folder) for name, value in config.items()}
    if isinstance(config, list):
        return [without_place(value, folder) for value in config]
    return config.removeprefix(f"{folder}/") if isinstance(config, str) else config


def read_config(file: Path) -> Config:
    """Content of a YAML file that holds a mapping.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        text = file.read_text()
        check_aliases(text, str(file))
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"The config {file} cannot be read ({error.strerror}); correct the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"The config {file} is no YAML ({' '.join(str(error).split())}); correct it.") from None
    if not isinstance(content, dict):
        raise UserError(f"The config {file} holds no settings; it must be a mapping of names to values.")
    return content
