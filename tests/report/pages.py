"""Runs with made-up figures, and what a page shows and asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from selectune.costs.compute_saving import compute_saving
from selectune.costs.ledger import append, read_ledger
from selectune.costs.record import Total, totals
from tests.costs.records import record

CONFIG = """# quickstart
seed_everything: 0
trainer: {max_epochs: 3}
data:
  class_path: selectune.TextClassification
  init_args: {dataset: docstrings, max_eval_rows: null, keep: 0.16}
"""
NASTY = '<script>alert("x")</script> & Co'


def a_run(run: Path, **changed: Any) -> Path:
    """A run as a finished fit leaves it, with made-up figures."""
    (run / "selection").mkdir(parents=True)
    ledger = [
        record("prepare", wall_s=6.1, device_s=6.1, flops=0, flops_method="no arithmetic"),
        record("warm_up", part="warm_up", flops=2.1e13, wall_s=61.0, device_s=61.0, tokens=2_600_000),
        record("score", flops=6.3e12, wall_s=14.2, device_s=14.2, examples=40_000, tokens=4_100_000),
        record("solve", flops=3.1e10, wall_s=1.9, device_s=1.9, examples=40_000, tokens=0),
        record("select", flops=0, flops_method="no arithmetic", wall_s=0.03, device_s=0.03, examples=40_000, tokens=0),
        record("train", flops=9.2e12, wall_s=31.3, device_s=31.3, examples=19_200, tokens=1_950_000),
        record("evaluate", flops=1.5e12, wall_s=4.4, device_s=4.4, examples=5_000, tokens=510_000),
    ]
    append(run / "cost.jsonl", ledger)
    compute_saving(read_ledger(run / "cost.jsonl"), 6_400, 40_000, 650_000, 4_100_000, epochs=3).write(run)
    manifest = {
        "n_rows": 6_400,
        "rows_hash": "9f2c4b7a" * 4,
        "pool_fingerprint": "c4d1e88b" * 4,
        "pool_rows": 40_000,
        "pool_tokens": 4_100_000,
        "source": "https://example.org/docstrings (44,102 rows)",
        "revision": None,
        "scorer": "tiny-bert",
        "weights_hash": "77aa10c3" * 4,
        "selector": {"class": "selectune.selectors.euds.IGSE", "arguments": {"combine": "box", "rule": None}},
        "budget": {"asked": {"keep": 0.16}, "rows": 6_400, "tokens": 650_000},
        "seed": 0,
        "signals": [{"name": "generative_entropy", "settings": {"estimator": "masked"}}],
        "diagnostics": {"bounds": {"generative_entropy": [3.1, 4.2]}},
        "warnings": [NASTY],
        "costs": [],
        "versions": {"python": "3.12.1", "torch": "2.13.0"},
        "commit": "0" * 40,
        "created_at": "2026-01-02T03:04:05+00:00",
    } | changed
    (run / "selection" / "manifest.json").write_text(json.dumps(manifest))
    (run / "metrics.csv").write_text(
        "epoch,step,val/accuracy,val/macro_f1,test/accuracy,test/macro_f1,test/majority_accuracy\n"
        "0,200,0.61,0.55,,,\n1,400,0.7312,0.7011,,,\n2,600,,,0.7421,0.7102,0.1136\n"
    )
    (run / "config.yaml").write_text(CONFIG)
    (run / "done.json").write_text("{}")
    return run


def a_warmed_up_run(run: Path, selector: str = "GOTD", tokens: int = 50_000, accuracy: float = 0.7) -> Path:
    """A run that chose 500 of 40,000 rows to warm up on, and fine-tuned on everything, with made-up figures."""
    a_run(run)
    chosen = json.loads((run / "selection" / "manifest.json").read_text())
    (run / "selection" / "manifest.json").unlink()
    (run / "cost.jsonl").unlink()
    ledger = [
        record("prepare", wall_s=6.1, device_s=6.1, flops=0, flops_method="no arithmetic"),
        record("score", part="warm_up", flops=6.3e12, wall_s=14.2, device_s=14.2, examples=40_000, tokens=4_000_000),
        record("solve", part="warm_up", flops=3.1e10, wall_s=1.9, device_s=1.9, examples=40_000, tokens=0),
        record("warm_up", part="warm_up", flops=2e8 * tokens, wall_s=tokens / 2e4, device_s=tokens / 2e4),
        record("train", flops=9.2e12, wall_s=31.3, device_s=31.3, examples=19_200, tokens=1_950_000),
        record("evaluate", flops=1.5e12, wall_s=4.4, device_s=4.4, examples=5_000, tokens=510_000),
    ]
    append(run / "cost.jsonl", ledger)
    of_warm_up = compute_saving(ledger, 500, 40_000, tokens, 4_000_000, part="warm_up")
    whole = compute_saving(ledger, 6_400, 6_400, 650_000, 650_000, epochs=3)
    replace(whole, warm_up=of_warm_up).write(run)
    inside = run / "warm_up" / "selection"
    inside.mkdir(parents=True)
    chosen |= {
        "n_rows": 500,
        "selector": {"class": f"selectune.selectors.{selector.lower()}.{selector}", "arguments": {}},
        "budget": {"asked": {"keep_rows": 500}, "rows": 500, "tokens": tokens},
        "diagnostics": {"domains": {"news": {"pool": 30_000, "kept": 25}, "notes": {"pool": 10_000, "kept": 475}}},
    }
    (inside / "manifest.json").write_text(json.dumps(chosen))
    (run / "config.yaml").write_text(
        CONFIG.replace(", keep: 0.16", "") + f"warm_up: {{data: {{selector: {selector}}}}}\n"
    )
    (run / "metrics.csv").write_text(f"epoch,step,test/accuracy,test/majority_accuracy\n0,200,{accuracy},0.1136\n")
    return run


class Page(HTMLParser):
    """A page's content and the addresses that it loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.figures: list[float] = []
        self.asked: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.scripts = 0
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headline = ("", "")  # its colour and its words
        self.rows: dict[str, int] = {}  # examples of each kind
        self._reading = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.scripts += tag == "script"
        self.asked += [str(given[name]) for name in ("src", "href", "xlink:href", "srcset", "action") if name in given]
        self.links += [str(given["href"])] if tag == "a" else []
        if tag == "h1":
            self.headline, self._reading = (str(given.get("class")), ""), "headline"
        elif tag == "table":
            self._reading = str(given.get("class"))
        elif tag == "th" and self._reading == "examples" and given.get("scope") == "rowgroup":
            self._reading = "kind"
        elif tag == "tr" and self.rows and self._reading == "examples" and given.get("class") != "group":
            self.rows[list(self.rows)[-1]] += 1
        if tag == "data":
            self.figures.append(float(str(given["value"])))
        if tag in ("img", "svg"):  # of an svg nothing here would be its text alternative
            self.pictures.append(given)

    def handle_data(self, data: str) -> None:
        if self._reading == "headline":
            self.headline, self._reading = (self.headline[0], data), ""
        elif self._reading == "kind":
            self.rows[data], self._reading = 0, "examples"

    @property
    def without_words(self) -> list[dict[str, str | None]]:
        """Pictures that lack a text alternative."""
        return [picture for picture in self.pictures if not (picture.get("alt") or "").strip()]

    @property
    def alts(self) -> list[str]:
        """Text alternatives of the pictures."""
        return [str(picture.get("alt")) for picture in self.pictures]

    @property
    def fetched(self) -> list[str]:
        """Addresses that a browser loads with the page; links that people may follow are not among them."""
        return [one for one in self.asked if not one.startswith("data:") and one not in self.links]


def costs_in(ledger: Path) -> set[float | None]:
    """FLOPs and seconds of a ledger that a page has to show: of each stage and part of the run, and in total."""
    records = read_ledger(ledger)
    parts = [totals(record for record in records if record.part == part).spent for part in ("fit", "warm_up")]
    found = [total for part in parts for total in part.values()]
    found += totals(records).avoided.values()
    found.append(sum(totals(records).spent.values(), Total()))
    return {value for total in found for value in (total.flops, total.device_s, total.wall_s)}
