"""The report of a run: one page that needs no network and no script, and the same table on the terminal.

Every number in a table stands in a ``<data value=…>`` that holds it exactly, as ``cost.jsonl``, ``saving.json`` or
``selection/examples.json`` does.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from selectune.costs import Total, totals
from selectune.paths import atomic_file
from selectune.report.facts import STAGE_NAMES, Facts
from selectune.report.figures import Bar, Kind, count, share, waterfall
from selectune.report.selection_section import what_was_chosen
from selectune.report.style import PAGE, STYLE
from selectune.report.tables import (
    COST_COLUMNS,
    GROUPS,
    UNIT_TOLD,
    all_spent,
    bullets,
    capital,
    cost_cells,
    cost_groups,
    cost_table,
    data,
    manifest_table,
    metric,
    metric_name,
    metrics_table,
    replay,
    terms_table,
)
from selectune.savings import SELECTION, UNIT_NAMES, UNITS, Terms, Unit

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Facts", "print_summary", "write_report"]


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` of a run from the files in it, and give its path.

    Pictures of the selection are in the page, and as files in ``figures/``.

    Raises:
        UserError: there is no such directory, or a file of it is damaged.
    """
    facts = Facts.read(Path(run_dir))
    chosen = what_was_chosen(facts)
    sections = [
        _head(facts),
        _tiles(facts),
        _section("Where the cost went", _pictures(facts)),
        _section("Cost by stage", cost_table(facts)),
        _section("Does selecting pay?", terms_table(facts)),
        _section("Results", metrics_table(facts)),
        _section("What was chosen", chosen) if chosen else "",
        _section("The selection", manifest_table(facts)),
        _section("Warnings", bullets(facts.warnings) or "<p>There are none.</p>"),
        _section("Run it again", replay(facts)),
    ]
    page = PAGE.format(
        title=f"selectune: {escape(facts.run_dir.resolve().name)}", style=STYLE, body="\n".join(sections)
    )
    path = facts.run_dir / "report.html"
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>\n{body}</section>"


def _head(facts: Facts) -> str:
    started = min((record.started_at for record in facts.records if not record.cached), default="")[:16]
    when = f" · started {escape(started.replace('T', ' '))} UTC" if started else ""
    told = facts.saving.sentence() if facts.saving else "What selection saved is not known: there is no saving.json."
    claim, stop, more = told.partition(". ")
    gains = [getattr(facts.saving, unit).saving for unit in UNITS] if facts.saving else []
    known = [gain for gain in gains if gain is not None]
    mood = "unknown" if not known else "loss" if min(known) < 0 else "gain"
    return (
        f'<header><p class="run">selectune · run <b>{escape(facts.run_dir.resolve().name)}</b>{when}</p>'
        f'<h1 class="{mood}">{escape(claim)}{stop.strip()}</h1>{f"<p>{escape(more)}</p>" if more else ""}</header>'
    )


