"""A diagnosis on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selectune.common.printable import plain
from selectune.diagnose.composition import lengths_sentence, source_sentence
from selectune.diagnose.diagnosis import TITLES, by_weight, not_found
from selectune.report.labels import cut

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE_LETTERS = 60


def print_diagnosis(content: dict[str, Any], console: Console | None = None) -> None:
    """Print the findings, those of most rows first, and what mends them.

    Args:
        content: of ``diagnosis.json``.
        console: where to; default the terminal.
    """
    from rich.console import Console

    console = console or Console()
    against = f"against {content['trusted']}" if content["trusted"] else "no trusted rows"
    opening = f"{content['n_rows']:,} rows of {content['pool']}, by {content['encoder']}, {against}:"
    console.print(plain(opening), highlight=False)
    findings = content["findings"]
    found = by_weight(findings)
    if found:
        _print_findings({name: findings[name] for name in found}, console)
    if clean := not_found(findings):
        console.print(f"Looked for and not found: {', '.join(clean)}.", highlight=False)
    for name, why in content["skipped"].items():
        console.print(f"Not looked for: {TITLES[name].lower()}, as {plain(why)}.", highlight=False)
    if content["lengths"]:
        console.print(lengths_sentence(content["lengths"]), highlight=False)
    for source in content["sources"]:
        console.print(plain(source_sentence(source)), highlight=False)
    for group in content["hard_groups"]:
        text = cut(" ".join(group["examples"][0].split()), EXAMPLE_LETTERS)
        console.print(
            f"A probe is wrong on {group['error']:.0%} of {group['rows']:,} rows like “{plain(text)}”.", highlight=False
        )
    console.print(f"[dim]It took {content['wall_s']:,.0f} s.[/dim]", highlight=False)


def _print_findings(found: dict[str, Any], console: Console) -> None:
    """Print each finding beside its title, with its remedy, cost and expected gain below it: it reads in 80 columns."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, one in found.items():
        table.add_row()
        table.add_row(f"[bold]{TITLES[name]}[/bold]", plain(one["sentence"]))
        table.add_row("", f"[dim]Remedy:[/dim] {plain(one['remedy'])}.")
        table.add_row("", f"[dim]Cost:[/dim] {plain(one['cost']['sentence'])}")
        table.add_row("", f"[dim]Expected:[/dim] {plain(one['expected'])}")
    table.add_row()
    console.print(table, highlight=False)
