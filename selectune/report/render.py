"""Pages from the templates in ``templates/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selectune.common.files import atomic_file
from selectune.common.run_files import RunFiles


def write_page(folder: Path, template: str, **content: Any) -> Path:
    """Write ``report.html`` into a folder, whole or not at all, and give its path.

    Args:
        folder: to write to.
        template: its file in ``templates/``.
        content: what it shows; strings are escaped there.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("selectune.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template(template).render(content)
    path = RunFiles(folder).report
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path
