"""A diagnosis on the terminal."""

from __future__ import annotations

from typing import Any

from selectune.diagnose.diagnosis import TITLES


def print_diagnosis(content: dict[str, Any]) -> None:
    """Print the findings, those of most rows first, and what mends them."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape as plain
    from rich.table import Table

    console = Console()
    against = f", against {content['trusted']}" if content["trusted"] else ", no trusted rows"
    console.print(
        f"{content['n_rows']:,} rows of {plain(content['pool'])}, by {plain(content['encoder'])}{plain(against)}:",
        highlight=False,
    )
    findings = content["findings"]
    found = sorted((name for name in findings if findings[name]["rows"]), key=lambda name: -findings[name]["rows"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("Finding", "Rows", "What", "Remedy"):
        table.add_column(name, justify="right" if name == "Rows" else "left", overflow="fold")
    for name in found:
        one = findings[name]
        table.add_row(TITLES[name], f"{one['rows']:,}", plain(one["sentence"]), plain(one["remedy"]))
    if found:
        console.print(table)
    clean = [TITLES[name].lower() for name in findings if not findings[name]["rows"]]
    if clean:
        console.print(f"Looked for and not found: {', '.join(clean)}.", highlight=False)
    for name, why in content["skipped"].items():
        console.print(f"Not looked for: {TITLES[name].lower()}, as {plain(why)}.", highlight=False)
    for group in content["hard_groups"]:
        text = group["examples"][0][:60]
        console.print(
            f"A probe is wrong on {group['error']:.0%} of {group['rows']:,} rows like “{plain(text)}”.", highlight=False
        )
    console.print(f"[dim]It took {content['wall_s']:,.0f} s.[/dim]", highlight=False)
