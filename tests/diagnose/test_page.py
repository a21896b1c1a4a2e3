"""The page of a diagnosis says what its files say, to people, and asks for nothing from outside."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.diagnose.findings import NAMES, Finding
from selectune.diagnose.page import confusions, write_page
from selectune.diagnose.pictures import STYLES, colours_of
from selectune.report.numbers import count, share
from selectune.selection.examples import SHOWN
from tests.diagnose.made_up import N_ROWS, a_labelled_pool, a_plane, a_text, an_unlabelled_pool, written
from tests.mistakes import mistake
from tests.report.browser import needs_chromium, open_page
from tests.report.pages import NASTY, Page, a_run


def words_of(path: Path) -> str:
    """A page with plain spaces, its numbers without their elements."""
    text = html.unescape(re.sub(r"</?data[^>]*>", "", path.read_text(encoding="utf-8")))
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def test_the_page_holds_what_the_diagnosis_says(tmp_path: Path):
    files, content = written(tmp_path / "run", *a_labelled_pool())
    path = write_page(files)
    assert path == files.diagnosis_page
    words, page = words_of(path), Page(path.read_text(encoding="utf-8"))
    for one in content["findings"].values():
        if one["rows"]:
            assert one["sentence"] in words
            assert one["remedy"][1:] in words
        for example in one["examples"]:
            assert f"{example['text']}</td>" in words
            assert {example["row_id"], example["score"]} <= set(page.figures)
    assert page.headline[1].replace("\N{NO-BREAK SPACE}", " ") == "3 findings, in 52 of 200 rows (26.0 %)"
    assert "rows without a word" in words
    for one in (content["findings"][name] for name in ("label_issue", "near_copy", "rare_class")):
        for said in (one["cost"]["sentence"], one["expected"], *(gain["sentence"] for gain in one["gains"])):
            assert " ".join(said.split()) in words
    for group in content["hard_groups"]:
        assert {group["rows"], group["error"], group["low"], group["high"]} <= set(page.figures)
        assert all(example in words for example in group["examples"])
    assert {N_ROWS, content["device_s"], content["wall_s"]} <= set(page.figures)
    assert {value for row in content["findings"]["label_issue"]["details"]["joint"] for value in row} <= set(
        page.figures
    )


@pytest.mark.draws
def test_the_page_is_byte_identical_when_it_is_made_again(tmp_path: Path):
    files, _ = written(tmp_path / "run", *a_labelled_pool())
    before = write_page(files).read_bytes()
    files.diagnosis_page.unlink()
    assert write_page(files).read_bytes() == before
    assert len(before) < 1_000_000


def test_the_page_asks_for_nothing_and_every_picture_has_words(tmp_path: Path):
    files, content = written(tmp_path / "run", *a_labelled_pool())
    page = Page(write_page(files).read_text(encoding="utf-8"))
    assert page.fetched == page.links == page.without_words == []
    assert page.scripts == 0
    shares, row_map = page.alts
    for one in content["findings"].values():
        assert f"{share(one['share'])} ({share(one['low'])} to {share(one['high'])})" in shares
    assert "15 with wrong labels" in row_map  # rows 0 to 29, of which every other one is on the map
    assert "11 with near copies" in row_map


def test_a_row_has_the_colour_of_its_heaviest_finding(tmp_path: Path):
    _, content = written(tmp_path / "run", *a_labelled_pool())
    named = {"label_issue": np.arange(30), "rare_class": np.arange(4), "near_copy": np.array([0, 198])}
    coloured = colours_of(content | {"plane": a_plane()}, named)
    assert list(coloured) == ["label_issue", "near_copy", "rare_class"]
    assert coloured["label_issue"].tolist() == list(range(15))
    assert coloured["near_copy"].tolist() == [99]
    assert coloured["rare_class"].tolist() == []
    assert set(STYLES) == set(NAMES)
    assert len(set(STYLES.values())) == len(NAMES)


def test_texts_and_names_are_escaped(tmp_path: Path):
    made, labels, _ = a_labelled_pool()
    made = replace(made, pool=NASTY, encoder=NASTY, trusted=NASTY, skipped={"off_topic": NASTY})
    issues = made.findings["label_issue"]
    findings = made.findings | {"label_issue": replace(issues, details=issues.details | {"classes": [NASTY] * 3})}
    files, _ = written(tmp_path / "run", replace(made, findings=findings), labels, [NASTY, "a", "b"], text=NASTY)
    text = write_page(files).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert Page(text).scripts == 0


def test_a_pool_without_classes_has_neither_classes_nor_labels(tmp_path: Path):
    files, content = written(tmp_path / "run", an_unlabelled_pool())
    words = words_of(write_page(files))
    assert "The rows have no classes." in words
    assert '<th scope="col">Label</th>' not in words
    assert "1 finding, in 8 of 200 rows" in words
    for why in content["skipped"].values():
        assert f"as {why}." in words


def test_where_nothing_was_found_the_page_says_so(tmp_path: Path):
    files, content = written(tmp_path / "run", an_unlabelled_pool(found=False))
    path = write_page(files)
    assert Page(path.read_text(encoding="utf-8")).headline == ("green", "Nothing was found")
    words = words_of(path)
    assert f"None of the {len(content['findings'])} faults" in words
    assert "exact copies, cut off by data.max_length" in words


def test_the_joint_matrix_shows_the_ten_classes_that_are_confused_most(tmp_path: Path):
    files, content = written(tmp_path / "run", *a_labelled_pool(n_classes=30))
    table = confusions(content["findings"]["label_issue"])
    assert table is not None
    assert table["names"][:2] == ["class 0", "class 1"]  # the one cell that stands out
    assert len(table["names"]) == len(table["rows"]) == 10
    assert table["number"] == 30
    shades = np.array([[shade for _, shade in cells] for _, cells in table["rows"]])
    assert np.unravel_index(shades.argmax(), shades.shape) == (0, 1)
    assert shades.max() <= 0.5
    words = words_of(write_page(files))
    assert "the 10 classes of 30 that are confused most" in words
    assert "Of 30 classes, 10 of middling size" in words


def test_a_probe_that_knows_nothing_shows_no_matrix(tmp_path: Path):
    made, labels, names = a_labelled_pool()
    issues = made.findings["label_issue"]
    unable = Finding(
        "label_issue", issues.scores, np.zeros(0, dtype=np.int64), 0.3, 0.2, 0.4, issues.details | {"able": False}
    )
    files, _ = written(tmp_path / "run", replace(made, findings=made.findings | {"label_issue": unable}), labels, names)
    assert "A probe knows nothing of these labels" in words_of(write_page(files))


def test_a_file_that_is_missing_damaged_or_of_another_pool_is_one_sentence(tmp_path: Path):
    files, content = written(tmp_path / "run", an_unlabelled_pool())
    files.diagnosis.write_text(json.dumps(content | {"pool_fingerprint": "0" * 32}))
    with mistake(UserError, files.findings.name, files.diagnosis.name):
        write_page(files)
    files.findings.write_bytes(b"no table")
    with mistake(UserError, files.findings.name):
        write_page(files)
    files.diagnosis.write_text("{}")
    with mistake(UserError, files.diagnosis.name):
        write_page(files)
    assert not files.diagnosis_page.exists()


def test_report_makes_the_page_of_a_diagnosis_again_and_of_a_fit_its_own(tmp_path: Path, here):
    files, _ = written(tmp_path / "diagnosed", an_unlabelled_pool())
    assert here("report", files.path).strip() == str(files.diagnosis_page)
    assert files.diagnosis_page.is_file()
    assert not files.report.exists()
    run = a_run(tmp_path / "fit")
    assert here("report", run).strip() == str(RunFiles(run).report)


def test_the_page_of_the_verb_has_a_place_for_each_row_of_its_map(tmp_path: Path, here, arguments: list[str]):
    files = RunFiles(tmp_path / "run")
    here("diagnose", *arguments, "--output", files.path)
    page, content = files.diagnosis_page.read_bytes(), json.loads(files.diagnosis.read_text())
    assert len(content["plane"]["places"]) == len(content["plane"]["rows"]) == min(SHOWN, content["n_rows"])
    here("report", files.path)
    assert files.diagnosis_page.read_bytes() == page


@needs_chromium
@pytest.mark.draws
def test_the_page_is_silent_in_a_browser(tmp_path: Path):
    files, _ = written(tmp_path / "run", *a_labelled_pool())
    opened = open_page(write_page(files))
    assert opened.console == opened.requests == []
    assert a_text(0) in opened.dom
    assert count(N_ROWS) in opened.dom
