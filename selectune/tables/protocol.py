"""Settings laid over a config, and protocols of them: other ways to run a table, such as a paper's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layers:
    """Config files in their order, and settings over them by dotted or nested name."""

    config: list[str] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change(Layers):
    """A part of a protocol, laid over everything else.

    Args:
        tasks: that it is of; default all.
        methods: that it is of; default all.
    """

    tasks: list[str] | None = None
    methods: list[str] | None = None

    def of(self, task: str, method: str) -> bool:
        """Whether it holds for a method on a task."""
        return (self.tasks is None or task in self.tasks) and (self.methods is None or method in self.methods)


@dataclass(frozen=True)
class Protocol:
    """Another way to run a table, such as a paper's own.

    Args:
        says: how it differs, a sentence.
        changes: in their order.
    """

    says: str
    changes: list[Change]
