"""The tables of ``table.md`` in LaTeX and HTML."""

from __future__ import annotations

import re

import pandas as pd

from selectune.tables.markdown import cells_of
from selectune.tables.summary import Group

SYMBOLS = {"\N{MINUS SIGN}": "$-$", "±": r"$\pm$", "\N{EN DASH}": "--"}


def latex(groups: list[Group]) -> str:
    r"""All tables, each in a ``table`` environment; the preamble needs ``\usepackage{booktabs}``."""
    made = []
    for group in groups:
        caption = _escaped(_caption(group))
        frame = _frame(group)
        text = frame.to_latex(
            index=False, escape=True, caption=caption, column_format="l" + "r" * (len(frame.columns) - 1)
        )
        made.append(_with_symbols(text))
    return "\n".join(made)


def html(groups: list[Group]) -> str:
    """A page with all tables, which needs no network."""
    parts = [
        f"<h2>{_caption(group)}</h2>\n{_frame(group).to_html(index=False, escape=True, border=0)}" for group in groups
    ]
    style = (
        "body{font:15px sans-serif;margin:2rem}td,th{padding:.2rem .6rem;text-align:right}"
        "td:first-child{text-align:left}"
    )
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    return (
        f"<!doctype html>\n<meta charset='utf-8'>\n{policy}\n<title>Table</title>\n<style>{style}</style>\n"
        + "\n".join(parts)
    )


def _frame(group: Group) -> pd.DataFrame:
    head, *rows = cells_of(group)
    return pd.DataFrame(rows, columns=head)


def _caption(group: Group) -> str:
    """Names of tasks and budgets hold letters, digits, points and lower lines alone."""
    return group.task if group.budget == "none" else f"{group.task}, {group.budget}"


def _escaped(text: str) -> str:
    return re.sub(r"([_%&#$])", r"\\\1", text)


def _with_symbols(text: str) -> str:
    for symbol, command in SYMBOLS.items():
        text = text.replace(symbol, command)
    return text
