"""The verb writes where it is told, and a mistake is one sentence and exit code 2."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from selectune import cli
from selectune.costs.ledger import append
from tests.costs.records import record
from tests.mistakes import names
from tests.report.pages import Page, a_run


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the verb in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "argv", ["main.py"])

    def run(*args: object) -> None:
        cli.main(["report", *map(str, args)])

    return run


def told_of(report, capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one sentence of a mistake."""
    with pytest.raises(SystemExit) as ended:
        report(*args)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    (line,) = told.err.strip().splitlines()
    return line


def test_one_run_has_its_page_written_again(tmp_path: Path, report, capsys):
    run = a_run(tmp_path / "run")
    report(run)
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    first = (run / "report.html").read_bytes()
    assert (run / "figures" / "curves.png").is_file()
    report(run)
    assert (run / "report.html").read_bytes() == first


def test_one_run_goes_where_it_is_told(tmp_path: Path, report):
    run = a_run(tmp_path / "run")
    report(run, "--output", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "figures" / "waterfall-flops.png").is_file()
    assert not (run / "report.html").exists()


def test_several_runs_get_a_new_folder_each_time(tmp_path: Path, report, capsys):
    runs = [a_run(tmp_path / name) for name in ("a", "b")]
    report(*runs)
    report(*runs)
    places = capsys.readouterr().out.split()
    assert len(set(places)) == 2
    for place in places:
        assert re.fullmatch(r"reports/\d{8}-\d{6}(-\d)?/report\.html", place)
        assert "comparison of 2 runs" in Path(place).read_text(encoding="utf-8")
    report(*runs, "--output", tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "figure_against_cost.png").is_file()


def test_an_unfinished_run_is_reported_as_such(tmp_path: Path, report):
    run = a_run(tmp_path / "run")
    (run / "done.json").unlink()
    (run / ".open_costs").mkdir()
    open_stage = record("train", finished=False, device_s=12.0, flops=3e12, attempt=2)
    append(run / ".open_costs" / "2-0-fit-train.json", [open_stage])
    report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert names(text, "done.json", "Training", "attempt 2", "rank 0", "12.0")
    assert 3e12 not in Page(text).figures


def test_runs_that_cannot_be_told_are_a_sentence(tmp_path: Path, report, capsys):
    run, other = a_run(tmp_path / "run"), a_run(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for args, named in (
        ([tmp_path / "nowhere"], [tmp_path / "nowhere"]),
        ([run, run / "cost.jsonl"], [run / "cost.jsonl"]),
        ([run, other, run], [run, "twice"]),
        ([run, run / ".." / "run"], [run, run / ".." / "run"]),
        ([tmp_path / "empty"], [tmp_path / "empty", "cost.jsonl"]),
        ([run, other, "--output", other], [other, "--output"]),
        ([run, "--output", other], [other, "--output"]),
        ([run, "--output", tmp_path / "file"], [tmp_path / "file", "--output"]),
    ):
        assert names(told_of(report, capsys, *args), *named)
    assert not (other / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cost.jsonl", "{}\n{}\n"),
        ("saving.json", "{"),
        ("metrics.csv", b"\xff\xfe\x00"),
        ("config.yaml", b"\xff\xfe\x00"),
        ("selection/manifest.json", "["),
        ("selection/scores.parquet", "PAR1"),
        ("forecast.json", "nonsense"),
    ],
)
def test_damage_is_a_sentence_that_names_the_file(tmp_path: Path, report, capsys, name: str, content: str | bytes):
    run = a_run(tmp_path / "run")
    whole = shutil.copytree(run, tmp_path / "whole")
    (run / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for args in ([run], [run, whole]):
        assert names(told_of(report, capsys, *args), run / name, "damaged")
    assert not (run / "report.html").exists()


def test_nothing_named_is_told(report, capsys):
    with pytest.raises(SystemExit) as ended:
        report()
    assert ended.value.code == 2
    assert "RUN" in capsys.readouterr().err


def test_the_help_names_the_verb(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["main.py"])
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", "--help"])
    assert ended.value.code == 0
    assert "RUN [RUN ...]" in capsys.readouterr().out


def test_reporting_loads_no_model_library():
    import subprocess

    code = "import sys, selectune.report.command; print(*(name for name in sys.modules if name in sys.argv))"
    heavy = ("torch", "lightning", "transformers", "datasets", "matplotlib")
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
