"""The page of a table in Markdown, LaTeX and HTML, all from the same parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import pandas as pd

from selectune.report.numbers import SPACE
from selectune.tables.blocks import Block, Bullets, Cells, Heading, Picture, Text
from selectune.tables.page import group_blocks
from selectune.tables.summary import Group

CODE, BOLD = re.compile(r"`([^`]*)`"), re.compile(r"\*\*([^*]+)\*\*")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
SYMBOLS = {"\N{MINUS SIGN}": "$-$", "±": r"$\pm$", "\N{EN DASH}": "--", SPACE: "~"}  # that its fonts may lack
STYLE = (
    "body{font:15px sans-serif;margin:2rem;max-width:75rem}td,th{padding:.2rem .6rem;text-align:right}"
    "td:first-child{text-align:left}"
)
POLICY = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"


def markdown(blocks: Sequence[Block]) -> str:
    """The page in Markdown."""
    return "\n\n".join(map(_as_markdown, blocks)) + "\n"


def table_of(group: Group) -> str:
    """The lines of a task at a budget in Markdown, and the gains of methods over random rows matched to them."""
    return markdown(group_blocks(group)).rstrip("\n")


def latex(blocks: Sequence[Block]) -> str:
    r"""The page in LaTeX, each table in a ``table`` environment; the preamble needs ``\usepackage{booktabs}``.

    Pictures are left out.
    """
    return "\n\n".join(filter(None, map(_as_latex, blocks))) + "\n"


def html(blocks: Sequence[Block]) -> str:
    """The page in HTML, which needs no network. Pictures are left out."""
    head = f"<!doctype html>\n<meta charset='utf-8'>\n{POLICY}\n<title>Table</title>\n<style>{STYLE}</style>\n"
    return head + "\n".join(filter(None, map(_as_html, blocks))) + "\n"


def _as_markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Picture(file, alternative):
            return f"![{alternative}]({file})"
        case Cells(head, rows, _, n_words):
            bar = ["---"] * n_words + ["---:"] * (len(head) - n_words)
            return "\n".join(f"| {' | '.join(row)} |" for row in [head, bar, *rows])


def _as_latex(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"\\{'sub' * (level - 1)}section*{{{_latex(text)}}}"
        case Text(text):
            return _latex(text)
        case Bullets(items):
            return "\n".join([r"\begin{itemize}", *(rf"\item {_latex(item)}" for item in items), r"\end{itemize}"])
        case Picture():
            return ""
        case Cells(head, rows, caption, n_words):
            frame, shape = pd.DataFrame(rows, columns=head), "l" * n_words + "r" * (len(head) - n_words)
            made = frame.to_latex(index=False, escape=True, caption=_latex(caption), column_format=shape)
            return _with_symbols(made).rstrip("\n")


def _as_html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_html(text)}</h{level}>"
        case Text(text):
            return f"<p>{_html(text)}</p>"
        case Bullets(items):
            return "\n".join(["<ul>", *(f"<li>{_html(item)}</li>" for item in items), "</ul>"])
        case Picture():
            return ""
        case Cells(head, rows, _, _):
            return str(pd.DataFrame(rows, columns=head).to_html(index=False, escape=True, border=0))


def _latex(text: str) -> str:
    text = "".join(LATEX.get(letter, letter) for letter in text)
    return _with_symbols(BOLD.sub(r"\\textbf{\1}", CODE.sub(r"\\texttt{\1}", text)))


def _with_symbols(text: str) -> str:
    for symbol, command in SYMBOLS.items():
        text = text.replace(symbol, command)
    return text


def _html(text: str) -> str:
    return BOLD.sub(r"<b>\1</b>", CODE.sub(r"<code>\1</code>", escape(text, quote=False)))
