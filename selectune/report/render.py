"""Pages from the templates in ``templates/``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectune.common.files import atomic_file
from selectune.common.run_files import RunFiles
from selectune.costs.saving import UNIT_NAMES, UNITS, WHOLE
from selectune.report import labels, numbers
from selectune.report.run_data import STAGE_NAMES
from selectune.report.verdict_section import change, measured_over, over
from selectune.verdict import prose
from selectune.verdict.evidence import FAIR
from selectune.verdict.metric_kinds import metric_of

if TYPE_CHECKING:
    from jinja2 import Environment

# Filters of numbers; each takes `unknown` as well, to show in place of None.
FORMATS: dict[str, Callable[..., str]] = {
    "flop": numbers.flop,
    "seconds": numbers.seconds,
    "memory": numbers.memory,
    "count": numbers.count,
    "share": numbers.share,
    "signed_share": numbers.signed_share,
    "in_unit": lambda value, unit: numbers.UNIT_FORMATS[unit](value),
    "metric": lambda value, name: labels.metric(name, value),
    "score": lambda value, metric: prose.score(metric, value),
    "p_value": lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}",
    "written": lambda value, pattern: pattern.format(value),
}
FILTERS: dict[str, Callable[..., Any]] = {
    "arm_name": prose.arm_name,
    "capital": labels.capital,
    "change": change,
    "change_of": lambda one: change(metric_of(one.name), one.change),
    "measured_over": measured_over,
    "metric_name": labels.metric_name,
    "name_of_metric": prose.metric_name,
    "over": over,
    "part_of": labels.part_of,
}
GLOBALS = {"fair": FAIR, "stage_names": STAGE_NAMES, "unit_names": UNIT_NAMES, "units": UNITS, "whole": WHOLE} | {
    "arm_names": prose.ARM_NAMES
}


def write_page(folder: Path, template: str, **content: Any) -> Path:
    """Write ``report.html`` into a folder, whole or not at all, and give its path.

    Args:
        folder: to write to.
        template: its file in ``templates/``.
        content: what it shows; strings are escaped there.
    """
    page = rendered(template, content)
    path = RunFiles(folder).report
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def rendered(template: str, content: Mapping[str, Any], package: str = "selectune.report") -> str:
    """A page as HTML.

    Args:
        template: its file in ``templates/`` of the package, or else in those of ``selectune.report``.
        content: what it shows; strings are escaped there.
        package: that has the template.
    """
    return environment(package).get_template(template).render(content)


@cache
def environment(package: str) -> Environment:
    """The templates of a package and of ``selectune.report``, each compiled once in a process and its forks."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(name) for name in dict.fromkeys([package, "selectune.report"])]
    made = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= FILTERS | {"in_words": in_words} | {name: _shown(write) for name, write in FORMATS.items()}
    made.globals |= GLOBALS
    return made


def precompile(package: str = "selectune.report") -> None:
    """Compile all templates, as a process does that pages are made in forks of."""
    made = environment(package)
    for name in made.list_templates():
        made.get_template(name)


def _shown(write: Callable[..., str]) -> Callable[..., str]:
    """A filter that shows a number with its exact value."""

    def shown(value: float | None, *how: Any, unknown: str | None = None) -> str:
        if value is None and unknown is not None:
            return unknown
        return numbers.element(value, lambda known: write(known, *how))

    return shown


def in_words(value: Any) -> str:
    """A value of a manifest in a line: a class as its call, a mapping as pairs."""
    if isinstance(value, dict) and "class" in value:
        arguments = value.get("arguments") or {}
        inside = ", ".join(f"{name}={in_words(each)}" for name, each in arguments.items())
        return f"{str(value['class']).rpartition('.')[2]}({inside})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(in_words, value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else str(value)
