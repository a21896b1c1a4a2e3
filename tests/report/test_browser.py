"""Reports opened in a browser: silent, alone, whole, and with the ledger's figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from selectune.report import write_comparison, write_report
from selectune.selectors.euds import IGSE
from tests.report.browser import needs_chromium, open_page
from tests.report.made_up_selection import choose, made_up_labels, made_up_signals
from tests.report.pages import Page, a_run, a_warmed_up_run, costs_in

pytestmark = [needs_chromium, pytest.mark.draws]


def test_a_page_that_complains_and_asks_is_found_out(tmp_path: Path):
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("a complaint")</script>')
    opened = open_page(page)
    assert opened.requests == ["http://127.0.0.1:9/x.png"]
    assert "a complaint" in "".join(opened.console)


def test_the_page_of_a_run_is_silent_and_alone(tmp_path: Path):
    run = a_run(tmp_path / "run")
    choose(run, IGSE(), made_up_signals(300), labels=made_up_labels(300))
    path = write_report(run)
    opened = open_page(path)
    assert opened.console == opened.requests == []
    page = Page(opened.dom)
    assert len(page.pictures) == 8
    assert page.without_words == []
    assert page.figures == Page(path.read_text(encoding="utf-8")).figures
    assert costs_in(run / "cost.jsonl") <= set(page.figures)


def test_pages_of_a_choice_for_the_warm_up_are_silent_and_alone(tmp_path: Path):
    run = a_warmed_up_run(tmp_path / "run")
    for path in (write_report(run), write_comparison([run, a_run(tmp_path / "other")], tmp_path / "out")):
        opened = open_page(path)
        assert opened.console == opened.requests == []
        assert Page(opened.dom).without_words == []
        assert Page(opened.dom).figures == Page(path.read_text(encoding="utf-8")).figures
    assert costs_in(run / "cost.jsonl") <= set(Page(write_report(run).read_text(encoding="utf-8")).figures)


def test_a_comparison_is_silent_and_alone(tmp_path: Path):
    runs = [a_run(tmp_path / name) for name in ("one", "two", "three")]
    opened = open_page(write_comparison(runs, tmp_path / "out"))
    assert opened.console == opened.requests == []
    page = Page(opened.dom)
    assert len(page.pictures) == 8
    assert page.without_words == []
