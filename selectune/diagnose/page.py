"""The page of a diagnosis."""

from __future__ import annotations

from selectune.common.run_files import RunFiles


def write_page(files: RunFiles) -> None:
    """Write ``diagnosis.html``."""