def _tiles(facts: Facts) -> str:
    tiles = []
    if saving := facts.saving:
        for unit in UNITS:
            terms: Terms = getattr(saving, unit)
            verb = "lost" if (terms.saving or 0) < 0 else "saved"
            fraction = None if terms.saving is None else abs(terms.saving)
            note = "against an estimate" if terms.full_is_estimated else "measured"
            tiles.append(
                (
                    f"{capital(UNIT_NAMES[unit])} {verb}",
                    data(fraction, share),
                    note if terms.saving is not None else "",
                )
            )
    for name, (kept, pool) in facts.sizes.items():
        part = share(kept / pool) if pool else ""
        tiles.append((f"{name} kept", data(kept, count), f"of {data(pool, count)} ({part})"))
    test = {name: value for name, value in facts.metrics.items() if name.startswith("test/")}
    headline = ("accuracy", "f1", "em", "micro_f1", "macro_f1", "matthews", "pearson", "spearman")
    main = next((name for name in (*(f"test/{name}" for name in headline), *test) if name in test), None)
    if main is not None:
        majority = test.get("test/majority_accuracy")
        beside = f"largest class always: {data(majority, metric)}" if majority is not None else "on held-out data"
        tiles.append((f"Test {metric_name(main).lower()}", data(test[main], metric), beside))
    cells = (f"<div><dt>{escape(name)}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in tiles)
    return f'<dl class="tiles">{"".join(cells)}</dl>' if tiles else ""


def _pictures(facts: Facts) -> str:
    if not facts.records:
        return "<p>There is no cost.jsonl, so nothing is known about costs.</p>"
    pictures = []
    for unit in UNITS:
        if bars := _bars(facts, unit):
            title = f"Cost in {UNIT_NAMES[unit]}"
            picture = waterfall(bars, title, f"waterfall-{unit}", UNIT_TOLD[unit])
            pictures.append(f"<figure><figcaption>{title}</figcaption>{picture}</figure>")
        else:
            pictures.append(
                f"<p>There is no picture of the {UNIT_NAMES[unit]}, as some are unknown or there are none.</p>"
            )
    hatched = '<p class="note">A hatched bar was not run but estimated from this run\'s cost a token.</p>'
    return "".join(pictures) + (hatched if "(estimated)" in "".join(pictures) else "")


def _bars(facts: Facts, unit: Unit) -> list[Bar]:
    terms: Terms | None = getattr(facts.saving, unit) if facts.saving else None
    bars: list[Bar] = []
    if terms is None or terms.saving is None:  # nothing to compare with: the stages alone
        at = 0.0
        for stage, total in totals(facts.records).spent.items():
            value = getattr(total, unit)
            if value is None:
                return []
            kind: Kind = "training" if stage == "train" else "selection" if stage in SELECTION else "shared"
            bars.append(Bar(STAGE_NAMES[stage], at, at + value, kind))
            at += value
        return bars
    assert terms.selection is not None
    assert terms.training is not None
    assert terms.full_training is not None
    bars.append(Bar("Training on everything", 0, terms.full_training, "full", terms.full_is_estimated))
    at = 0.0
    for stage in SELECTION:
        if value := getattr(terms, stage):
            bars.append(Bar(STAGE_NAMES[stage], at, at + value, "selection"))
            at += value
    both = terms.selection + terms.training
    bars.append(Bar("Training on the subset", at, both, "training"))
    bars.append(Bar("Selection and training", 0, both, "total"))
    won = terms.full_training >= both
    bars.append(Bar("Saved" if won else "Lost", both, terms.full_training, "saved" if won else "lost"))
    return bars


def print_summary(run_dir: Path, console: Console | None = None) -> None:
    """Print the saving, the costs by stage and the held-out figures of a run.

    Args:
        run_dir: of the run.
        console: where to; default the terminal.

    Raises:
        UserError: there is no such directory, or a file of it is damaged.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape as plain
    from rich.table import Table

    console = console or Console()
    facts = Facts.read(Path(run_dir))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown = COST_COLUMNS[:6]  # what 80 columns have room for
    for name in shown:
        table.add_column(name, justify="left" if name == "Stage" else "right", no_wrap=True)
    for group, rows in cost_groups(facts.records):
        table.add_row(f"[italic]{GROUPS[group][0]}[/italic]")
        for stage, total in rows.items():
            table.add_row(f"  {STAGE_NAMES[stage]}", *_shown(total, len(shown)))
    table.add_row("[bold]Total spent[/bold]", *_shown(all_spent(facts.records), len(shown)))
    if facts.records:
        console.print(table)
    for name, (kept, pool) in facts.sizes.items():
        console.print(f"{name} kept: {count(kept)} of {count(pool)} ({share(kept / pool) if pool else ''})")
    test = {name: value for name, value in facts.metrics.items() if name.startswith("test/")}
    for name, value in test.items():
        console.print(f"{plain(name)}: {metric(value)}", highlight=False)
    if facts.saving:
        console.print(f"[bold]{plain(facts.saving.sentence())}[/bold]")
        if (pays := facts.saving.break_even_sentence()) not in facts.saving.sentence():
            console.print(plain(pays))
    for line in facts.warnings:
        console.print(f"[yellow]Warning:[/yellow] {plain(line)}")


def _shown(total: Total, n_columns: int) -> list[str]:
    return [told(value) for value, told in cost_cells(total)][: n_columns - 1]
